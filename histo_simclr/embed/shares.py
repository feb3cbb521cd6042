"""Which slides this process takes of a list that several share, without talking to each other."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.prepare.item import Item

_NAMES = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
_NAMES += ("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX")


class Share(NamedTuple):
    """Share `number`, from 1 on, of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


ALL = Share(1, 1)


def parse(text: str) -> Share:
    """`3/8` → the third share of eight; InputError for what is none."""
    found = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(
            repr(text), where="--share", way_out="give I/N with I from 1 to N, as in 3/8"
        )
    return Share(int(found[1]), int(found[2]))


def from_environment(environment: Mapping[str, str]) -> Share:
    """The share of a task of a Slurm array; all slides outside one.

    Raises:
      InputError: an array with gaps, as when a few tasks are started again: whose share each has
        cannot be told from it.
    """
    if _NAMES[0] not in environment:
        return ALL
    number, count, first, last = (int(environment.get(name, "1")) for name in _NAMES)
    if last - first + 1 != count:
        raise InputError(
            f"tasks {first} to {last} are {count} tasks",
            where="SLURM_ARRAY_TASK_COUNT",
            way_out="give --share I/N with the N of the first run",
        )
    return Share(number - first + 1, count)


def of(items: Sequence[Item], share: Share) -> list[Item]:
    """The items of a share, in their order; the same on every machine that lists the same files.

    The files of one folder of DICOM files stay together, since they may be of one slide.
    """
    units: dict[str, list[Item]] = {}
    for item in items:
        folder, _ = os.path.split(item.name)
        is_dicom = item.name.lower().endswith(".dcm")
        units.setdefault(f"{folder}/*.dcm" if is_dicom else item.name, []).append(item)
    mine = list(units.values())[share.number - 1 :: share.count]
    return [item for unit in mine for item in unit]
