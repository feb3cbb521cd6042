"""One probe, from features to predictions: how its strength is chosen, and what then is fitted."""

from typing import NamedTuple

import numpy as np

from histo_simclr.evaluate import heads

# Norm of the gradient; scikit-learn's default stops when the largest component is below 1e-4.
TOLERANCE = 1e-5
MAX_ITERATIONS = 5000


class Probed(NamedTuple):
    """One row: what its probe says of the test split, and how it came about.

    Fields:
      probabilities: (n, K) of the test split.
      num_features: D.
      strength: C, chosen among the candidates.
      validation: cross-entropy of each candidate on the validation part.
    """

    probabilities: np.ndarray
    num_features: int
    strength: float
    validation: list[float]


def probe(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    held: np.ndarray,
    num_classes: int,
    strengths: tuple[float, ...],
) -> Probed:
    """Solves on train, chooses the strength by cross-entropy on its held-out part, predicts test.

    Cross-entropy, not macro-F1: it is what the probe minimizes, and has no ties.

    Args:
      train, test: (n, D), (m, D) features.
      labels: (n,) of train.
      held: (n,) booleans, the validation part; every class also occurs outside.
      num_classes: K.
      strengths: candidates.
    """
    solved = heads.fit_linear(
        train,
        labels,
        np.stack([~held, np.ones_like(held)]),
        num_classes=num_classes,
        strengths=strengths,
        standardize=True,
        tolerance=TOLERANCE,
        max_iterations=MAX_ITERATIONS,
    )
    losses = [
        heads.cross_entropy(solved, train[held], labels[held], fold=0, strength=index)
        for index in range(len(strengths))
    ]
    chosen = int(np.argmin(losses))
    probabilities = heads.probabilities(solved, test, fold=1, strength=chosen)
    return Probed(probabilities, train.shape[1], strengths[chosen], losses)
