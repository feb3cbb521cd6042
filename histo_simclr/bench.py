"""`histo-simclr bench CASE`: how fast the parts of pretraining run here, and what the step costs.

Each case times or compiles what a run uses, built from the same configuration. Rates count patches,
two views each. The keys of the JSON line are those of the programs it is measured against.
"""

import argparse
import contextlib
import itertools
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.errors import InputError

# A process that did no work to speak of for so long is at rest.
QUIET_SECONDS, POLL_SECONDS = 0.3, 0.01


class Timing(NamedTuple):
    """Seconds of each step, of all by the clock, of all over all cores; first and last output."""

    steps: list[float]
    total: float
    cpu: float
    first: Any
    last: Any


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """One sub-parser a case; what is not given is the configuration's."""
    cases = sub.add_subparsers(metavar="CASE", dest="case", required=True)
    for name, summary in CASES.items():
        case = cases.add_parser(name, help=summary, description=summary)
        recipe = "configs/resnet18_mix.py:tenpercent"
        case.add_argument("--config", default=recipe, help="NAME.py[:preset] (%(default)s)")
        case.add_argument("--px", type=int, help="side of the views")
        case.add_argument("--batch", type=int, help="patches a step")
        case.add_argument("--json", action="store_true", help="a JSON line at the end")
        if name in ("step", "cost"):
            case.add_argument("--arch", help="encoder")
        if name != "cost":
            case.add_argument("--steps", type=int, default=20, help="timed steps (20)")
            case.add_argument("--warmup", type=int, default=5, help="steps before them (5)")
    cases.choices["step"].add_argument(
        "--ready-views", action="store_true", help="on views made before: network and update only"
    )
    source = cases.choices["input"].add_mutually_exclusive_group(required=True)
    source.add_argument("--mix", help="folder written by `histo-simclr mix`")
    source.add_argument("--records", help="record set: DIR[:split], split train by default")


def run(args: argparse.Namespace) -> None:
    """Runs one case; prints what was found, and with --json once more as the last line."""
    from histo_simclr import config as configs
    from histo_simclr import mesh as meshes

    config = configs.load(args.config)
    config.views.px = config.views.px if args.px is None else args.px
    config.batch_size = config.batch_size if args.batch is None else args.batch
    if args.case in ("step", "cost"):
        config.model.arch = args.arch or config.model.arch
    # Costs are those of the whole batch on one device, whatever there is.
    mesh = meshes.make(1 if args.case == "cost" else None)
    configs.check(config, devices=mesh.size, mix_px=config.data.px)
    measured, line = count(config, mesh) if args.case == "cost" else clock(config, mesh, args)
    device = mesh.devices.flat[0]
    processor = platform.processor() or platform.machine()
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    measured |= {
        "program": "histo_simclr",
        "mode": args.case,
        "arch": config.model.arch,
        "size": config.views.px,
        "batch": config.batch_size,
        "optimizer": config.optimizer.name,
        "amp": {"bfloat16": "bf16", "float32": "off"}[_dtype(config).name],
        "device": processor if device.platform == "cpu" else device.device_kind,
        "devices": mesh.size,
        "peak_memory_mib": peak and round(peak / 2**20),
        # Linux counts KiB, macOS bytes.
        "peak_rss_mib": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            / (2**20 if sys.platform == "darwin" else 2**10)
        ),
        "python": platform.python_version(),
    }
    print("{mode}, {arch}, {size} px, batch {batch}, {devices} x {device}".format(**measured))
    print(line + "\n  peak memory of the process {peak_rss_mib:,} MiB".format(**measured))
    if args.json:
        print(json.dumps(measured))


def clock(config: Any, mesh: Any, args: argparse.Namespace) -> tuple[dict, str]:
    """Times a case: what was measured, and in words."""
    if args.steps < 1 or args.warmup < 0:
        raise InputError("nothing to time", where="--steps, --warmup", way_out="give 1 or more")
    cases = {"input": input_steps, "views": views_steps, "step": train_steps}
    compile_s, outputs = cases[args.case](config, mesh, args)
    at_rest = args.case == "input"
    with contextlib.closing(outputs):
        timing = measure(outputs, steps=args.steps, warmup=args.warmup, at_rest=at_rest)
    batch, median = config.batch_size, statistics.median(timing.steps)
    mean = batch * args.steps / timing.total
    measured = {
        # Reading ahead makes single steps of the input bursty: only their mean is a rate.
        "images_per_s": round(mean if at_rest else batch / median, 3),
        "images_per_s_mean": round(mean, 3),
        "step_ms_median": round(1e3 * median, 2),
        "step_ms_min": round(1e3 * min(timing.steps), 2),
        "cpu_ms_per_image": round(1e3 * timing.cpu / args.steps / batch, 3),
        "steps": args.steps,
        "compile_s": round(compile_s, 2),
        "ready_views": args.case == "step" and args.ready_views,
    }
    if args.case == "step":
        losses = (float(output["loss"]) for output in (timing.first, timing.last))
        measured |= dict(zip(("loss_first", "loss_last"), losses, strict=True))
    line = (
        "  {images_per_s:,.1f} images/s (step {step_ms_median:,.1f} ms: median of {steps}), "
        "{cpu_ms_per_image:.2f} CPU ms an image, compiled in {compile_s:.1f} s"
    )
    return measured, line.format(**measured)


