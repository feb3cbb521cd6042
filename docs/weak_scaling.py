"""What the devices of a pretraining step say to each other, read from the compiled program.

The step of a run (`configs/simclr.py`) is compiled, never run, for simulated devices; its sums over
devices are compared with what the architecture says. `docs/scaling.py` makes the tables.
"""

import collections
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
# The machine code is thrown away: let LLVM be quick about it. XLA's own passes stay as they are.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# What is said, in the order of the step: for batch statistics (forward and backward), of gradients,
# and for the loss and the metrics.
PARTS = ("statistics", "gradients", "sums", "gathers", "permutes", "exchanges")
_PART_OF_KIND = {
    "all-gather": "gathers",
    "collective-permute": "permutes",
    "all-to-all": "exchanges",
}


NETS, DEVICES = ("resnet18", "resnet50"), (2, 4, 8, 64)
EACH = 6  # patches a device; 2 × 6 × devices is no parameter's number of rows


class Said(NamedTuple):
    """Of one part of a step.

    Fields:
      count: instructions.
      bytes: on one device, after them.
    """

    count: int
    bytes: int


def settings(arch: str, *, batch: int, px: int, precision: str) -> Any:
    """The recipe with these four changed."""
    from histo_simclr import config as configs

    config = configs.load(str(ROOT / "configs/simclr.py"), program="pretrain")
    config.model.arch, config.batch_size = arch, batch
    config.views.px, config.precision = px, precision
    return config


def lowered(config: Any, devices: int) -> Any:
    """The whole pretraining step (`jax.stages.Lowered`) for so many devices; nothing is run."""
    import jax
    from flax import nnx

    from histo_simclr import mesh as meshes
    from histo_simclr import update
    from histo_simclr.benchmarks import programs
    from histo_simclr.pretrain import step, train

    plan = programs.any_plan(config)
    bound = train.recipe(config, plan)
    rule = train.rule(config, bound["rate"])

    def initial() -> tuple[nnx.GraphDef, nnx.State]:
        built = train.model(config, nnx.Rngs(params=0))
        return nnx.split((built, nnx.Optimizer(built, rule, wrt=nnx.Param)))

    graph, arrays = nnx.eval_shape(initial)
    advance = functools.partial(step.pretrain_step, graph=graph, **bound)
    compiled = update.compile_step(advance, meshes.make(devices))
    shape = (config.batch_size, config.views.px, config.views.px, 3)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return compiled.lower(arrays, jax.ShapeDtypeStruct(shape, "uint8"), key)


def predicted(config: Any) -> dict[str, collections.Counter]:
    """How many arrays of which size (elements) are summed over devices, from the model alone.

    For batch statistics each BatchNorm sums two numbers a channel forward (distances and their
    squares), and two backward, which are the gradients of its bias and scale. Every other parameter
    has a gradient of its size.
    """
    from flax import nnx

    from histo_simclr.model.resnet import BatchNorm
    from histo_simclr.pretrain import train

    built = nnx.eval_shape(lambda: train.model(config, nnx.Rngs(params=0)))
    norms = [each for _, each in nnx.iter_graph(built) if isinstance(each, BatchNorm)]
    widths = collections.Counter()
    for norm in norms:
        widths[norm.scale.size] += 4
    parameters = nnx.iter_graph(built)
    sizes = collections.Counter(each.size for _, each in parameters if isinstance(each, nnx.Param))
    for norm in norms:
        sizes -= collections.Counter((norm.scale.size, norm.bias.size))
    return {"statistics": widths, "gradients": sizes}


class Heard(NamedTuple):
    """A step's collectives, sorted.

    Fields:
      said: instructions and bytes of each of PARTS.
      missing: sizes (elements) of sums that the model predicts and the program does not have.
      surplus: sizes of sums that the program has beside those.
    """

    said: dict[str, Said]
    missing: collections.Counter
    surplus: collections.Counter


