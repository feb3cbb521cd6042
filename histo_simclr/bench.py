"""`histo-simclr bench CASE`: how fast the parts of pretraining run here, and what the step costs.

Each case times or compiles what a run uses, from the same configuration. Rates count patches, two
views each. The keys of the JSON line are those of the program it is compared with.
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

CASES = {
    "input": "records → decoded → two views on the device; no network",
    "views": "two views of a batch that lies on the device",
    "step": "the whole pretraining step, or network and update on ready views",
    "cost": "FLOPs, bytes and memory of the step, by the compiler and by hand; runs nothing",
}
# GFLOP of one patch's convolutions at 224 px, counted layer by layer (tests/test_bench.py does):
# 2 a multiply-add, two views, forward and backward. Grows with the area.
HAND_GFLOP = {"resnet18": 21.3, "resnet34": 43.5, "resnet50": 48.6, "resnet101": 93.1}
# A process that did no work to speak of for so long is at rest.
QUIET_SECONDS, POLL_SECONDS = 0.3, 0.01


class Place(NamedTuple):
    """Where the arrays of a case lie: mesh, sharding of a batch, type of the computation."""

    mesh: Any
    split: Any
    dtype: Any


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
    cases.choices["step"].add_argument("--ready-views", action="store_true", help="leave out views")
    source = cases.choices["input"].add_mutually_exclusive_group(required=True)
    source.add_argument("--mix", help="folder written by `histo-simclr mix`")
    source.add_argument("--records", help="record set: DIR[:split], split train by default")


def run(args: argparse.Namespace) -> None:
    """Runs one case; prints what was found, and with --json once more as the last line."""
    from histo_simclr import config as configs
    from histo_simclr import mesh as meshes
    from histo_simclr.pretrain import train

    config = configs.load(args.config)
    config.model.arch = args.arch or config.model.arch
    config.views.px = config.views.px if args.px is None else args.px
    config.batch_size = config.batch_size if args.batch is None else args.batch
    # Costs are those of the whole batch on one device, whatever there is.
    mesh = meshes.make(1 if args.case == "cost" else None)
    configs.check(config, devices=mesh.size, mix_px=config.data.px)
    place = Place(mesh, meshes.batch_sharding(mesh), train.compute_dtype(config.precision))
    measured, line = (count if args.case == "cost" else clock)(config, place, args)
    device = mesh.devices.flat[0]
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in KiB, on macOS in bytes
    measured |= {
        "program": "histo_simclr",
        "mode": args.case,
        "arch": config.model.arch,
        "size": config.views.px,
        "batch": config.batch_size,
        "optimizer": config.optimizer.name,
        "amp": {"bfloat16": "bf16", "float32": "off"}[place.dtype.name],
        "device": platform.machine() if device.platform == "cpu" else device.device_kind,
        "devices": mesh.size,
        "peak_memory_mib": peak and round(peak / 2**20),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "python": platform.python_version(),
    }
    head = "{mode}, {arch}, {size} px, batch {batch}, {amp} amp, {devices} x {device}: "
    print((head + line + ", peak RSS {peak_rss_mib:,} MiB").format(**measured))
    if args.json:
        print(json.dumps(measured))


def clock(config: Any, place: Place, args: argparse.Namespace) -> tuple[dict, str]:
    """Times a case: what was measured, and a template to say it."""
    if args.steps < 1 or args.warmup < 1:
        raise InputError("too few", where="--steps, --warmup", way_out="give 1 or more of each")
    cases = {"input": input_steps, "views": views_steps, "step": train_steps}
    compile_s, outputs = cases[args.case](config, place, args)
    at_rest = args.case == "input"
    with contextlib.closing(outputs):
        kept, times, total, cpu = measure(outputs, args.steps, args.warmup, at_rest=at_rest)
    batch, median = config.batch_size, statistics.median(times)
    mean = batch * args.steps / total
    measured = {
        # Reading ahead makes single steps of the input bursty: only their mean is a rate.
        "images_per_s": round(mean if at_rest else batch / median, 3),
        "images_per_s_mean": round(mean, 3),
        "step_ms_median": round(1e3 * median, 2),
        "step_ms_min": round(1e3 * min(times), 2),
        "cpu_ms_per_image": round(1e3 * cpu / args.steps / batch, 3),
        "steps": args.steps,
        "compile_s": round(compile_s, 2),
    }
    if args.case == "step":
        measured |= {"views": "ready" if args.ready_views else "made in the step"}
        measured |= {f"loss_{when}": float(kept[when]["loss"]) for when in kept}
    return measured, (
        "{images_per_s:,.1f} images/s, step {step_ms_median:,.1f} ms (median of {steps}), "
        "{cpu_ms_per_image:.2f} CPU ms an image, compiled in {compile_s:.1f} s"
    )


def measure(outputs: Iterator[Any], steps: int, warmup: int, *, at_rest: bool) -> tuple:
    """Times `steps` steps, each waited for, after `warmup` others.

    Args:
      outputs: each next() starts one step and gives arrays it makes.
      steps, warmup: how many, >= 1.
      at_rest: starts and stops the clock when reading ahead has filled its buffers, so that just
        what was used in the time was also made in it.

    Returns:
      {"first": first output, "last": last}; seconds of each step, of all, of all cores for all.
    """
    import jax

    kept = {"first": jax.block_until_ready(next(outputs))}
    for _ in range(warmup - 1):
        jax.block_until_ready(next(outputs))
    if at_rest:
        _rest()
    ends, cpu = [time.perf_counter()], time.process_time()
    for _ in range(steps):
        kept["last"] = jax.block_until_ready(next(outputs))
        ends.append(time.perf_counter())
    end = _rest() if at_rest else ends[-1]
    cpu = time.process_time() - cpu
    times = [after - before for before, after in itertools.pairwise(ends)]
    return kept, times, end - ends[0], cpu


def _rest() -> float:
    """Waits for background threads to run out of work; when they did, by perf_counter."""
    busy, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - busy < QUIET_SECONDS:
        time.sleep(POLL_SECONDS)
        before, cpu = cpu, time.process_time()
        if cpu - before > POLL_SECONDS / 10:
            busy = time.perf_counter()
    return busy


def input_steps(config: Any, place: Place, args: argparse.Namespace) -> tuple[float, Iterator]:
    """Records → read, checked, decoded → device → two views, by a run's own input."""
    from histo_simclr import records
    from histo_simclr.input import device, order, reader

    if args.mix:
        rows, _ = records.load_mix(args.mix)
    else:
        folder, _, split = args.records.partition(":")
        rows = records.load_record_set(folder, split or "train").rows
    draw = partial(order.batch_rows, seed=config.seed, n=len(rows), batch_size=config.batch_size)
    draw(0)  # too few rows: said here, not in a thread
    compile_s, views = _views(config, place, rows.px)
    # Without end: reading ahead must go on to the last timed step.
    endless = {"start": 0, "stop": sys.maxsize, "max_corrupt": config.data.max_corrupt}

    def outputs() -> Iterator[Any]:
        batches, done = reader.read(rows, draw, **endless), None
        with device.Feed(batches, place.split, depth=config.run.prefetch) as feed:
            for number in itertools.count():
                done = views(np.uint32(number), feed.next(pending=done))
                yield done

    return compile_s, outputs()