def measure(outputs: Iterator[Any], *, steps: int, warmup: int, at_rest: bool = False) -> Timing:
    """Times `steps` steps, each waited for, after `warmup` others.

    Args:
      outputs: each next() starts one step and gives arrays it makes.
      steps, warmup: how many.
      at_rest: starts and stops the clock when reading ahead has filled its buffers, so that it
        made during the time just what was used in it.
    """
    import jax

    first = jax.block_until_ready([next(outputs) for _ in range(warmup)])[:1]
    if at_rest:
        _rest()
    ends, cpu = [time.perf_counter()], time.process_time()
    for _ in range(steps):
        last = jax.block_until_ready(next(outputs))
        ends.append(time.perf_counter())
    end = _rest() if at_rest else ends[-1]
    each = [after - before for before, after in itertools.pairwise(ends)]
    cpu = time.process_time() - cpu
    return Timing(each, end - ends[0], cpu, (first or [last])[0], last)


def input_steps(config: Any, mesh: Any, args: argparse.Namespace) -> tuple[float, Iterator[Any]]:
    """Records → read, checked, decoded → device → two views, by a run's own input."""
    from histo_simclr import mesh as meshes
    from histo_simclr import records
    from histo_simclr.input import device, order, reader

    if args.mix:
        rows, _ = records.load_mix(args.mix)
    else:
        folder, _, split = args.records.partition(":")
        rows = records.load_record_set(folder, split or "train").rows
    draw = partial(order.batch_rows, seed=config.seed, n=len(rows), batch_size=config.batch_size)
    draw(0)  # too few rows: said here, not in a thread
    # Without end: reading ahead must go on to the last timed step.
    batches = reader.read(
        rows, draw, start=0, stop=sys.maxsize, max_corrupt=config.data.max_corrupt
    )
    compile_s, views = _views(config, mesh, rows.px)

    def outputs() -> Iterator[Any]:
        done = None
        sharding = meshes.batch_sharding(mesh)
        with device.Feed(batches, sharding, depth=config.run.prefetch) as feed:
            for number in itertools.count():
                done = views(np.uint32(number), feed.next(pending=done))
                yield done

    return compile_s, outputs()


def views_steps(config: Any, mesh: Any, args: argparse.Namespace) -> tuple[float, Iterator[Any]]:
    """`compose.two_views` alone, on one batch of random bytes that lies on the device."""
    compile_s, views = _views(config, mesh, config.views.px)
    patches = _noise(mesh, (config.batch_size, config.views.px, config.views.px, 3), np.uint8)
    return compile_s, (views(np.uint32(number), patches) for number in itertools.count())


def train_steps(config: Any, mesh: Any, args: argparse.Namespace) -> tuple[float, Iterator[Any]]:
    """The metrics of pretraining steps on one batch of noise, (views,) network and update."""
    program, variants = _variants(config, mesh)
    jitted, batch = variants["ready" if args.ready_views else "whole"]
    compile_s, step = _compile(jitted, program.split.arrays, batch, program.seed_key)

    def outputs() -> Iterator[Any]:
        arrays, data = program.split.arrays, _noise(mesh, batch.shape, batch.dtype)
        while True:
            arrays, metrics = step(arrays, data, program.seed_key)
            yield metrics

    return compile_s, outputs()


def count(config: Any, mesh: Any) -> tuple[dict, str]:
    """FLOPs, bytes and memory of the compiled step by the compiler's own analysis; runs nothing.

    It counts a FLOP for each elementwise operation and only the taps of kernels that lie on the
    picture; and all bytes that its instructions read or write, as if there were no caches.
    """
    program, variants = _variants(config, mesh)
    measured, lines = {}, []
    for name, (jitted, batch) in variants.items():
        seconds, step = _compile(jitted, program.split.arrays, batch, program.seed_key)
        analysis = step.cost_analysis()
        found = {
            "flops": analysis["flops"] / config.batch_size,
            "bytes": analysis["bytes accessed"] / config.batch_size,
            "temp_mib": round(step.memory_analysis().temp_size_in_bytes / 2**20),
            "compile_s": round(seconds, 2),
        }
        measured[name] = found
        lines.append(
            f"  {name:5} {found['flops'] / 1e9:.2f} GFLOP and {found['bytes'] / 1e6:.1f} MB a "
            f"patch, temporaries {found['temp_mib']:,} MiB, compiled in {seconds:.1f} s"
        )
    every, inside = conv_flops(config.model.arch, config.views.px)
    lines.append(f"  convolutions by hand {every / 1e9:.2f} GFLOP, on pixels {inside / 1e9:.2f}")
    for what in ("flops", "bytes"):
        share = 1 - measured["ready"][what] / measured["whole"][what]
        measured[f"views_share_{what}"] = share
        lines.append(f"  the views' share of {what} {share:.1%}")
    return measured | {"hand_flops": every, "hand_flops_inside": inside}, "\n".join(lines)


