"""What asynchronous checkpoints cost the steps beside them: `bench end-to-end --save-every N`."""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from histo_simclr import checkpoint, fingerprint, provenance, state, telemetry
from histo_simclr.benchmarks.clock import Found
from histo_simclr.benchmarks.programs import Training
from histo_simclr.errors import InputError

ROUNDS = 3


def check(args: argparse.Namespace) -> None:
    """Tries, before anything is timed, whether `overhead` can write.

    Raises:
      InputError: a folder that cannot be written.
    """
    if args.save_every is not None:
        with _folder(args.save_in):
            pass


def overhead(
    training: Training, outputs: Iterator[Any], config: Any, args: argparse.Namespace, spare: int
) -> Found:
    """Times rounds of N = `args.save_every` steps with a save at their start and without, in turn.

    Blocked is the time from the end of a step to the return of `save`, while the device has nothing
    to do. The cost of a save is what its round takes longer: blocked time, and slower steps beside
    the writing. It does not depend on N as long as a round lasts longer than the writing.

    Args:
      training: whose state is saved.
      outputs: of its steps.
      config: of a run; the cost is scaled to its run.checkpoint_every.
      args: of the command; without `save_every` nothing is done.
      spare: steps that use up what was read ahead while nothing was asked for.

    Raises:
      InputError: a folder that cannot be written.
    """
    if args.save_every is None:
        return {}, []
    said, rounds = provenance.of_run(config, mpp=(), mix={}), []
    with _folder(args.save_in) as folder:
        saved = checkpoint.Checkpoints(folder, keep=config.run.keep, keep_every=0)
        with contextlib.closing(saved):
            for _ in range(ROUNDS + 1):
                for _ in range(spare):
                    next(outputs)
                plain, _ = _round(training, outputs, args.save_every, lambda: None)
                start = time.perf_counter()
                beside, blocked = _round(
                    training, outputs, args.save_every, lambda: _save(saved, training, said)
                )
                saved.wait()
                rounds.append((plain, beside, blocked, time.perf_counter() - start))
    # The first round makes the folder and compiles the fingerprint.
    columns = [1e3 * np.array(each) for each in zip(*rounds[1:], strict=True)]
    return _found(config, args.save_every, *columns)


def _round(
    training: Training, outputs: Iterator[Any], steps: int, first: Callable[[], None]
) -> tuple[float, float]:
    """Seconds of `first` and so many steps, all of them finished; and of `first` alone."""
    jax.block_until_ready(training.arrays)
    start = time.perf_counter()
    first()
    blocked = time.perf_counter() - start
    for _ in range(steps):
        next(outputs)
    jax.block_until_ready(training.arrays)
    return time.perf_counter() - start, blocked


def _found(
    config: Any,
    steps: int,
    plain: np.ndarray,
    beside: np.ndarray,
    blocked: np.ndarray,
    whole: np.ndarray,
) -> Found:
    """All in ms, a value a round: without a save; with one, blocked in it, until it is written."""
    cost, step = float(np.median(beside - plain)), float(np.median(plain)) / steps
    every = config.run.checkpoint_every
    found = {
        "save_every": steps,
        "save_blocked_ms": round(float(np.median(blocked)), 2),
        "save_cost_ms": round(cost, 2),
        "save_share": round(cost / (steps * step), 5),
        "save_slowdown": round(float(np.median((beside - blocked) / plain)), 4),
        "save_round_ms": round(float(np.median(beside)), 2),
        "save_written_ms": round(float(np.median(whole)), 2),
        "checkpoint_every": every,
        "save_share_of_run": round(cost / (every * step), 7),
    }
    lasts = "within" if found["save_written_ms"] < 1.01 * found["save_round_ms"] else "NOT within"
    texts = [
        ("a checkpoint costs", "{save_cost_ms:,.1f} ms", "{save_share:.1%} of {save_every} steps"),
        ("  blocked in saving", "{save_blocked_ms:,.1f} ms", "the device idles"),
        ("  steps beside it", "x {save_slowdown:.3f}", f"written {lasts} its {steps} steps"),
        (
            "  scaled to a run",
            "{save_share_of_run:.3%}",
            "of the steps' time at run.checkpoint_every = {checkpoint_every:,}",
        ),
    ]
    return found, [tuple(each.format(**found) for each in row) for row in texts]


def _save(saved: checkpoint.Checkpoints, training: Training, said: provenance.Provenance) -> None:
    """As the loop of a run does it."""
    telemetry.check_finite(state.parts(training.arrays), training.done, saved.latest())
    features = fingerprint.of_training(training.arrays[0]["encoder"], said)
    saved.save(training.done, training.arrays, said, features=features)


@contextlib.contextmanager
def _folder(parent: str | None) -> Iterator[Path]:
    """A folder for checkpoints that goes afterwards."""
    try:
        folder = tempfile.TemporaryDirectory(dir=parent, prefix="bench-")
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror})",
            where=f"--save-in {parent}",
            way_out="give a folder on the disk that runs write to",
        ) from error
    with folder as name:
        yield Path(name)
