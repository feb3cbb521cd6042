"""Do probabilities mean what they say? Reliability bins, calibration error, Brier score."""

from typing import NamedTuple

import numpy as np


class Reliability(NamedTuple):
    """Predictions sorted into bins by confidence: the probability of the most probable class.

    Fields:
      edges: (B + 1,), from 0 to 1; bin b holds confidences in (edges[b], edges[b + 1]].
      count: (B,) predictions in each.
      confidence, accuracy: (B,) their mean confidence and the share of right ones; NaN where empty.
      error: expected calibration error, the mean over predictions of their bin's
        |accuracy - confidence| (Guo et al., "On Calibration of Modern Neural Networks", 2017).
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def reliability(labels: np.ndarray, probabilities: np.ndarray, *, bins: int) -> Reliability:
    """Sorts predictions into bins of equal width.

    Args:
      labels: (n,) integers in [0, K).
      probabilities: (n, K); rows sum to 1.
      bins: B; Guo et al. use 15. The error depends on it: compare at equal numbers only.
    """
    confidences = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    # float32 rounds a sure 1 up at times.
    place = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    confidence, accuracy = (
        np.divide(
            np.bincount(place, weights=column, minlength=bins),
            count,
            out=np.full(bins, np.nan),
            where=count > 0,
        )
        for column in (confidences, right)
    )
    error = np.sum(np.where(count > 0, np.abs(accuracy - confidence), 0) * count) / len(labels)
    return Reliability(edges, count, confidence, accuracy, float(error))


def brier(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over examples of the squared distance to the true class's one-hot row.

    From 0 to 2 (Brier 1950); of two classes twice the score that looks at one of them only.

    Args:
      labels: (n,) integers in [0, K).
      probabilities: (n, K).
    """
    wrong = probabilities.astype(np.float64) - np.eye(probabilities.shape[1])[labels]
    return float(np.mean(np.sum(wrong**2, axis=1)))
