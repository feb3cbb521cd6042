"""k nearest neighbors by cosine similarity, weighted votes: nothing is fitted but k.

The protocol of instance discrimination (Wu et al., arXiv 1805.01978, section 3.4) and DINO (Caron
et al., arXiv 2104.14294, whose code tries k = 10, 20, 100, 200): the vote of a neighbor at
similarity s weighs exp(s / T), with T = 0.07 in both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks, metrics
from histo_simclr.evaluate.folds import grouped_folds
from histo_simclr.evaluate.neighbors import nearest

TEMPERATURE = 0.07


class Voted(NamedTuple):
    """What the neighbors say of the test split.

    Fields:
      probabilities: (m, K), shares of the votes.
      neighbors: k, chosen among the candidates.
      validation: macro-F1 of each candidate, out of fold.
      folds: number of folds of whole groups that chose it.
    """

    probabilities: np.ndarray
    neighbors: int
    validation: list[float]
    folds: int


def predict(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    num_classes: int,
    neighbors: Sequence[int],
    temperature: float,
) -> np.ndarray:
    """Shares of the votes for several k at once.

    Args:
      train, test: (n, D), (m, D) features; scaled to unit length here.
      labels: (n,) integers in [0, K).
      num_classes: K.
      neighbors: values of k; one above n takes all n.
      temperature: > 0, divides the similarities.

    Returns:
      (len(neighbors), m, K) float32; rows sum to 1.

    Raises:
      InputError: features, labels, k or temperature that cannot be used.
    """
    _check(train, test, labels, num_classes, neighbors, temperature)
    nowhere = np.full(len(test), -1)
    folds = np.zeros(len(train), int)
    settings = {"num_classes": num_classes, "temperature": temperature}
    return _vote(train, folds, test, nowhere, labels, neighbors=tuple(neighbors), **settings)


def cross_validated(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    neighbors: Sequence[int],
    temperature: float,
    folds: int,
    seed: int,
) -> Voted:
    """Chooses k by macro-F1 on folds of whole groups, then asks the whole training split.

    Macro-F1, not cross-entropy: a class without neighbor has the probability 0. Of equally good k
    the first is taken.

    Args:
      train, test, labels, num_classes, neighbors, temperature: see `predict`.
      groups: (n,) names; no neighbor comes from a fold that holds the example's own group.
      folds, seed: see `folds.grouped_folds`.

    Raises:
      InputError: as `predict`, or groups that allow no folds.
    """
    _check(train, test, labels, num_classes, neighbors, temperature)
    fold = grouped_folds(labels, groups, folds=folds, seed=seed)
    settings = {"num_classes": num_classes, "temperature": temperature}
    tables = _vote(train, fold, train, fold, labels, neighbors=tuple(neighbors), **settings)
    scores = [float(metrics.values(labels, table)["macro_f1"]) for table in tables]
    best = int(np.argmax(scores))
    nowhere = np.full(len(test), -1)
    chosen = _vote(train, fold, test, nowhere, labels, neighbors=(neighbors[best],), **settings)[0]
    return Voted(chosen, neighbors[best], scores, int(fold.max()) + 1)


def _vote(bank, bank_fold, queries, query_fold, labels, *, num_classes, neighbors, temperature):
    """(k, m, K): shares of the votes of neighbors that are of another fold than the query."""
    # By numpy: XLA's top_k sorts whole rows on CPUs, and takes ten times as long.
    found, similar = nearest(
        queries,
        bank,
        count=min(max(neighbors), len(bank)),
        query_groups=query_fold,
        gallery_groups=bank_fold,
    )
    # Relative to the nearest: shares are the same, and none overflows.
    weights = np.exp((similar - similar[:, :1]) / temperature)
    weights = np.where(found >= 0, weights, 0)
    voted = labels[found]
    tables = np.empty((len(neighbors), len(queries), num_classes), np.float32)
    for table, k in zip(tables, neighbors, strict=True):
        for number in range(num_classes):
            table[:, number] = np.sum(weights[:, :k] * (voted[:, :k] == number), axis=1)
        table /= table.sum(-1, keepdims=True)
    return tables


def _check(train, test, labels, num_classes, neighbors, temperature):
    checks.check_features(train, test)
    checks.check_labels(labels, count=len(train), num_classes=num_classes)
    if not neighbors or min(neighbors) < 1:
        raise InputError(
            f"cannot be {list(neighbors)}", where="neighbors", way_out="give values of 1 or more"
        )
    if not temperature > 0:
        raise InputError(
            f"cannot be {temperature}", where="temperature", way_out="give a value above 0"
        )
