"""Metrics of a classification and their bootstrap: numpy arrays in, numbers out.

Each equals scikit-learn's of the same name. All take many weightings of the same examples at once,
because a bootstrap resample is a weighting by whole numbers: one formula serves the value and its
interval.
"""

import collections
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

METRICS = ("macro_f1", "accuracy", "balanced_accuracy", "auroc")
# Fewer groups than this have too few different resamples for a 95 % interval.
MIN_GROUPS = 5
# Weights of resamples held at once: 64 MB of float64.
_CHUNK = 8_000_000


class Metric(Protocol):
    """What can be measured of predictions, under many weightings of the same n examples at once."""

    def __call__(
        self, truth: np.ndarray, predictions: np.ndarray, /, *, weights: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Name → scalar, or (R,) with weights (R, n)."""


def confusion(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    num_classes: int,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Confusion matrices, rows truth, columns prediction.

    Args:
      labels, predictions: (n,) integers in [0, num_classes).
      num_classes: K.
      weights: (R, n), how often each example counts in each of R resamples; None: once.

    Returns:
      (K, K) float64, or (R, K, K).
    """
    cells = labels * num_classes + predictions
    shape = (num_classes, num_classes)
    if weights is None:
        return np.bincount(cells, minlength=num_classes**2).reshape(shape).astype(np.float64)
    used, inverse = np.unique(cells, return_inverse=True)
    sums = np.zeros((len(weights), num_classes**2))
    sums[:, used] = weights @ np.eye(len(used))[inverse]
    return sums.reshape(-1, *shape)


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Share of right predictions; matrix (..., K, K)."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))


def balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that occur in the truth; matrix (..., K, K)."""
    recall = _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1))
    return _mean_of_defined(recall)


def macro_f1(matrix: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur in the truth or the predictions; matrix (..., K, K)."""
    return _mean_of_defined(_f1(matrix))


def per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall, f1, support of one (K, K) matrix, each (K,); NaN where undefined."""
    hits = np.diagonal(matrix)
    return {
        "precision": _ratio(hits, matrix.sum(0)),
        "recall": _ratio(hits, matrix.sum(1)),
        "f1": _f1(matrix),
        "support": matrix.sum(1),
    }


def auroc(
    labels: np.ndarray, probabilities: np.ndarray, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """Area under the ROC curve; beyond two classes the mean of one class against the rest.

    Args:
      labels: (n,) integers in [0, K).
      probabilities: (n, K); ties count one half.
      weights: (R, n) or None, as in `confusion`.

    Returns:
      Scalar, or (R,); classes without examples, or with nothing else, are left out; NaN when none
      remains.
    """
    once = weights is None
    weights = np.ones((1, len(labels))) if once else weights
    classes = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    areas = [_area(labels == c, probabilities[:, c], weights) for c in classes]
    area = _mean_of_defined(np.stack(areas, axis=-1))
    return area[0] if once else area


def values(
    labels: np.ndarray, probabilities: np.ndarray, *, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """All METRICS of the most probable classes; scalars, or (R,) with weights (R, n)."""
    matrix = confusion(
        labels,
        probabilities.argmax(1),
        num_classes=probabilities.shape[1],
        weights=weights,
    )
    return {
        "macro_f1": macro_f1(matrix),
        "accuracy": accuracy(matrix),
        "balanced_accuracy": balanced_accuracy(matrix),
        "auroc": auroc(labels, probabilities, weights=weights),
    }


def resamples_of(
    labels: np.ndarray, groups: np.ndarray | None, *, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Bootstrap weights in chunks of rows, `resamples` rows in all.

    Args:
      labels: (n,) integers.
      groups: (n,) names: whole groups are drawn with replacement. None: examples are, within each
        class, so that every resample has all classes.
      resamples: number of resamples.
      seed: of the draw.

    Yields:
      (r, n) float64: how often each example was drawn.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        strata, unit = [np.flatnonzero(labels == c) for c in np.unique(labels)], None
    else:
        names, unit = np.unique(groups, return_inverse=True)
        strata = [np.arange(len(names))]
    units = sum(map(len, strata))
    rows = max(1, _CHUNK // len(labels))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = np.empty((count, units))
        for members in strata:
            size = len(members)
            draws = rng.integers(size, size=(count, size)) + np.arange(count)[:, None] * size
            hits = np.bincount(draws.ravel(), minlength=count * size)
            drawn[:, members] = hits.reshape(count, size)
        yield drawn if unit is None else drawn[:, unit]


def bootstrap(
    truth: np.ndarray,
    predictions: dict[str, np.ndarray],
    groups: np.ndarray | None,
    *,
    resamples: int,
    seed: int,
    metric: Metric = values,
) -> dict[str, dict[str, np.ndarray]]:
    """A metric of several encoders on the same resamples, so that differences are paired.

    Args:
      truth: (n, …) as `metric` takes it. Integers (n,) are classes: without groups, examples are
        drawn within each.
      predictions: encoder → (n, …), as `metric` takes them.
      groups, resamples, seed: see `resamples_of`.
      metric: `values`, or another of its form.

    Returns:
      encoder → name of a metric → (resamples,).
    """
    is_class = truth.ndim == 1 and np.issubdtype(truth.dtype, np.integer)
    strata = truth if is_class else np.zeros(len(truth), np.int64)
    found: dict[str, Any] = {name: collections.defaultdict(list) for name in predictions}
    for weights in resamples_of(strata, groups, resamples=resamples, seed=seed):
        for name, table in predictions.items():
            for key, value in metric(truth, table, weights=weights).items():
                found[name][key].append(value)
    return {
        name: {key: np.concatenate(parts) for key, parts in table.items()}
        for name, table in found.items()
    }


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval; undefined replicates (NaN) are left out."""
    defined = replicates[~np.isnan(replicates)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _area(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ordered = weights[:, order]
    plus = np.where(positive[order], ordered, 0)
    minus = ordered - plus
    if len(starts) < len(order):
        plus, minus = (np.add.reduceat(part, starts, axis=1) for part in (plus, minus))
    below = np.cumsum(minus, axis=1) - minus / 2
    return _ratio(np.sum(plus * below, axis=1), plus.sum(1) * minus.sum(1))


def _f1(matrix: np.ndarray) -> np.ndarray:
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _ratio(2 * hits, matrix.sum(-1) + matrix.sum(-2))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    result = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=result, where=np.asarray(below) > 0)
    return result[()]


def _mean_of_defined(table: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(table)
    return _ratio(np.where(defined, table, 0).sum(-1), defined.sum(-1))
