"""Encoders over several tasks: Holm's correction, ranks, and how far apart ranks must be.

After Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Ranking(NamedTuple):
    """E encoders ranked on each of N tasks.

    Fields:
      ranks: (E,), mean rank; 1 is best, equal scores share their ranks.
      statistic, p: Friedman's test that all are alike, corrected for ties; NaN of fewer than three
        encoders or when all are equal everywhere. Its p is of the chi-squared approximation,
        rough below about 10 tasks.
      critical_difference: Nemenyi's: mean ranks this far apart differ.
      alike: the largest sets of encoders, by number and best first, whose ranks are not that far
        apart: the bars of a critical-difference plot. Sets of one are left out.
      tasks: N, those that have a score of every encoder.
    """

    ranks: np.ndarray
    statistic: float
    p: float
    critical_difference: float
    alike: list[tuple[int, ...]]
    tasks: int


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusts p values for all of them being tested (Holm 1979), in their order.

    Args:
      p_values: (m,); NaN are no tests: they stay, and do not count.
    """
    values = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def rank(scores: np.ndarray, *, is_larger_better: bool, level: float) -> Ranking:
    """Ranks encoders on each task and says which mean ranks differ.

    Args:
      scores: (N, E), N tasks of E >= 2 encoders; tasks with NaN are left out.
      is_larger_better: False for errors such as L1.
      level: of significance of the critical difference, e.g. 0.05.

    Raises:
      ValueError: no task has all scores, or one encoder only.
    """
    # Half a second to import, wanted once in a suite.
    import scipy.stats

    scores = scores[~np.isnan(scores).any(1)]
    tasks, encoders = scores.shape
    if not tasks or encoders < 2:
        raise ValueError(f"nothing to rank: {tasks} whole tasks of {encoders} encoders")
    each = scipy.stats.rankdata(-scores if is_larger_better else scores, axis=1)
    ranks = each.mean(0)
    statistic, p = float("nan"), float("nan")
    if encoders > 2 and (each != each[0, 0]).any():
        statistic, p = map(float, scipy.stats.friedmanchisquare(*scores.T))
    studentized = scipy.stats.studentized_range.ppf(1 - level, encoders, np.inf)
    difference = float(studentized / np.sqrt(2) * np.sqrt(encoders * (encoders + 1) / (6 * tasks)))
    return Ranking(ranks, statistic, p, difference, _alike(ranks, difference), tasks)


def _alike(ranks: np.ndarray, difference: float) -> list[tuple[int, ...]]:
    order = np.argsort(ranks, kind="stable")
    ends = np.searchsorted(ranks[order], ranks[order] + difference, side="right")
    # A set that ends where the one before it ended is part of it.
    return [
        tuple(order[start:end].tolist())
        for start, end in enumerate(ends)
        if end - start > 1 and (start == 0 or end > ends[start - 1])
    ]