def conv_flops(arch: str, px: int) -> tuple[int, int]:
    """FLOPs of one patch's convolutions by hand: 2 a multiply-add, two views, forward and backward.

    Returns:
      With every tap of every kernel; and with only those that lie on the picture, not its padding.
    """
    from flax import nnx

    from histo_simclr.model import resnet

    encoder = nnx.eval_shape(lambda: resnet.ResNet(arch, rngs=nnx.Rngs(0)))
    total = np.zeros(2, int)

    def conv(layer: nnx.Conv, length: int, passes: int = 3) -> int:
        kernel, _, fan_in, out = layer.kernel.shape
        starts = np.arange(0, length, layer.strides)
        taps = starts[:, None] + np.arange(kernel) - kernel // 2
        along = np.array([taps.size, np.sum((taps >= 0) & (taps < length))])
        total[:] += 2 * 2 * passes * along**2 * fan_in * out
        return len(starts)

    # Backward is twice forward, but nobody needs the gradient of the picture.
    length = (conv(encoder.conv1, px, passes=2) + 1) // 2
    for block in itertools.chain(encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        if block.downsample:
            conv(block.downsample[0], length)
        for name in ("conv1", "conv2", "conv3"):
            if hasattr(block, name):
                length = conv(getattr(block, name), length)
    return int(total[0]), int(total[1])


def _variants(config: Any, mesh: Any) -> tuple[Any, dict[str, tuple[Callable, Any]]]:
    """A run's program; and the step whole and on ready views, each with the shape of a batch."""
    import jax

    from histo_simclr import config as configs
    from histo_simclr.pretrain import step, train

    # The number of patches only stretches the schedule of the learning rate.
    program = train.build(config, mesh, configs.plan(config, 1000 * config.batch_size))
    loss_of, temperature = train.OBJECTIVES[config.objective.name], config.objective.temperature
    ready = step.compile_step(
        mesh,
        graph=program.split.graph,
        views=lambda key, pairs: (pairs[:, 0], pairs[:, 1]),
        loss_of=partial(loss_of, temperature=temperature),
        rate=lambda number: 0.0,  # for the metrics only; the optimizer in the graph has its own
    )
    picture = (config.views.px, config.views.px, 3)
    patches = jax.ShapeDtypeStruct((config.batch_size, *picture), "uint8")
    pairs = jax.ShapeDtypeStruct((config.batch_size, 2, *picture), _dtype(config))
    return program, {"whole": (program.step, patches), "ready": (ready, pairs)}


def _views(config: Any, mesh: Any, px: int) -> tuple[float, Callable]:
    """Compiled (step number, patches of px) → two views, with the seconds that it took."""
    import jax

    from histo_simclr import mesh as meshes
    from histo_simclr.views import compose

    def views(number: jax.Array, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        return compose.two_views(key, patches, **config.views, dtype=_dtype(config))

    split = meshes.batch_sharding(mesh)
    jitted = jax.jit(views, in_shardings=(None, split), out_shardings=split)
    patches = jax.ShapeDtypeStruct((config.batch_size, px, px, 3), "uint8")
    return _compile(jitted, np.uint32(0), patches)


def _compile(jitted: Callable, *arguments: Any) -> tuple[float, Callable]:
    start = time.perf_counter()
    compiled = jitted.lower(*arguments).compile()
    return time.perf_counter() - start, compiled


def _noise(mesh: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    import jax

    from histo_simclr import mesh as meshes

    rng = np.random.default_rng(0)
    is_bytes = dtype == np.uint8
    noise = rng.integers(0, 256, shape, np.uint8) if is_bytes else rng.standard_normal(shape, "f4")
    return jax.device_put(noise.astype(dtype), meshes.batch_sharding(mesh))


def _dtype(config: Any) -> Any:
    from histo_simclr.pretrain import train

    return train.compute_dtype(config.precision)


def _rest() -> float:
    """Waits for background threads to run out of work; when they did, by perf_counter."""
    busy, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - busy < QUIET_SECONDS:
        time.sleep(POLL_SECONDS)
        before, cpu = cpu, time.process_time()
        if cpu - before > POLL_SECONDS / 10:
            busy = time.perf_counter()
    return busy


CASES = {
    "input": "records → decoded → two views on the device; no network",
    "views": "two views of a batch that lies on the device",
    "step": "the whole pretraining step, or on ready views",
    "cost": "FLOPs, bytes and memory of the step, by the compiler and by hand; runs nothing",
}
