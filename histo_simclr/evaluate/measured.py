"""Record sets with a number to predict, for evaluation: opened and checked. Reads no pixels."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import splits


class Measured(NamedTuple):
    """A record set with targets, checked; of each pair the first is train, the second test.

    Fields:
      path: version folder.
      record_sets: both splits.
      targets: (n,) and (m,) float64, finite.
      groups: patients or slides.
    """

    path: Path
    record_sets: tuple[records.RecordSet, records.RecordSet]
    targets: tuple[np.ndarray, np.ndarray]
    groups: tuple[splits.Groups, splits.Groups]


def open_targets(
    path: str | Path,
    train_split: str,
    test_split: str,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Measured:
    """Opens both splits of a record set with targets and refuses what would make results untrue.

    Args:
      path: record set.
      train_split, test_split: names of its splits.
      bounds: lowest and highest that a target can be.

    Raises:
      InputError: no targets, a target that is no number or out of bounds, all the same in a split,
        or a patient or slide in both splits.
    """
    train, test = (records.load_record_set(path, split) for split in (train_split, test_split))
    if not train.has_targets:
        raise InputError(
            "record set without targets",
            where=path,
            way_out="prepare it with --labels, a CSV with the column target, or choose another",
        )
    groups = splits.groups_of(train.columns), splits.groups_of(test.columns)
    splits.check_disjoint(*groups, where=path)
    for split, part in ((train_split, train), (test_split, test)):
        _check(part, bounds, f"{path}, split {split}")
    targets = tuple(part.columns[records.TARGET_FIELD].astype(float) for part in (train, test))
    return Measured(train.path, (train, test), targets, groups)


def _check(part: records.RecordSet, bounds: tuple[float, float], where: str) -> None:
    values = part.columns[records.TARGET_FIELD].astype(float)
    low, high = bounds
    outside = np.flatnonzero(~(np.isfinite(values) & (values >= low) & (values <= high)))
    if len(outside):
        key = part.columns["key"][outside[0]]
        raise InputError(
            f"{len(outside)} targets are not numbers from {low:g} to {high:g}, e.g. "
            f"{values[outside[0]]:g} of {key}",
            where=where,
            way_out="mend the CSV and prepare the set again, or set the task's bounds",
        )
    if np.ptp(values) == 0:
        raise InputError(
            f"all {len(values)} targets are {values[0]:g}: nothing to predict",
            where=where,
            way_out="add patches with other targets",
        )
