"""A trace of a few steady steps, for TensorBoard's profiler and for Perfetto."""

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from histo_simclr.benchmarks.clock import Found
from histo_simclr.errors import InputError

STEPS = 5


def make_folder(folder: str | None) -> None:
    """Makes it and tries to write there, before anything is timed; nothing without one.

    Raises:
      InputError: the folder cannot be written.
    """
    if folder is None:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror})",
            where=f"--profile {folder}",
            way_out="give a folder that can be written",
        ) from error


def record(outputs: Iterator[Any], folder: str | None, *, steps: int = STEPS) -> Found:
    """Traces the next so many steps into a `folder` that is there; nothing without one.

    Raises:
      InputError: what was written does not open, or the disk is full.
    """
    if folder is None:
        return {}, []
    start = {path.name for path in _runs(folder)}
    try:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for number in range(steps):
                with jax.profiler.StepTraceAnnotation("step", step_num=number):
                    jax.block_until_ready(next(outputs))
        (run,) = [path for path in _runs(folder) if path.name not in start]
        perfetto, (xplane, *_) = run / "perfetto_trace.json.gz", run.glob("*.xplane.pb")
        with gzip.open(perfetto, "rt", encoding="utf-8") as file:
            events = len(json.load(file)["traceEvents"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"no trace that opens was written ({error})",
            where=f"--profile {folder}",
            way_out="give a folder on a disk with more space",
        ) from error
    found = {"perfetto": str(perfetto), "xplane": str(xplane), "events": events}
    return {"profile": found | {"steps": steps}}, [
        ("trace", f"{events:,} events", f"{steps} x what was timed, after it"),
        ("  to open", "Perfetto", f"https://ui.perfetto.dev, Open trace file: {perfetto}"),
        ("", "TensorBoard", f"pip install xprof, then: tensorboard --logdir {folder}"),
    ]


def _runs(folder: str) -> list[Path]:
    return list(Path(folder).glob("plugins/profile/*"))