def heard(found: list, config: Any) -> Heard:
    """Collectives of the step by part, compared with what the model says.

    Args:
      found: of `collectives.read`.
      config: of `settings`; no parameter is to have 2 × batch rows.
    """
    wanted = predicted(config)
    parts = collections.defaultdict(list)
    for each in found:
        parts[_part(each, config, wanted)].append(each)
    summed = collections.Counter(
        array.size for each in found if each.kind == "all-reduce" for array in each.arrays
    )
    sizes = wanted["statistics"] + wanted["gradients"]
    said = {name: Said(len(parts[name]), sum(each.bytes for each in parts[name])) for name in PARTS}
    return Heard(said, sizes - summed, summed - sizes)


def _part(each: Any, config: Any, wanted: dict[str, collections.Counter]) -> str:
    if each.kind != "all-reduce":
        return _PART_OF_KIND[each.kind]
    rows = 2 * config.batch_size
    matrices = [array for array in each.arrays if len(array.shape) > 1 and array.shape[0] != rows]
    if any(array.size in wanted["gradients"] for array in matrices):
        return "gradients"
    vectors = all(
        array.shape in {(width,) for width in wanted["statistics"]} for array in each.arrays
    )
    return "statistics" if vectors else "sums"


def compiled(
    arch: str, devices: int, *, each: int = EACH, px: int = 72, precision: str = "float32"
) -> dict[str, Any]:
    """Compiles in a process of its own, which has so many devices; what `heard` says, and more.

    In bfloat16 the program is read as it was split over devices: XLA's CPU compiler makes float32
    of it later, others need not.

    Args:
      each: patches on a device.
    """
    flags = f"--xla_force_host_platform_device_count={devices}"
    with tempfile.TemporaryDirectory() as dump:
        if precision == "bfloat16":
            flags += f" --xla_dump_to={dump} --xla_dump_hlo_pass_re=spmd-partitioning"
            flags += " --xla_dump_hlo_module_re=.*pretrain_step.* --xla_dump_hlo_as_text"
        asked = {"arch": arch, "devices": devices, "each": each, "px": px, "precision": precision}
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        # A program from the cache would not be dumped.
        environment |= {"JAX_ENABLE_COMPILATION_CACHE": "0"}
        command = [sys.executable, __file__, json.dumps(asked | {"dump": dump})]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
    return asked | json.loads(done.stdout.splitlines()[-1])


def compile_all() -> list[dict]:
    """Compiles for every number of devices; and for other sizes, in bfloat16, on one device."""
    rows = []
    for net in NETS:
        asked = [{"devices": devices} for devices in DEVICES]
        asked += [{"devices": 8, "px": 96}, {"devices": 8, "precision": "bfloat16"}]
        asked += [{"devices": 1, "px": 224, "each": 64}]
        for each in asked:
            rows.append(compiled(net, **each))
            print(rows[-1], flush=True)
    return rows


def choose(rows: list[dict], net: str, **wanted: object) -> Iterator[dict]:
    """Those of `compile_all` at 72 px in float32, or as `wanted` says."""
    wanted = {"arch": net, "px": 72, "precision": "float32"} | wanted
    return (row for row in rows if all(row[key] == value for key, value in wanted.items()))


def main(arch: str, devices: int, each: int, px: int, precision: str, dump: str) -> None:
    """In the process of `compiled`: prints a JSON line."""
    from histo_simclr import collectives

    config = settings(arch, batch=each * devices, px=px, precision=precision)
    program = lowered(config, devices).compile(compiler_options=QUICK)
    text = program.as_text()
    if precision == "bfloat16":
        (place,) = Path(dump).glob("*.after_spmd-partitioning*")
        text = place.read_text()
    sorted_ = heard(collectives.read(text), config)
    costs, memory = program.cost_analysis(), program.memory_analysis()
    result = {
        "said": sorted_.said,
        "missing": sorted_.missing.total(),
        "flops": costs["flops"] / each,
        "temporaries": memory.temp_size_in_bytes / each,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
