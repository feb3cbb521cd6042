"""What is done of a long job: one file a task, by which a job that was killed goes on.

A part is named by all that decides its content, so that what other settings, another version of
the slide or of a package gave is never taken for it.
"""

import functools
import hashlib
import importlib.metadata
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from histo_simclr.prepare import storage

_PACKAGES = ("pillow", "numpy", "scipy", "openslide-python", "openslide-bin", "tifffile")
_PACKAGES += ("imagecodecs", "wsidicom", "pydicom", "shapely")
_PACKAGE = Path(__file__).parents[1]
_CODE = ("image_hash.py", "prepare/*.py", "slides/*.py")


class Task(Protocol):
    """One unit of work that a worker process can take."""

    def identity(self) -> tuple[Any, ...]:
        """All that decides the outcome, without the places of files."""


# Writes the outcome into the file by pickle, first of all that it writes, and yields now and then
# to say that it is alive.
Work = Callable[[Any, IO[bytes]], Iterator[None]]


class Job(NamedTuple):
    """A task, what does it, and the path of its part."""

    work: Work
    task: Task
    path: str


def job(work: Work, task: Task, folder: str) -> Job:
    """The job of a task whose part lies in `folder` (a path, perhaps of a store)."""
    digest = hashlib.sha256()
    _update(digest, (_versions(), task.identity()))
    name = f"{work.__module__.rpartition('.')[2]}.{work.__name__}-{digest.hexdigest()[:32]}"
    return Job(work, task, storage.join(folder, name))


def do(job: Job) -> Iterator[bool]:
    """Does a job unless its part is there; what `isolated` runs in worker processes."""
    if not storage.exists(job.path):
        with storage.new_file(job.path) as file:
            for _ in job.work(job.task, file):
                yield True
    yield True


def outcome(file: IO[bytes]) -> Any:
    """The outcome at the head of an opened part; a work may have more behind it."""
    return pickle.load(file)


@functools.cache
def _versions() -> tuple[str, ...]:
    """Of the packages that read slides, and of our own code: its content."""
    code = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(_PACKAGE.glob(pattern)):
            code.update(path.read_bytes())
    found = [code.hexdigest()]
    for package in _PACKAGES:
        try:
            found.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            found.append("")
    return tuple(found)


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, tuple):
        digest.update(b"(")
        for each in value:
            _update(digest, each)
            digest.update(b",")
        digest.update(b")")
    else:
        digest.update(repr(value).encode())
