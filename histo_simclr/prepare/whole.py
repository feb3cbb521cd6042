"""A result folder that appears whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from histo_simclr.errors import InputError


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
    made = [each for each in (target.parent, *target.parent.parents) if not each.exists()]
    temporary = beside / f".{target.parent.name}.{target.name}.{os.getpid()}.incomplete"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        temporary.rename(target)
    except BaseException as error:  # also Ctrl-C
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # something else lies in it
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(
                f"cannot be written ({error.strerror or error})",
                where=target,
                way_out="check free space and permissions, or choose another --out",
            ) from error
        raise
