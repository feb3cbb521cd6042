"""What a training split is cut down to when labels are few: nested, stratified, group by group.

One order of the examples of each class serves all sizes: a smaller subset is a part of every larger
one. Groups are in one random order for all classes, and each is used up before the next begins, as
someone labels patient by patient; only the last group of a class may be cut. The one exception:
each class begins with one example of each of its first two groups, so that any subset of two or
more examples a class can be fitted and validated on different groups.
"""

from collections.abc import Sequence

import numpy as np

from histo_simclr.errors import InputError

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


def by_fraction(
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    fractions: Sequence[float] = FRACTIONS,
    least: int = 1,
    seed: int,
) -> dict[float, np.ndarray]:
    """Subsets that hold a fraction of the examples of each class.

    Args:
      labels: (n,) integers >= 0.
      groups: (n,) names.
      fractions: in (0, 1]; 1 is the whole split.
      least: examples that each class must keep.
      seed: of the order of groups and examples.

    Returns:
      fraction → (n,) booleans.

    Raises:
      InputError: a fraction outside (0, 1], or one that leaves a class fewer than `least`.
    """
    rank, sizes = _rank(labels, groups, seed), np.bincount(labels)
    subsets = {}
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise InputError(
                f"cannot be {fraction}", where="fractions", way_out="give shares above 0, at most 1"
            )
        wanted = np.floor(fraction * sizes + 0.5).astype(int)
        short = np.flatnonzero((sizes > 0) & (wanted < least))
        if len(short):
            worst = short[np.argmin(sizes[short])]
            needed = int(np.ceil((least - 0.5) / sizes[worst] * 1000)) / 10
            raise InputError(
                f"{fraction:g} of the {sizes[worst]} examples of class {worst} is "
                f"{wanted[worst]}, fewer than {least}",
                where="fractions",
                way_out=f"take {needed:g} % or more, or a number of examples a class",
            )
        subsets[fraction] = rank < wanted[labels]
    return subsets


def by_shots(
    labels: np.ndarray, groups: np.ndarray, *, shots: Sequence[int], seed: int
) -> dict[int, np.ndarray]:
    """Subsets that hold the same number of examples of each class (k-shot).

    Args:
      labels, groups, seed: see `by_fraction`.
      shots: numbers of examples, 1 or more.

    Returns:
      number → (n,) booleans.

    Raises:
      InputError: a number below 1 or above the examples of a class.
    """
    rank, sizes = _rank(labels, groups, seed), np.bincount(labels)
    rarest = int(np.argmin(np.where(sizes > 0, sizes, sizes.max() + 1)))
    for number in shots:
        if not 1 <= number <= sizes[rarest]:
            raise InputError(
                f"cannot be {number}: class {rarest} has {sizes[rarest]} training examples",
                where="shots",
                way_out=f"give 1 to {sizes[rarest]}",
            )
    return {number: rank < number for number in shots}


def _rank(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """(n,) places of the examples in the order of their own class."""
    rng = np.random.default_rng(seed)
    names, group = np.unique(groups, return_inverse=True)
    turn = rng.permutation(len(names))[group]
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        members = members[np.argsort(turn[members], kind="stable")]
        second = np.flatnonzero(turn[members] != turn[members[0]])[:1]
        first = np.concatenate([[0], second]).astype(int)
        members = np.concatenate([members[first], np.delete(members, first)])
        rank[members] = np.arange(len(members))
    return rank