def views_steps(config: Any, place: Place, args: argparse.Namespace) -> tuple[float, Iterator]:
    """`compose.two_views` alone, on one batch of random bytes."""
    import jax

    compile_s, views = _views(config, place, config.views.px)
    shape = (config.batch_size, config.views.px, config.views.px, 3)
    patches = jax.device_put(jax.random.bits(jax.random.key(0), shape, np.uint8), place.split)
    return compile_s, (views(np.uint32(number), patches) for number in itertools.count())


def train_steps(config: Any, place: Place, args: argparse.Namespace) -> tuple[float, Iterator]:
    """Metrics of pretraining steps on one batch of noise."""
    import jax

    program, variants = _variants(config, place)
    jitted, batch = variants["ready" if args.ready_views else "whole"]
    compile_s, step = _compile(jitted, program.split.arrays, batch, program.seed_key)

    draw = jax.random.normal if args.ready_views else jax.random.bits
    data = jax.device_put(draw(jax.random.key(0), batch.shape, batch.dtype), place.split)

    def outputs() -> Iterator[Any]:
        arrays = program.split.arrays
        while True:
            arrays, metrics = step(arrays, data, program.seed_key)
            yield metrics

    return compile_s, outputs()


def count(config: Any, place: Place, args: argparse.Namespace) -> tuple[dict, str]:
    """Costs of the compiled step by the compiler's own analysis, and a template to say them.

    It counts a FLOP for each elementwise operation, only the taps of kernels that lie on the
    picture, and all bytes that its instructions read or write, as if there were no caches.
    """
    program, variants = _variants(config, place)
    measured, line = {}, ""
    for name, (jitted, batch) in variants.items():
        seconds, step = _compile(jitted, program.split.arrays, batch, program.seed_key)
        found = step.cost_analysis()
        measured[name] = {
            "flops": found["flops"] / config.batch_size,
            "bytes": found["bytes accessed"] / config.batch_size,
            "temp_mib": round(step.memory_analysis().temp_size_in_bytes / 2**20),
            "compile_s": round(seconds, 2),
        }
        line += f"\n  {name} step, a patch: {{{name}}}"
    for what in ("flops", "bytes"):
        measured[f"views_share_{what}"] = 1 - measured["ready"][what] / measured["whole"][what]
    measured["hand_flops"] = 1e9 * HAND_GFLOP[config.model.arch] * (config.views.px / 224) ** 2
    line += "\n  views: {views_share_flops:.1%} of the FLOPs, {views_share_bytes:.1%} of the bytes"
    return measured, line + "\n  convolutions by hand: {hand_flops:.4g} FLOPs a patch\n "


