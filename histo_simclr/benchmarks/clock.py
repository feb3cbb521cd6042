"""The clock of all cases: warm-up, steps one by one, medians, what was compiled meanwhile."""

import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax

from histo_simclr.benchmarks.compilations import Compilations
from histo_simclr.benchmarks.programs import Compiled

# A process that did no work to speak of for so long is at rest.
QUIET_SECONDS, POLL_SECONDS = 0.3, 0.01
PATIENCE_SECONDS = 30.0  # others' threads may never be at rest

# What a case found: keys of the JSON line; and cells of the table.
Found = tuple[dict[str, Any], list[tuple[str, str, str]]]


def warm(outputs: Iterator[Any], steps: int, *, program: Compiled, since: float) -> Found:
    """Runs the first steps; what it took to come to the end of the first one.

    Args:
      outputs: of each step.
      steps: how many, 1 or more.
      program: that runs in each step.
      since: when the command's work began, by perf_counter.
    """
    jax.block_until_ready(next(outputs))
    found = {
        "compile_s": round(program.seconds, 2),
        "compile_cache": program.cache,
        "first_step_s": round(time.perf_counter() - since, 2),
    }
    for _ in range(steps - 1):
        jax.block_until_ready(next(outputs))
    cache = "compile cache: {compile_cache}".format(**found)
    whole = "from the start of the command's work"
    return found, [
        ("compiled in", "{compile_s:.1f} s".format(**found), cache),
        ("first step after", "{first_step_s:.1f} s".format(**found), whole),
    ]


def timed(
    outputs: Iterator[Any], *, batch: int, steps: int, reads: bool = False, fed: bool = False
) -> Found:
    """Times steps at rest with what was read ahead.

    Input that reads ahead makes single steps bursty, so with `reads` and `fed` the rate is that of
    the whole time. With `reads`, the clock also starts and stops when all buffers are full, so that
    just what was used in the time was also made in it; a process that is still busy after
    PATIENCE_SECONDS is not waited for, and the time so far counts.

    Args:
      outputs: of each step.
      batch: patches a step.
      steps: how many to time, 1 or more.
      reads: whether nothing but reading can be the limit.
      fed: whether reading can be the limit beside others.
    """
    if reads:
        _rest()
    with Compilations() as compilations:
        cpu, ends = time.process_time(), [time.perf_counter()]
        for _ in range(steps):
            jax.block_until_ready(next(outputs))
            ends.append(time.perf_counter())
        total = (_rest() if reads else ends[-1]) - ends[0]
        cpu = time.process_time() - cpu
    times = [after - before for before, after in itertools.pairwise(ends)]
    mean, median, of_whole = batch * steps / total, statistics.median(times), reads or fed
    found = {
        "images_per_s": round(mean if of_whole else batch / median, 3),
        "images_per_s_mean": round(mean, 3),
        "step_ms_median": round(1e3 * median, 2),
        "step_ms_min": round(1e3 * min(times), 2),
        "step_ms_spread": _spread_ms(times),
        "cpu_ms_per_image": round(1e3 * cpu / steps / batch, 3),
        "steps": steps,
        "compilations": compilations.count,
    }
    kind = "of the whole time" if of_whole else "by the median step"
    return found, [
        ("images/s", "{images_per_s:,.1f}".format(**found), kind),
        (
            "step",
            "{step_ms_median:,.1f} ms".format(**found),
            "median of {steps}; fastest {step_ms_min:,.1f} ms".format(**found),
        ),
        ("CPU time an image", "{cpu_ms_per_image:.2f} ms".format(**found), "all threads"),
        ("compiled meanwhile", "{compilations}".format(**found), "programs; should be 0"),
    ]


def _spread_ms(times: list[float]) -> float | None:
    """From the first quartile to the third; one time has none."""
    if len(times) < 2:
        return None
    first, _, third = statistics.quantiles(times, n=4)
    return round(1e3 * (third - first), 2)


def _rest() -> float:
    """Waits for background threads to run out of work; when they last worked, by perf_counter.

    No longer than PATIENCE_SECONDS.
    """
    start, cpu = time.perf_counter(), time.process_time()
    busy, end = start, start + PATIENCE_SECONDS
    while time.perf_counter() < min(busy + QUIET_SECONDS, end):
        time.sleep(POLL_SECONDS)
        before, cpu = cpu, time.process_time()
        if cpu - before > POLL_SECONDS / 10:
            busy = time.perf_counter()
    return busy
