"""What a source will give, found by walking it once without pixels; refuses what cannot be right.

Also the check of labels and groups over splits, of the plan and again of what was written.
"""

import array
import hashlib
import re
from collections import Counter
from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.prepare import beside
from histo_simclr.prepare.item import Walk


class Plan(NamedTuple):
    """What a source will give.

    Fields:
      images: how many, without masks and annotations.
      splits: sorted.
      class_names: sorted, or None when nothing is labelled.
      masks: how many images name one.
      has_targets: whether each image has a number to predict.
    """

    images: int
    splits: list[str]
    class_names: list[str] | None
    masks: int = 0
    has_targets: bool = False


def plan(walk: Walk, where: str) -> Plan:
    """Walks the source once.

    Raises:
      InputError: no image; a name twice; labels or targets on some images only; a split's name
        that TFDS cannot take; a patient or slide in two splits; a class that train lacks.
    """
    labels: Counter[tuple[str, str]] = Counter()
    split_of: dict[tuple[str, str], str] = {}
    hashes, masks, targets = array.array("Q"), 0, 0
    set_aside, example = 0, ""
    for item in walk():
        if item.reason == beside.REASON:
            set_aside, example = set_aside + 1, example or item.name
            continue
        # Eight bytes a name, so that ten million names need no more than 80 MB.
        hashes.append(_hash(item.name))
        masks += bool(item.mask)
        if item.reason:
            continue
        labels[item.split, item.label] += 1
        targets += item.target is not None
        for kind, group in (("patient", item.patient), ("slide", item.slide)):
            if group and split_of.setdefault((kind, group), item.split) != item.split:
                raise InputError(
                    f"{kind} {group!r} is in the splits {split_of[kind, group]} and {item.split}",
                    where=where,
                    way_out="put all images of a patient and of a slide into one split",
                )
    if not hashes:
        beside_alone = f", but {set_aside} files, each {beside.REASON}: {example} …"
        files = "give a folder with jpg, png, tif or bmp files; for whole slides add --slides"
        raise InputError(
            f"no images{beside_alone if set_aside else ''}",
            where=where,
            way_out=beside.WAY_OUT if set_aside else files,
        )
    beside.warn(example, set_aside)
    _refuse_twice(hashes, walk, where)
    check_labels(labels, where)
    _refuse_some("target", labels.total() - targets, labels.total(), where)
    splits = sorted({split for split, _ in labels})
    for split in splits:
        if not re.fullmatch(r"[a-zA-Z]\w*", split):
            raise InputError(
                f"split {split!r}", where=where, way_out="use letters, digits and _ only"
            )
    names = sorted({label for _, label in labels if label})
    return Plan(len(hashes), splits, names or None, masks, targets > 0)


def check_labels(labels: Counter[tuple[str, str]], where: str) -> None:
    """Checks counts by (split, label).

    Raises:
      InputError: labels on some images only, or a class that is in another split but not in
        train, which no probe could learn.
    """
    bare = sum(count for (_, label), count in labels.items() if not label)
    _refuse_some("label", bare, labels.total(), where)
    trained = {label for split, label in labels if split == "train"}
    for split, label in sorted(labels):
        if trained and label not in trained:
            raise InputError(
                f"class {label!r} is in split {split} but not in train",
                where=where,
                way_out="add it to train or leave it out",
            )


def _refuse_some(what: str, without: int, total: int, where: str) -> None:
    if 0 < without < total:
        raise InputError(
            f"{without} of {total} images have no {what}",
            where=where,
            way_out="give all of them one, leave them out, or prepare them as a set of their own",
        )


def _refuse_twice(hashes: array.array, walk: Walk, where: str) -> None:
    values, counts = np.unique(np.frombuffer(hashes, np.uint64), return_counts=True)
    twice = set(values[counts > 1].tolist())
    if twice:
        name = next(item.name for item in walk() if _hash(item.name) in twice)
        raise InputError(
            f"{len(twice)} images are listed twice, e.g. {name}",
            where=where,
            way_out="list each once",
        )


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