def _variants(config: Any, place: Place) -> tuple[Any, dict[str, tuple[Callable, Any]]]:
    """A run's program; and the step whole and on ready views, each with the shape of a batch."""
    import jax

    from histo_simclr import config as configs
    from histo_simclr.pretrain import step, train

    # The number of patches only stretches the schedule of the learning rate.
    program = train.build(config, place.mesh, configs.plan(config, 1000 * config.batch_size))
    loss_of, temperature = train.OBJECTIVES[config.objective.name], config.objective.temperature
    ready = step.compile_step(
        place.mesh,
        graph=program.split.graph,
        views=lambda key, pairs: (pairs[:, 0], pairs[:, 1]),
        loss_of=partial(loss_of, temperature=temperature),
        rate=lambda number: 0.0,  # for the metrics only; the optimizer in the graph has its own
    )
    picture = (config.views.px, config.views.px, 3)
    patches = jax.ShapeDtypeStruct((config.batch_size, *picture), np.uint8)
    pairs = jax.ShapeDtypeStruct((config.batch_size, 2, *picture), place.dtype)
    return program, {"whole": (program.step, patches), "ready": (ready, pairs)}


def _views(config: Any, place: Place, px: int) -> tuple[float, Callable]:
    """Seconds to compile (step number, patches of px) → two views; and that, compiled."""
    import jax

    from histo_simclr.views import compose

    def views(number: jax.Array, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        return compose.two_views(key, patches, **config.views, dtype=place.dtype)

    jitted = jax.jit(views, in_shardings=(None, place.split), out_shardings=place.split)
    patches = jax.ShapeDtypeStruct((config.batch_size, px, px, 3), np.uint8)
    return _compile(jitted, np.uint32(0), patches)


def _compile(jitted: Callable, *arguments: Any) -> tuple[float, Callable]:
    start = time.perf_counter()
    compiled = jitted.lower(*arguments).compile()
    return time.perf_counter() - start, compiled
