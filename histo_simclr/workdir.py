"""The folder of one run: one writer at a time, one configuration, a mark when finished."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histo_simclr.config import differing_keys
from histo_simclr.errors import InputError

CONFIG, LOCK, FINISHED = "config.json", "lock", "finished.json"
# What a run has to show: until there is some of it, the folder belongs to no configuration, so that
# a first start with a mistake in it does not stand in the way of the second.
YIELD = ("metrics.jsonl", "checkpoints/*", "results.json")


@contextlib.contextmanager
def claim(path: Path, identity: dict[str, Any], *, writer: bool = True) -> Iterator[Path]:
    """Holds `path` for this run: creates it, locks it, checks that it belongs to this run.

    The lock is the kernel's (flock), so a killed run leaves no stale lock behind.

    Args:
      path: the workdir; made when absent.
      identity: what decides the run's results; stored at the first claim, compared at later ones.
      writer: whether this process writes (process 0 of a job); others neither lock nor compare.

    Raises:
      InputError: not writable, held by another run, or made by another configuration.
    """
    if not writer:
        yield path
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(
            f"workdir cannot be written ({error.strerror})",
            where=path,
            way_out="give another with --workdir=DIR",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                "another run holds this workdir",
                where=path,
                way_out="wait for it to end, stop it, or give another with --workdir=DIR",
            ) from error
        _check_identity(path, identity)
        yield path
    finally:
        os.close(lock)


def write_json(path: Path, content: Any) -> None:
    """Writes plain values, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, content: str) -> None:
    """Writes whole or not at all: temporary name, flush to disk, rename."""
    partial = path.with_name(path.name + ".tmp")
    with partial.open("w", encoding="utf-8", newline="") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def finished(path: Path) -> dict[str, Any] | None:
    """What `finish` left, or None for a run that still has work to do."""
    file = path / FINISHED
    return _read_json(file) if file.is_file() else None


def finish(path: Path, summary: dict[str, Any]) -> None:
    """Marks the run as finished; the last thing that a run writes."""
    write_json(path / FINISHED, summary)


@contextlib.contextmanager
def naming_disk_trouble(path: Path) -> Iterator[None]:
    """Turns what the operating system refuses to write into one clear line."""
    try:
        yield
    except BrokenPipeError:  # says nothing of the folder: nobody reads what is printed
        raise
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})",
            where=error.filename or path,
            way_out="make room or give a writable --workdir=DIR, then run the same command again",
        ) from error


def _check_identity(path: Path, identity: dict[str, Any]) -> None:
    file = path / CONFIG
    if not file.is_file() or not any(any(path.glob(pattern)) for pattern in YIELD):
        write_json(file, identity)
        return
    stored = _read_json(file)
    if keys := differing_keys(stored, json.loads(json.dumps(identity))):
        shown = "; ".join(f"{key} was {old!r}, is {new!r}" for key, old, new in keys[:5])
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
        raise InputError(
            f"workdir belongs to another configuration: {shown}{more}",
            where=path,
            way_out="give another with --workdir=DIR, or remove this one",
        )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read ({error})",
            where=file,
            way_out="restore it, or give another folder with --workdir=DIR",
        ) from error
