"""What each lever of speed and memory gives on this machine, on and off beside each other.

python docs/levers.py bench MIX       levers of the step and of the input, by `histo-simclr bench`
python docs/levers.py loops           convolutions in turn, and in a loop of XLA's CPU compiler
python docs/levers.py kept            activations kept for the gradients, by JAX's own account
python docs/levers.py similarities    memory and time of the loss with similarities in blocks
python docs/levers.py state           memory that donating the state spares
python docs/levers.py views           views as one program and operation by operation
python docs/levers.py cache           time to the first step without and with a compile cache
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.benchmarks import programs
from histo_simclr.model import resnet
from histo_simclr.pretrain import objective
from histo_simclr.views import compose

STEP = ("step", "--config=configs/resnet18_mix.py", "--batch=32", "--steps=6", "--warmup=2")
VIEWS = ("views", "--px=224", "--batch=16", "--steps=10", "--warmup=2")
INPUT = ("input", "--config=configs/resnet18_mix.py", "--steps=40", "--warmup=5")
WHOLE = ("end-to-end", "--config=configs/resnet18_mix.py", "--batch=32", "--steps=8", "--warmup=2")
# Name, side of the map, channels in and out, kernel, stride: ResNet-18 at 80 px.
CONVOLUTIONS = [
    ("stem, 7x7 at stride 2", 80, 3, 64, 7, 2),
    ("layer1, 3x3", 20, 64, 64, 3, 1),
    ("layer4, 3x3", 3, 512, 512, 3, 1),
]
# Name, the case, what it is set to; indented: compared with the line above that is not.
LEVERS = [
    ("step", STEP, ""),
    ("  bfloat16", STEP, "precision=bfloat16"),
    ("  space-to-depth stem", STEP, "compute.space_to_depth=True"),
    ("  remat, convolutions", STEP, "compute.remat=convolutions"),
    ("  remat, blocks", STEP, "compute.remat=blocks"),
    ("  similarities, 16 rows at a time", STEP, "compute.similarity_rows=16"),
    ("  2 microbatches", STEP, "compute.microbatches=2"),
    ("views, float32", VIEWS, "precision=float32"),
    ("  bfloat16", VIEWS, "precision=bfloat16"),
    ("input", INPUT, ""),
    ("  decoded pixels in memory", INPUT, "run.cache_decoded=True"),
    ("end to end", WHOLE, ""),
    ("  1 batch ahead", WHOLE, "run.prefetch=1"),
    ("  4 batches ahead", WHOLE, "run.prefetch=4"),
    ("  decoded pixels in memory", WHOLE, "run.cache_decoded=True"),
]


def bench(mix: str) -> None:
    """Each lever beside its case without it; ratios."""
    print("| lever | CPU time | time of a step | temporaries |")
    print("|---|---|---|---|")
    base = ()
    for name, case, setting in LEVERS:
        found = _bench(case, setting, mix)
        keys = ("cpu_ms_per_image", "step_ms_median", "temp_mib")
        cpu, wall, temporaries = (found.get(key) or 0 for key in keys)
        if not name.startswith(" "):
            base = cpu, wall, temporaries
            print(f"| {name} | {cpu:.2f} ms an image | {wall:,.1f} ms | {temporaries:,} MiB |")
            continue
        share = f"{temporaries / base[2]:.2f}" if base[2] else ""
        print(f"| {name} | {cpu / base[0]:.2f} | {wall / base[1]:.2f} | {share} |")


def _bench(case: tuple[str, ...], setting: str, mix: str, **environment: str) -> dict:
    command = [sys.executable, "-m", "histo_simclr", "bench", *case, "--json"]
    command += ["--set", setting] if setting else []
    command += ["--mix", mix] if case[0] in ("input", "end-to-end") else []
    env = os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found.get("compilations"):
        sys.exit(f"{' '.join(command)}: {found['compilations']} programs compiled while timed")
    return found


def kept() -> None:
    """MiB a view of 224 px that the backward pass takes, in bfloat16."""
    print("| network | " + " | ".join(resnet.REMAT) + " |")
    print("|---|" + "---|" * len(resnet.REMAT))
    for arch in resnet.ARCHS:
        amounts = [f"{kept_bytes(arch, remat) / 2**20:.1f}" for remat in resnet.REMAT]
        print(f"| {arch} | {' | '.join(amounts)} |")


def kept_bytes(arch: str, remat: str, *, px: int = 224, dtype: object = jnp.bfloat16) -> float:
    """Of activations, a view."""

    def build() -> resnet.ResNet:
        return resnet.ResNet(arch, rngs=nnx.Rngs(0), dtype=dtype, remat=remat)

    graph, params, others = nnx.split(nnx.eval_shape(build), nnx.Param, ...)

    def backward(params: nnx.State, others: nnx.State, views: jax.Array) -> object:
        def features(params: nnx.State) -> jax.Array:
            return nnx.merge(graph, params, others, copy=True)(views)

        return jax.vjp(features, params)[1]

    count = 4
    views = jax.ShapeDtypeStruct((count, px, px, 3), dtype)
    leaves = jax.tree.leaves(jax.eval_shape(backward, params, others, views))
    of_views = [leaf for leaf in leaves if leaf.shape[:1] == (count,)]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in of_views) / count


def loops() -> None:
    """CPU ms of convolutions of two batches of 32 maps, and of gradients: in turn, looped."""
    options = meshes.compiler_options(meshes.make(1))
    print("| convolution | forward | gradient of the kernel | of the maps |")
    print("|---|---|---|---|")
    for name, side, fan_in, out, kernel, stride in CONVOLUTIONS:
        maps = jax.random.normal(jax.random.key(0), (2, 32, side, side, fan_in))
        weight = jax.random.normal(jax.random.key(1), (kernel, kernel, fan_in, out))

        def squares(weight, maps, stride=stride, border=kernel // 2):
            return jnp.sum(_convolved(weight, maps, stride, border) ** 2)

        cells = []
        for program in (squares, jax.grad(squares), jax.grad(squares, argnums=1)):

            def unrolled(weight, maps, program=program):
                return [program(weight, each) for each in maps]

            def looped(weight, maps, program=program):
                return jax.lax.map(functools.partial(program, weight), maps)

            times = [
                1e3 * _cpu_seconds(jax.jit(each, compiler_options=options), weight, maps)
                for each in (unrolled, looped)
            ]
            cells.append("{:,.0f}, {:,.0f}".format(*times))
        print(f"| {name} | {' | '.join(cells)} |")


def _convolved(weight: jax.Array, maps: jax.Array, stride: int, border: int) -> jax.Array:
    sides, layout = ((border, border),) * 2, ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        maps, weight, (stride, stride), sides, dimension_numbers=layout
    )


def similarities() -> None:
    """NT-Xent with gradients of B projections of 128: temporaries and CPU time."""
    print("| B | rows at a time | temporaries | CPU time |")
    print("|---|---|---|---|")
    for batch in (512, 2048, 4096):
        for rows in (0, 1024, 256):

            def loss(projections: jax.Array, rows: int = rows) -> jax.Array:
                return objective.nt_xent(projections, temperature=0.2, similarity_rows=rows)

            projections = jax.random.normal(jax.random.key(0), (batch, 2, 128))
            program = jax.jit(jax.value_and_grad(loss)).lower(projections).compile()
            memory = program.memory_analysis().temp_size_in_bytes / 2**20
            seconds = _cpu_seconds(program, projections)
            print(f"| {batch:,} | {rows or 'all'} | {memory:,.1f} MiB | {1e3 * seconds:,.0f} ms |")


def state() -> None:
    """Bytes of the state, and those that the compiler writes in place because it is donated."""
    print("| network | state | written in place |")
    print("|---|---|---|")
    for arch in ("resnet18", "resnet50"):
        config = configs.load("configs/resnet18_mix.py")
        config.model.arch, config.precision, config.views.px = arch, "float32", 72
        program, variants = programs.steps_of(config, meshes.make(1), config.data.px)
        step, batch = variants["whole"]
        arrays = program.split.arrays
        memory = step.lower(arrays, batch, program.seed_key).compile().memory_analysis()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        sizes = (size / 2**20, memory.alias_size_in_bytes / 2**20)
        print(f"| {arch} | {sizes[0]:,.1f} MiB | {sizes[1]:,.1f} MiB |")


def views() -> None:
    """CPU ms an image of two views: one compiled program, and each operation by itself."""
    recipe = configs.load("configs/resnet18_mix.py:tenpercent").views.to_dict()
    patches = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), np.uint8)
    chances = compose.chances(jax.random.key(0), len(patches), count=2)
    make = functools.partial(compose.random_views, **recipe)
    fused = _cpu_seconds(jax.jit(make), chances, patches)
    apart = _cpu_seconds(make, chances, patches)
    for name, seconds in (("one program", fused), ("operation by operation", apart)):
        print(f"{name}: {1e3 * seconds / len(patches):.1f} CPU ms an image")


def cache() -> None:
    """Seconds from the start of the command's work to the end of the first step."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("no compile cache yet", "a warm one"):
            env = {"JAX_COMPILATION_CACHE_DIR": folder}
            found = _bench((*STEP[:2], "--steps=1", "--warmup=1", "--batch=8"), "", "", **env)
            told = "{first_step_s:.1f} s to the first step, step compiled in {compile_s:.1f} s"
            print(f"{name}: {told.format(**found)} ({found['compile_cache']})")


def _cpu_seconds(program: object, *arguments: object) -> float:
    """CPU seconds of a call, the median of five after one."""
    jax.block_until_ready(program(*arguments))
    times = []
    for _ in range(5):
        start = time.process_time()
        jax.block_until_ready(program(*arguments))
        times.append(time.process_time() - start)
    return median(times)


if __name__ == "__main__":
    choices = {
        each.__name__: each for each in (bench, loops, kept, similarities, state, views, cache)
    }
    if len(sys.argv) < 2 or sys.argv[1] not in choices:
        sys.exit(__doc__)
    os.chdir(Path(__file__).parents[1])
    choices[sys.argv[1]](*sys.argv[2:])
