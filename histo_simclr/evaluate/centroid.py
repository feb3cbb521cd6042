"""Nearest class centroid: what features say when all that is learned is one mean a class."""

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks
from histo_simclr.evaluate.neighbors import unit_length

METRICS = ("cosine", "euclidean")


def predict(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    num_classes: int,
    metric: str,
    temperature: float,
) -> np.ndarray:
    """Softmax of the similarity to each class's mean.

    Args:
      train, test: (n, D), (m, D) features.
      labels: (n,) integers in [0, K).
      num_classes: K.
      metric: "cosine": features are scaled to unit length, means again, and compared by cosine.
        "euclidean": minus the squared distance, in units of the mean squared distance of training
        examples from their overall mean, so that no scale of features makes it surer.
      temperature: > 0, divides the similarity; the nearest class does not depend on it.

    Returns:
      (m, K) float64; rows sum to 1.

    Raises:
      InputError: features, labels, metric or temperature that cannot be used.
    """
    checks.check_features(train, test)
    checks.check_labels(labels, count=len(train), num_classes=num_classes)
    if metric not in METRICS:
        raise InputError(
            f"cannot be {metric!r}", where="metric", way_out=f"choose from {', '.join(METRICS)}"
        )
    if not temperature > 0:
        raise InputError(
            f"cannot be {temperature}", where="temperature", way_out="give a value above 0"
        )
    train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
    if metric == "cosine":
        train, test = unit_length(train), unit_length(test)
    members = np.eye(num_classes)[labels]
    centroids = members.T @ train / members.sum(0)[:, None]
    if metric == "cosine":
        similarity = test @ unit_length(centroids).T
    else:
        # About the mean of all: large values that features share would cancel badly in squares.
        middle = train.mean(0)
        test, centroids = test - middle, centroids - middle
        spread = np.mean(np.sum((train - middle) ** 2, axis=1))
        squares = np.sum(test**2, 1)[:, None] - 2 * test @ centroids.T + np.sum(centroids**2, 1)
        similarity = -squares / (spread or 1)
    logits = similarity / temperature
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)
