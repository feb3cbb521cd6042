"""Folds of whole groups for cross-validation: no group is both fitted and validated."""

import numpy as np

from histo_simclr.errors import InputError


def grouped_folds(labels: np.ndarray, groups: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """Folds for a classification, each class spread over them as evenly as its groups allow.

    Groups are dealt out, the most uneven first, to the fold that holds least of their classes. A
    class never lies in one fold alone, so every class is also outside each held part.

    Args:
      labels: (n,) integers >= 0.
      groups: (n,) names; all different: examples are dealt out.
      folds: wanted number, 2 or more; as many as there are groups when these are fewer.
      seed: of the order of groups that are equally uneven.

    Returns:
      (n,) integers from 0 on: the fold that holds each example; no fold is empty.

    Raises:
      InputError: fewer than two folds or groups, another length, or a class in too few groups.
    """
    group, folds = _numbered(groups, count=len(labels), folds=folds)
    classes = np.unique(labels)
    counts = np.zeros((group.max() + 1, len(classes)), np.int64)
    np.add.at(counts, (group, np.searchsorted(classes, labels)), 1)
    spread = np.count_nonzero(counts, axis=0)
    if spread.min() < 2:
        raise _class_in_one(classes[spread.argmin()], "all its examples are of one group")
    total = counts.sum(0)
    shares = counts / total
    # The seed breaks ties: the sort is stable.
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-shares[order].std(1), kind="stable")]
    inside = np.zeros((folds, len(classes)), np.int64)
    dealt = np.empty(len(counts), np.int64)
    for index in order:
        used_up = np.any((counts[index] > 0) & (inside + counts[index] >= total), axis=1)
        crowd, sizes = (inside / total) @ shares[index], inside.sum(1)
        candidates = np.flatnonzero(~used_up)
        if not len(candidates):
            worst = classes[np.argmax(shares[index])]
            raise _class_in_one(worst, f"whole groups do not spread it over {folds} folds")
        dealt[index] = min(candidates, key=lambda fold: (crowd[fold], sizes[fold]))
        inside[dealt[index]] += counts[index]
    return dealt[group]


def target_folds(targets: np.ndarray, groups: np.ndarray, *, folds: int, seed: int) -> np.ndarray:
    """Folds for a regression: each gets groups of low, middle and high targets.

    Args:
      targets: (n,) numbers.
      groups, folds: see `grouped_folds`.
      seed: deals out groups of neighboring mean targets.

    Returns:
      (n,) integers from 0 on; no fold is empty.

    Raises:
      InputError: fewer than two folds or groups, or another length.
    """
    group, folds = _numbered(groups, count=len(targets), folds=folds)
    rng = np.random.default_rng(seed)
    order = np.argsort(np.bincount(group, targets) / np.bincount(group), kind="stable")
    dealt = np.empty(len(order), np.int64)
    for start in range(0, len(order), folds):
        members = order[start : start + folds]
        dealt[members] = rng.permutation(folds)[: len(members)]
    return dealt[group]


def _numbered(groups: np.ndarray, *, count: int, folds: int) -> tuple[np.ndarray, int]:
    """Group numbers (n,), and the number of folds that so many groups allow."""
    if folds < 2:
        raise InputError(f"cannot be {folds}", where="folds", way_out="give 2 or more")
    if len(groups) != count:
        raise InputError(
            f"{len(groups)} groups for {count} examples",
            where="groups",
            way_out="give one group an example",
        )
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise InputError(
            f"only one group ({names[0]}) to fit and to validate on",
            where="groups",
            way_out="add patients or slides, or validate by patch (each its own group)",
        )
    return group, min(folds, len(names))


def _class_in_one(label: int, why: str) -> InputError:
    return InputError(
        f"class {label} cannot be both fitted and validated: {why}",
        where="groups",
        way_out="add groups with this class, leave it out, or validate by patch (each its own "
        "group)",
    )
