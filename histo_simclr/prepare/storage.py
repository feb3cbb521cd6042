"""Files on this machine or in a store such as gs:// and s3:// (by fsspec), whole or not there.

A path is remote when it holds `://`. Stores need a package of their own, as gcsfs for gs://.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from histo_simclr.errors import InputError

# What belongs to a slide besides the file that names it: a folder of its stem, or its neighbors.
_WITH_FOLDER = (".mrxs",)
_WITH_NEIGHBORS = (".vms", ".vmu", ".dcm")


def is_remote(path: str | Path) -> bool:
    """Whether a path is one of a store."""
    return "://" in str(path)


def join(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}"


def store(path: str) -> tuple[Any, str]:
    """The file system (fsspec) of a path, and the path in it.

    Raises:
      InputError: no such kind of store, or its package is missing.
    """
    import fsspec

    if not is_remote(path):
        return fsspec.filesystem("file"), path
    try:
        return fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"cannot be opened ({error})",
            where=path,
            way_out="install the package it names, as gcsfs for gs:// and s3fs for s3://",
        ) from error


def absolute(path: str) -> str:
    """The path as it is from every folder."""
    return path if is_remote(path) else os.path.abspath(path)


def name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def exists(path: str) -> bool:
    """Whether there is such a file."""
    if not is_remote(path):
        return os.path.exists(path)
    files, inside = store(path)
    return files.exists(inside)


def state(path: str) -> str:
    """What changes when a slide or another file does: sizes and times of all that belongs to it.

    Empty when there is no such file.
    """
    files, inside = store(path)
    try:
        return " ".join(_state(files, each) for each in sorted(_belonging(files, inside)))
    except OSError:
        return ""


def _state(files: Any, path: str) -> str:
    if files.protocol != ("file", "local"):
        return str(files.ukey(path))
    found = os.stat(path)
    return f"{found.st_size}:{found.st_mtime_ns}"


def local_path(text: str) -> Path:
    """A path on this machine, for flags that take no other; InputError for one of a store."""
    if is_remote(text):
        raise InputError(
            "is in a store", where=text, way_out="give a path on this machine, or copy it there"
        )
    return Path(text)


def names(folder: str) -> list[str]:
    """Paths below a remote folder, relative to it, in the order in which folders are walked.

    Raises:
      InputError: no such folder, or it cannot be listed.
    """
    files, inside = store(folder)
    inside = inside.rstrip("/")
    try:
        found = [str(path)[len(inside) :].lstrip("/") for path in files.find(inside)]
    except Exception as error:  # each store has errors of its own
        raise InputError(
            f"cannot be listed ({error})", where=folder, way_out="check its name and permissions"
        ) from error
    shown = [name for name in found if not any(part[:1] == "." for part in name.split("/"))]
    return sorted(shown, key=lambda name: name.split("/"))


def listing(folder: str) -> set[str]:
    """Names of what is in a folder, as it is now; empty when there is no such folder."""
    files, inside = store(folder)
    files.invalidate_cache(inside)
    try:
        return {name(each) for each in files.ls(inside, detail=False)}
    except FileNotFoundError:  # a store has no empty folders
        return set()


def open_file(path: str) -> IO[bytes]:
    """A file, opened for reading."""
    if not is_remote(path):
        return open(path, "rb")
    files, inside = store(path)
    return files.open(inside, "rb")


@contextlib.contextmanager
def new_file(path: str) -> Iterator[IO[bytes]]:
    """A file to write; it is there when the block has ended well, and not at all otherwise."""
    if is_remote(path):
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            files, inside = store(path)
            # A store shows an object once it was written whole.
            with files.open(inside, "wb") as remote:
                shutil.copyfileobj(file, remote)
        return
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power failure could leave the name without the bytes
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def make_folder(folder: str) -> None:
    """Makes a folder unless it is there."""
    files, inside = store(folder)
    files.makedirs(inside, exist_ok=True)


def remove(folder: str) -> None:
    """Removes a folder with all that is in it, if it is there."""
    files, inside = store(folder)
    with contextlib.suppress(FileNotFoundError):
        files.rm(inside, recursive=True)


@contextlib.contextmanager
def on_disk(path: str) -> Iterator[str]:
    """The path of a slide that is on this machine for as long as the block runs.

    A remote slide is copied into a temporary folder (TMPDIR), with the files that belong to it.

    Raises:
      FileNotFoundError: the store has no such slide.
      InputError: it cannot be copied.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="histo_simclr.") as folder:
        files, inside = store(path)
        try:
            for name in _belonging(files, inside):
                here = os.path.join(folder, os.path.relpath(name, os.path.dirname(inside)))
                os.makedirs(os.path.dirname(here), exist_ok=True)
                files.get_file(name, here)
        except FileNotFoundError:
            raise
        except Exception as error:  # each store has errors of its own
            raise InputError(
                f"cannot be copied to this machine ({error})",
                where=path,
                way_out="check network, permissions and the space in TMPDIR",
            ) from error
        yield os.path.join(folder, os.path.basename(inside))


def _belonging(files: Any, slide: str) -> list[str]:
    stem, extension = os.path.splitext(slide)
    if extension.lower() in _WITH_FOLDER:
        return [slide, *files.find(stem)]
    if extension.lower() in _WITH_NEIGHBORS:
        return list(files.find(os.path.dirname(slide), maxdepth=1))
    return [slide]
