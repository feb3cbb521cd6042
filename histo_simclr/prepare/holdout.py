"""A share of a source's patients, slides or images held out as its test split.

For sets that come without a split. What is held out depends on the names, the labels and the share
alone, so that the same command gives the same split anywhere.
"""

from collections.abc import Iterator

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import splits
from histo_simclr.prepare.item import Item, Walk

TRAIN, TEST = "train", "test"
# Of the order in which groups are considered; a constant, as a split is no setting to be tuned.
_SEED = 0


def with_holdout(walk: Walk, share: float, where: str) -> Walk:
    """The walk's items, those of the held-out groups in split `test`.

    What belongs together goes together: the patient, where none is known the slide, else the image.
    Of each class as near to the share as that allows; train keeps at least one image of each.

    Args:
      walk: of items that are all in split `train`; it is walked once here.
      share: of the images, in (0, 1).
      where: the source, for errors.

    Raises:
      InputError: share out of range, items of another split, or no group that can be spared.
    """
    if not 0 < share < 1:
        raise InputError(f"{share:g}", where="--holdout", way_out="give a share, such as 0.2")
    labels, groups = _labels_and_groups(walk, where)
    count = len(np.unique(groups))
    if count < 2:
        raise InputError(
            f"{count} patient, slide or image to hold a share out of",
            where=where,
            way_out="leave --holdout out, or say in a pattern or CSV what belongs together",
        )
    held, is_whole = splits.grouped_holdout(labels, groups, fraction=share, seed=_SEED)
    if not (is_whole and held.any()):
        raise InputError(
            f"none of {count} patients, slides or images can be held out: a class would be used up",
            where=where,
            way_out="leave --holdout out, and name the test images in a CSV's column split",
        )
    chosen = set(groups[held].tolist())

    def walk_split() -> Iterator[Item]:
        for item in walk():
            yield item._replace(split=TEST) if _group(item) in chosen else item

    return walk_split


def _labels_and_groups(walk: Walk, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) numbers of the labels and (n,) names of the groups, in an order of their own."""
    pairs = []
    for item in walk():
        if item.reason:
            continue
        if item.split != TRAIN:
            raise InputError(
                f"--holdout would split anew what is in split {item.split} ({item.name})",
                where=where,
                way_out="leave --holdout out, or say nothing of splits",
            )
        pairs.append((_group(item), item.label))
    # Sorted: the choice must not depend on the order of a CSV.
    pairs.sort()
    names = sorted({label for _, label in pairs})
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[label] for _, label in pairs], np.int64)
    return labels, np.array([group for group, _ in pairs])


def _group(item: Item) -> str:
    kinds = (("patient", item.patient), ("slide", item.slide), ("image", item.name))
    return next(f"{kind}:{name}" for kind, name in kinds if name)
