"""`histo-simclr bench CASE`: how fast the parts of a run are here, and what the step costs.

Each case times or compiles what a run uses, from the same configuration (`probe` needs none).
Rates count patches; those of pretraining two views each. The keys of the JSON line are those of the
program it is compared with.
"""

import argparse
import contextlib
import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from histo_simclr import bench_extract, bench_probe, records, update
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.input import device, order, reader
from histo_simclr.views import compose

CASES = {
    "input": "records → decoded → two views on the device; no network",
    "views": "two views of a batch that lies on the device",
    "step": "the whole pretraining step, or network and update on ready views",
    "cost": "FLOPs, bytes and memory of the step, by the compiler and by hand; runs nothing",
    "extract": "records → features, beside the encoder alone on patches that lie on the device",
}
PROBE = "the linear probe beside scikit-learn's, and nearest neighbors; on made-up features"
# GFLOP of one patch's convolutions at 224 px, counted layer by layer (tests/test_bench.py counts
# ResNet-18's again): 2 a multiply-add, two views, forward and backward. Grows with the area.
HAND_GFLOP = {"resnet18": 21.3, "resnet34": 43.5, "resnet50": 48.6, "resnet101": 93.1}
# A process that did no work to speak of for so long is at rest.
QUIET_SECONDS, POLL_SECONDS = 0.3, 0.01


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """One sub-parser a case; what is not given is the configuration's."""
    cases = sub.add_subparsers(metavar="CASE", dest="case", required=True)
    for name, summary in CASES.items():
        case = cases.add_parser(name, help=summary, description=summary)
        recipe = "configs/resnet18_mix.py:tenpercent"
        case.add_argument("--config", default=recipe, help="NAME.py[:preset] (%(default)s)")
        case.add_argument("--arch", help="encoder; input and views have none")
        case.add_argument("--px", type=int, help="side of the views")
        case.add_argument("--batch", type=int, help="patches a step")
        case.add_argument("--steps", type=int, default=20, help="timed steps (20); cost runs none")
        case.add_argument("--warmup", type=int, default=5, help="steps before them (5)")
        case.add_argument("--json", action="store_true", help="a JSON line at the end")
    bench_probe.add_arguments(cases.add_parser("probe", help=PROBE, description=PROBE))
    cases.choices["step"].add_argument("--ready-views", action="store_true", help="leave out views")
    for name in ("input", "extract"):
        source = cases.choices[name].add_mutually_exclusive_group(required=True)
        source.add_argument("--mix", help="folder written by `histo-simclr mix`")
        source.add_argument("--records", help="record set: DIR[:split], split train by default")


def run(args: argparse.Namespace) -> None:
    """Runs one case; prints what was found, and with --json once more as the last line."""
    if args.case == "probe":
        measured, line = bench_probe.clock(args)
        _print(measured | _machine(meshes.make(1)), line, args)
        return

    config = configs.load(args.config, program="pretrain")
    config.precision = meshes.compute_dtype(config.precision).name
    config.model.arch = args.arch or config.model.arch
    config.views.px = config.views.px if args.px is None else args.px
    config.batch_size = config.batch_size if args.batch is None else args.batch
    # Costs are those of the whole batch on one device, whatever there is.
    mesh = meshes.make(1 if args.case == "cost" else None)
    configs.check(config, devices=mesh.size, mix_px=config.data.px)
    if args.case == "extract":
        measured, line = bench_extract.clock(_rows(args), config, mesh, args)
    else:
        measured, line = (count if args.case == "cost" else clock)(config, mesh, args)
    measured |= {
        "mode": args.case,
        "arch": config.model.arch,
        "size": config.views.px,
        "batch": config.batch_size,
        "optimizer": config.optimizer.name,
        "amp": {"bfloat16": "bf16", "float32": "off"}[config.precision],
    }
    head = "{mode}, {arch}, {size} px, batch {batch}, amp {amp}, {devices} x {device}: "
    _print(measured | _machine(mesh), head + line, args)


def _rows(args: argparse.Namespace) -> records.Rows:
    """The rows of --mix or --records."""
    if args.mix:
        return records.load_mix(args.mix)[0]
    folder, _, split = args.records.partition(":")
    return records.load_record_set(folder, split or "train").rows


