"""The case `end-to-end`: records → decoded → device → whole step, as a run does it."""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from histo_simclr import mesh as meshes
from histo_simclr import update
from histo_simclr.benchmarks import clock, programs, rooflines, saving, settings, trace
from histo_simclr.input import reader

TRANSFERS = 5


def clocked(config: Any, mesh: Mesh, args: argparse.Namespace, *, since: float) -> clock.Found:
    """Times steps on a resident batch, then the same steps on batches of a run's input.

    The second are slower by what input costs. At most the transfer of a batch is charged with it:
    what of its time, alone, does not come back in the step was hidden behind the step. That is not
    told where single steps differ by more than the transfer takes.
    """
    from histo_simclr.pretrain import train

    saving.check(args)
    size = {"batch": config.batch_size, "steps": args.steps}
    rows = settings.rows(args, config)
    program, training, batch = programs.training(config, mesh, rows.px, variant="whole")
    resident, transfer_ms = _transfer(batch, mesh)
    start = time.perf_counter()
    feed = train.batches_of(rows, config, 0, sys.maxsize, mesh, reader.Watch())
    fill_s, losses = time.perf_counter() - start, []

    def outputs() -> Iterator[Any]:
        for metrics in training.steps(feed.next, ahead=update.AHEAD):
            losses.append(metrics["loss"])
            yield metrics

    with contextlib.closing(feed):
        fed = outputs()
        # What was read ahead before the first step is used up before the clock starts.
        ahead = config.run.prefetch + reader.PREFETCHED_BATCHES + update.AHEAD
        first, first_lines = clock.warm(fed, args.warmup + ahead, program=program, since=since)
        feed.wait_fraction()
        found, lines = clock.timed(fed, fed=True, **size)
        waited = feed.wait_fraction()
        traced, trace_lines = trace.record(fed, args.profile)
        saves, save_lines = saving.overhead(training, fed, config, args, spare=ahead)
    # After them, so that these cannot empty or fill what is read ahead.
    alone = training.steps(lambda _: resident, ahead=update.AHEAD)
    for _ in range(update.AHEAD + 1):
        next(alone)
    resident_found, _ = clock.timed(alone, **size)
    found |= first | {
        "loss_first": float(losses[0]),
        "loss_last": float(losses[-1]),
        "prefetch": config.run.prefetch,
        "cache_decoded": config.run.cache_decoded,
        "cache_fill_s": round(fill_s, 2) if config.run.cache_decoded else None,
    }
    input_found, input_lines = _input(found, resident_found, transfer_ms, waited)
    model = rooflines.by_hand(config.model.arch, config.views.px, config.precision)
    shares, share_lines = rooflines.measured(
        program.call, model, rate=found["images_per_s"], batch=config.batch_size, mesh=mesh
    )
    lines += first_lines + input_lines + save_lines + share_lines + trace_lines
    return found | input_found | saves | shares | traced, lines


def _transfer(batch: jax.ShapeDtypeStruct, mesh: Mesh) -> tuple[jax.Array, float]:
    """A batch on the devices, and the median ms of bringing it there while they are idle."""
    host = np.random.default_rng(0).integers(0, 256, batch.shape, np.uint8)
    sharding, times = meshes.batch_sharding(mesh), []
    for _ in range(TRANSFERS):
        start = time.perf_counter()
        arrays = jax.make_array_from_process_local_data(sharding, host)
        jax.block_until_ready(arrays)
        times.append(1e3 * (time.perf_counter() - start))
    return arrays, statistics.median(times)


def _input(
    fed: dict[str, Any], alone: dict[str, Any], transfer_ms: float, waited: float
) -> clock.Found:
    """What input costs; of the clock's findings on real input, and on a resident batch."""
    step_ms, alone_ms = fed["step_ms_median"], alone["step_ms_median"]
    spreads, hidden = [each["step_ms_spread"] for each in (fed, alone)], None
    if None not in spreads and max(spreads) <= transfer_ms:
        hidden = round(1 - min(max(step_ms - alone_ms, 0) / transfer_ms, 1), 4)
    found = {
        "wait_fraction": round(waited, 4),
        "resident_step_ms_median": alone_ms,
        "resident_step_ms_spread": spreads[1],
        "share_of_resident": round(alone_ms / step_ms, 4),
        "transfer_ms": round(transfer_ms, 3),
        "transfer_share_of_step": round(transfer_ms / alone_ms, 4),
        "transfer_hidden": hidden,
    }
    share, of_step = (
        f"{found[key]:.1%}" for key in ("share_of_resident", "transfer_share_of_step")
    )
    told = "at least: all that input costs is charged to it"
    if hidden is None:
        told = "only where steps differ by less than the transfer takes"
    return found, [
        ("waiting for input", f"{waited:.2%}", "share of the time that the device stood idle"),
        ("step on a resident batch", f"{alone_ms:,.1f} ms", f"input keeps {share} of its rate"),
        ("transfer of a batch, alone", f"{transfer_ms:,.2f} ms", f"{of_step} of that step"),
        ("  hidden behind the step", "not told apart" if hidden is None else f"{hidden:.0%}", told),
    ]
