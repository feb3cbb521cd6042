"""Record sets with masks for evaluation: opened, checked, read into memory."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import splits
from histo_simclr.input import order, reader

# At once, while reading; does not change the result.
_BATCH = 16


class Masked(NamedTuple):
    """One split of a record set with masks.

    Fields:
      images: (n, px, px, 3) uint8.
      masks: (n, px, px) uint8: class numbers, 255 where none.
      keys: (n,) strings.
      groups: patients or slides.
    """

    images: np.ndarray
    masks: np.ndarray
    keys: np.ndarray
    groups: splits.Groups


def open_splits(
    path: str | Path, train_split: str, test_split: str
) -> tuple[Masked, Masked, list[str]]:
    """Both splits of a record set with masks, and its classes' names.

    Raises:
      InputError: no masks, a patient or slide in both splits, or a class that no pixel of the
        training split has.
    """
    sets = [records.load_record_set(path, split) for split in (train_split, test_split)]
    names = sets[0].mask_class_names
    if names is None:
        raise InputError(
            "record set without masks",
            where=path,
            way_out="prepare it with --masks and --mask-classes, or choose one that has them",
        )
    groups = [splits.groups_of(each.columns) for each in sets]
    splits.check_disjoint(*groups, where=path)
    train, test = (
        Masked(*_read(each.rows), each.columns["key"].astype(str), group)
        for each, group in zip(sets, groups, strict=True)
    )
    absent = [name for number, name in enumerate(names) if not (train.masks == number).any()]
    if absent:
        raise InputError(
            f"no pixel of the training split is of class {absent[0]!r}",
            where=path,
            way_out="add images that show it, or leave it out of --mask-classes",
        )
    return train, test, names


def _read(rows: records.Rows) -> tuple[np.ndarray, np.ndarray]:
    sequence, _ = order.sequential(len(rows), min(_BATCH, len(rows)))
    batches = reader.read_masked(rows, sequence.__getitem__, start=0, stop=len(sequence))
    images, masks = (np.concatenate(each)[: len(rows)] for each in zip(*batches, strict=True))
    return images, masks
