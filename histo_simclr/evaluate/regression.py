"""Metrics of a regression: numpy arrays in, numbers out, for many weightings of the examples.

Each equals scikit-learn's or scipy's. Weightings are those of `metrics.resamples_of`: a bootstrap
resample is a weighting by whole numbers.
"""

import numpy as np

METRICS = ("l1", "r2", "spearman")
# The paper reports the L1 error of BreastPathQ times 100.
L1_UNIT = 100


def l1(targets: np.ndarray, values: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean absolute error times 100; lower is better. Shapes: see `values_of`."""
    weights, once = _weights(targets, weights)
    found = L1_UNIT * (weights @ np.abs(values - targets)) / weights.sum(1)
    return found[0] if once else found


def r2(targets: np.ndarray, values: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the targets' variance explained, at most 1; NaN where targets do not vary."""
    weights, once = _weights(targets, weights)
    # About the mean of all: a resample's variance would cancel in plain squares.
    centered = targets - targets.mean()
    mean = weights @ centered / weights.sum(1)
    total = weights @ centered**2 - weights.sum(1) * mean**2
    left = weights @ (values - targets) ** 2
    found = 1 - _ratio(left, total)
    return found[0] if once else found


def spearman(
    targets: np.ndarray, values: np.ndarray, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """Correlation of ranks, ties at their mean rank; NaN where either does not vary."""
    weights, once = _weights(targets, weights)
    first, second = (_ranks(each, weights) for each in (targets, values))
    total = weights.sum(1, keepdims=True)
    first, second = (
        each - np.sum(weights * each, 1, keepdims=True) / total for each in (first, second)
    )
    joint = np.sum(weights * first * second, 1)
    spread = np.sum(weights * first**2, 1) * np.sum(weights * second**2, 1)
    found = _ratio(joint, np.sqrt(spread))
    return found[0] if once else found


def values_of(
    targets: np.ndarray, values: np.ndarray, *, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """All METRICS.

    Args:
      targets, values: (n,) truth and prediction.
      weights: (R, n), how often each example counts in each of R resamples; None: once.

    Returns:
      metric → scalar, or (R,).
    """
    return {
        name: function(targets, values, weights=weights)
        for name, function in (("l1", l1), ("r2", r2), ("spearman", spearman))
    }


def _weights(targets: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, bool]:
    return (np.ones((1, len(targets))), True) if weights is None else (weights, False)


def _ranks(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, n) mean ranks, each example counted as often as it weighs; up to a constant."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    size = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(size, axis=1) - size / 2
    ranks = np.empty_like(weights, dtype=np.float64)
    ranks[:, order] = np.repeat(middle, np.diff(starts, append=len(order)), axis=1)
    return ranks


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
