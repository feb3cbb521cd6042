"""A result folder that appears whole or not at all."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.prepare import storage


def refuse_existing(target: Path, what: str) -> None:
    """InputError if the target is there: nothing is overwritten."""
    if target.exists():
        raise InputError(
            f"{what} exists", where=target, way_out="delete it first, or choose another place"
        )


@contextlib.contextmanager
def new_folder(target: Path, beside: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill, renamed to `target` when the block ends well.

    When it does not, the temporary folder and parents made for it are removed again.

    Args:
      target: the folder to make; its parents are made when missing.
      beside: the existing or new folder above target in which the temporary one lies.

    Raises:
      InputError: disk full, no permission, or another error of the file system.
    """
    made = _missing(target.parent)
    temporary = beside / f".{target.parent.name}.{target.name}.{os.getpid()}.incomplete"
    with _file_system_errors(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            temporary.rename(target)
        except BaseException:  # also Ctrl-C
            shutil.rmtree(temporary, ignore_errors=True)
            _remove_empty(made)
            raise


@contextlib.contextmanager
def resumable_folder(target: Path, beside: Path, parts: str | None) -> Iterator[tuple[Path, str]]:
    """As `new_folder`, with a folder of parts that outlive a failure: the same call finds them.

    Where any remain, stderr says so.

    Args:
      target, beside: as `new_folder`.
      parts: folder for the parts, perhaps of a store; None: one beside the target.

    Yields:
      (folder to fill, folder of parts); the latter is gone when the target is there.

    Raises:
      InputError: as `new_folder`; another process is at work on the same target.
    """
    work, kept = _places(target, beside, parts)
    made = _missing(beside)
    with _file_system_errors(target):
        work.mkdir(parents=True, exist_ok=True)
        with _locked(work / "lock", target):
            try:
                for old in work.glob(".*.incomplete"):  # of a process that was killed
                    shutil.rmtree(old)
                storage.make_folder(kept)
                with new_folder(target, beside=work) as folder:
                    yield folder, kept
            except BaseException:
                if any(not each.startswith(".") for each in storage.listing(kept)):
                    print(
                        f"what is done is kept in {kept}: the same command goes on from there; "
                        "delete it to start anew",
                        file=sys.stderr,
                    )
                else:
                    storage.remove(kept)
                    shutil.rmtree(work, ignore_errors=True)
                    _remove_empty(made)
                raise
            _tidy(work, kept)


def remove_leftovers(target: Path, beside: Path, parts: str | None) -> None:
    """Removes the parts of a finished result whose process was killed before it did so itself.

    Args: as of `resumable_folder`.
    """
    work, kept = _places(target, beside, parts)
    if target.exists() and work.exists():
        with _file_system_errors(target), _locked(work / "lock", target):
            _tidy(work, kept)


def _places(target: Path, beside: Path, parts: str | None) -> tuple[Path, str]:
    """Folder of what is unfinished, and that of the parts."""
    name = f"{target.parent.name}.{target.name}"
    work = beside.absolute() / f".{name}.unfinished"
    if not parts:
        return work, str(work / "parts")
    # Others may use the same folder for parts, and the same names in other folders of results.
    place = hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:8]
    return work, storage.join(parts, f"{name}.{place}")


def _tidy(work: Path, kept: str) -> None:
    try:
        storage.remove(kept)
        shutil.rmtree(work)
    except Exception as error:  # the result is there; each store has errors of its own
        print(f"could not remove {kept}, which is of no use any more: {error}", file=sys.stderr)


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there, the lowest first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # something else lies in it
            folder.rmdir()


@contextlib.contextmanager
def _file_system_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})",
            where=target,
            way_out="check free space and permissions, or choose another --out",
        ) from error


@contextlib.contextmanager
def _locked(path: Path, target: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another process is at work on it",
                where=target,
                way_out="wait until it has ended, or choose another --name or --out",
            ) from None
        except OSError:  # a file system without locks: nothing to ask
            pass
        yield