def _machine(mesh: Mesh) -> dict[str, Any]:
    chip = mesh.devices.flat[0]
    peak = (chip.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "program": "histo_simclr",
        "device": platform.machine() if chip.platform == "cpu" else chip.device_kind,
        "devices": mesh.size,
        "peak_memory_mib": peak and round(peak / 2**20),
        "peak_rss_mib": round(bench_probe.peak_rss_mib()),
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def _print(measured: dict[str, Any], line: str, args: argparse.Namespace) -> None:
    print((line + ", peak RSS {peak_rss_mib:,} MiB").format(**measured))
    if args.json:
        print(json.dumps(measured))


def clock(config: Any, mesh: Mesh, args: argparse.Namespace) -> tuple[dict, str]:
    """Times a case: what was measured, and a template to say it.

    The input reads ahead, which makes single steps bursty. Its clock starts and stops when all
    buffers are full, so that just what was used in the time was also made in it.
    """
    if args.steps < 1 or args.warmup < 1:
        raise InputError("too few", where="--steps, --warmup", way_out="give 1 or more of each")
    starts = {"input": input_steps, "views": views_steps, "step": train_steps}
    compile_s, outputs = starts[args.case](config, mesh, args)
    reads = args.case == "input"
    with contextlib.closing(outputs):
        first = jax.block_until_ready(next(outputs))
        for _ in range(args.warmup - 1):
            jax.block_until_ready(next(outputs))
        if reads:
            _rest()
        cpu, ends = time.process_time(), [time.perf_counter()]
        for _ in range(args.steps):
            last = jax.block_until_ready(next(outputs))
            ends.append(time.perf_counter())
        total = (_rest() if reads else ends[-1]) - ends[0]
        cpu = time.process_time() - cpu
    times = [after - before for before, after in itertools.pairwise(ends)]
    mean, median = config.batch_size * args.steps / total, statistics.median(times)
    measured = {
        "images_per_s": round(mean if reads else config.batch_size / median, 3),
        "images_per_s_mean": round(mean, 3),
        "step_ms_median": round(1e3 * median, 2),
        "step_ms_min": round(1e3 * min(times), 2),
        "cpu_ms_per_image": round(1e3 * cpu / args.steps / config.batch_size, 3),
        "steps": args.steps,
        "compile_s": round(compile_s, 2),
    }
    if args.case == "step":
        measured["views"] = "ready" if args.ready_views else "made in the step"
        measured |= {"loss_first": float(first["loss"]), "loss_last": float(last["loss"])}
    return measured, (
        "{images_per_s:,.1f} images/s, step {step_ms_median:,.1f} ms (median of {steps}), "
        "{cpu_ms_per_image:.2f} CPU ms an image, compiled in {compile_s:.1f} s"
    )


def input_steps(config: Any, mesh: Mesh, args: argparse.Namespace) -> tuple[float, Iterator]:
    """Records → read, checked, decoded → device → two views, by a run's own input."""
    rows = _rows(args)
    draw = partial(order.batch_rows, seed=config.seed, n=len(rows), batch_size=config.batch_size)
    compile_s, views = _views(config, mesh, rows.px)
    # Without end: reading ahead must go on to the last timed step.
    endless = {"start": 0, "stop": sys.maxsize, "max_corrupt": config.data.max_corrupt}

    def outputs() -> Iterator[Any]:
        batches, done = reader.read(rows, draw, **endless), None
        with device.Feed(batches, meshes.batch_sharding(mesh), config.run.prefetch) as feed:
            for number in itertools.count():
                done = views(np.uint32(number), feed.next(pending=done))
                yield done

    return compile_s, outputs()


def views_steps(config: Any, mesh: Mesh, args: argparse.Namespace) -> tuple[float, Iterator]:
    """Views alone, on one batch of random bytes."""
    compile_s, views = _views(config, mesh, config.views.px)
    patches = _noise((config.batch_size, config.views.px, config.views.px, 3), "uint8", mesh)
    return compile_s, (views(np.uint32(number), patches) for number in itertools.count())


def train_steps(config: Any, mesh: Mesh, args: argparse.Namespace) -> tuple[float, Iterator]:
    """Metrics of pretraining steps on one batch of noise."""
    program, variants = _variants(config, mesh)
    jitted, batch = variants["ready" if args.ready_views else "whole"]
    compile_s, step = _compile(jitted, program.split.arrays, batch, program.seed_key)

    def outputs() -> Iterator[Any]:
        arrays, data = program.split.arrays, _noise(batch.shape, batch.dtype, mesh)
        while True:
            arrays, metrics = step(arrays, data, program.seed_key)
            yield metrics

    return compile_s, outputs()


def count(config: Any, mesh: Mesh, args: argparse.Namespace) -> tuple[dict, str]:
    """Costs of the compiled step by the compiler's own analysis, and a template to say them.

    It counts a FLOP for each elementwise operation, only the taps of kernels that lie on the
    picture, and all bytes that its instructions read or write, as if there were no caches.
    """
    program, variants = _variants(config, mesh)
    measured, line = {}, ""
    for name, (jitted, batch) in variants.items():
        seconds, step = _compile(jitted, program.split.arrays, batch, program.seed_key)
        found = step.cost_analysis()
        measured[name] = {
            "flops_per_image": found["flops"] / config.batch_size,
            "bytes_per_image": found["bytes accessed"] / config.batch_size,
            "temp_mib": round(step.memory_analysis().temp_size_in_bytes / 2**20),
            "compile_s": round(seconds, 2),
        }
        line += (
            "\n  {0}: {flops_per_image:.4g} FLOPs and {bytes_per_image:.4g} bytes an image, "
            "temporaries {temp_mib:,} MiB, compiled in {compile_s} s"
        ).format(name, **measured[name])
    for what in ("flops", "bytes"):
        whole, ready = (measured[name][f"{what}_per_image"] for name in ("whole", "ready"))
        measured[f"views_share_{what}"] = 1 - ready / whole
    measured["hand_flops"] = 1e9 * HAND_GFLOP[config.model.arch] * (config.views.px / 224) ** 2
    line += "\n  views: {views_share_flops:.1%} of the FLOPs, {views_share_bytes:.1%} of the bytes"
    return measured, line + "\n  convolutions by hand: {hand_flops:.4g} FLOPs an image\n  process"


def _variants(config: Any, mesh: Mesh) -> tuple[Any, dict[str, tuple[Callable, Any]]]:
    """A run's program; and the step whole and on ready views, each with the shape of a batch."""
    from histo_simclr.pretrain import step, train

    # The number of patches only stretches the schedule of the learning rate.
    plan = configs.plan(config, 1000 * config.batch_size)
    program = train.build(config, mesh, plan)
    bound = train.recipe(config, plan) | {"views": lambda _, both: (both[:, 0], both[:, 1])}
    on_ready = partial(step.pretrain_step, graph=program.split.graph, **bound)
    ready = update.compile_step(on_ready, mesh)
    picture = (config.views.px, config.views.px, 3)
    patches = jax.ShapeDtypeStruct((config.batch_size, *picture), "uint8")
    both = jax.ShapeDtypeStruct((config.batch_size, 2, *picture), config.precision)
    return program, {"whole": (program.step, patches), "ready": (ready, both)}


def _views(config: Any, mesh: Mesh, px: int) -> tuple[float, Callable]:
    """Seconds to compile (step number, patches of px) → two views; and that, compiled."""

    def views(number: jax.Array, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        chances = compose.chances(key, len(patches), count=2)
        return compose.random_views(chances, patches, **config.views, dtype=config.precision)

    split = meshes.batch_sharding(mesh)
    jitted = jax.jit(views, in_shardings=(None, split), out_shardings=split)
    patches = jax.ShapeDtypeStruct((config.batch_size, px, px, 3), "uint8")
    return _compile(jitted, np.uint32(0), patches)


def _compile(jitted: Callable, *arguments: Any) -> tuple[float, Callable]:
    start = time.perf_counter()
    compiled = jitted.lower(*arguments).compile()
    return time.perf_counter() - start, compiled


def _noise(shape: tuple[int, ...], dtype: Any, mesh: Mesh) -> jax.Array:
    draw = jax.random.bits if np.dtype(dtype) == np.uint8 else jax.random.normal
    return jax.device_put(draw(jax.random.key(0), shape, dtype), meshes.batch_sharding(mesh))


def _rest() -> float:
    """Waits for background threads to run out of work; when they did, by perf_counter."""
    busy, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - busy < QUIET_SECONDS:
        time.sleep(POLL_SECONDS)
        before, cpu = cpu, time.process_time()
        if cpu - before > POLL_SECONDS / 10:
            busy = time.perf_counter()
    return busy
