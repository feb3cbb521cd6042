"""Metrics of predicted numbers: numpy arrays in, numbers out.

Of the form of `metrics.values`: many weightings of the same examples at once, so that the same
bootstrap and the same permutations serve them.
"""

import numpy as np

METRICS = ("l1", "r2", "spearman")


def values(
    targets: np.ndarray, predictions: np.ndarray, *, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Mean absolute error (l1), coefficient of determination (r2), rank correlation (spearman).

    Args:
      targets, predictions: (n,) floats. l1 is in their unit; the paper prints it times 100.
      weights: (R, n) whole numbers, how often each example counts; None: once.

    Returns:
      Name → scalar, or (R,). NaN where undefined: equal targets have neither r2 nor spearman,
      equal predictions no spearman.
    """
    once = weights is None
    weights = np.ones((1, len(targets))) if once else weights
    found = {
        "l1": _ratio(weights @ np.abs(predictions - targets), weights.sum(1)),
        "r2": _r2(targets, predictions, weights),
        "spearman": _spearman(targets, predictions, weights),
    }
    return {name: value[0] if once else value for name, value in found.items()}


def _r2(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # About the mean of all, which is near that of each resample: squares stay small.
    centered = targets - targets.mean()
    total = weights @ centered**2 - _ratio((weights @ centered) ** 2, weights.sum(1))
    is_constant = (np.where(weights > 0, targets, -np.inf).max(1)) == (
        np.where(weights > 0, targets, np.inf).min(1)
    )
    return 1 - _ratio(weights @ (targets - predictions) ** 2, np.where(is_constant, 0, total))


def _spearman(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    first, second = _ranks(targets, weights), _ranks(predictions, weights)
    # Ranks of N repeated examples have the mean (N + 1) / 2, ties or not.
    middle = (weights.sum(1, keepdims=True) + 1) / 2
    first, second = first - middle, second - middle
    spread = np.sum(weights * first**2, axis=1) * np.sum(weights * second**2, axis=1)
    return _ratio(np.sum(weights * first * second, axis=1), np.sqrt(spread))


def _ranks(numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, n): the mean rank of each example among the examples as often as they count."""
    _, place = np.unique(numbers, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    tied = np.add.reduceat(weights[:, order], starts, axis=1)
    below = np.cumsum(tied, axis=1) - tied
    return (below + (tied + 1) / 2)[:, place]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
