"""How many patches each cohort gives to a mix, and which: arrays in, arrays out."""

import zlib

import numpy as np


def quotas(available: np.ndarray, size: int, exponent: float, cap: int | None = None) -> np.ndarray:
    """Rows to draw from each cohort: shares proportional to available ** exponent.

    A cohort that has, or may give, less than its share gives all it may, and the others divide the
    rest by the same rule; so a cap that binds no cohort changes nothing. Whole numbers by largest
    remainder; of equal remainders the first cohort's goes first.

    Args:
      available: (C,) int, rows that each cohort has.
      size: rows wanted in all, at most what the cohorts may give.
      exponent: 0: even, 1: proportional, between: tempered.
      cap: rows that each may give; None: all that it has.

    Returns:
      (C,) int64, of sum `size`.

    Raises:
      ValueError: size exceeds what they may give.
    """
    available = np.asarray(available, np.int64)
    limit = available if cap is None else np.minimum(available, cap)
    if size > limit.sum():
        raise ValueError(f"{size} rows wanted of {limit.sum()}")
    weights = np.where(available > 0, available.astype(np.float64) ** exponent, 0.0)
    share, is_open, rest = np.zeros(len(available)), available > 0, float(size)
    while is_open.any():
        share[is_open] = rest * weights[is_open] / weights[is_open].sum()
        is_full = is_open & (share >= limit)
        if not is_full.any():
            break
        share[is_full] = limit[is_full]
        rest -= limit[is_full].sum()
        is_open &= ~is_full
    # Rounded, so that shares equal by arithmetic are equal in floating point too.
    share = np.round(share, 6)
    quota = np.floor(share).astype(np.int64)
    largest = np.argsort(quota - share, kind="stable")
    quota[largest[: size - quota.sum()]] += 1
    return quota


def choose(available: int, count: int, *, seed: int, cohort: str) -> np.ndarray:
    """Which of a cohort's rows: (count,) int64, ascending, without replacement.

    Depends on the cohort's name, so that adding a cohort does not redraw the others.
    """
    generator = np.random.default_rng([seed, zlib.crc32(cohort.encode())])
    return np.sort(generator.choice(available, count, replace=False, shuffle=False))


def within_cap(group: np.ndarray, cap: int, *, seed: int, cohort: str) -> np.ndarray:
    """(n,) bool: at most `cap` rows of each group, chosen at random; all of group -1, the unknown.

    As with `choose`, the choice depends on the cohort's name and not on other cohorts.

    Args:
      group: (n,) int, e.g. the number of the slide.
      cap: 1 or more.
    """
    # The third number keeps this stream apart from that of `choose`.
    generator = np.random.default_rng([seed, zlib.crc32(cohort.encode()), 1])
    shuffled = generator.permutation(len(group))
    order = shuffled[np.argsort(group[shuffled], kind="stable")]
    is_start = np.diff(group[order], prepend=-2) != 0
    start = np.maximum.accumulate(np.where(is_start, np.arange(len(group)), 0))
    is_within = np.empty(len(group), bool)
    is_within[order] = np.arange(len(group)) - start < cap
    return is_within | (group < 0)


def first_of_each(hashes: np.ndarray) -> np.ndarray:
    """(n,) bool: True where a value stands for the first time."""
    is_first = np.zeros(len(hashes), bool)
    is_first[np.unique(hashes, return_index=True)[1]] = True
    return is_first
