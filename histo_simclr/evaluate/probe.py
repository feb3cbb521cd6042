"""One probe, from features to predictions: how its strength is chosen, and what then is fitted.

By one held-out part (the linear evaluation program), or by folds of whole groups (the suite).
"""

from typing import NamedTuple

import numpy as np

from histo_simclr.evaluate import checks, heads
from histo_simclr.evaluate.folds import grouped_folds

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


class Fitted(NamedTuple):
    """A probe to keep: features f (n, D) as they come give logits f @ weights + bias.

    Fields:
      weights: (D, K); what standardizes features is part of them and of the bias.
      bias: (K,).
      strength: C, chosen among the candidates.
      validation: cross-entropy of each candidate, each example judged out of fold.
    """

    weights: np.ndarray
    bias: np.ndarray
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
    parts = np.stack([~held, np.ones_like(held)])
    solved = _solve(train, labels, parts, num_classes=num_classes, strengths=strengths)
    losses = [
        heads.cross_entropy(solved, train[held], labels[held], fold=0, strength=index)
        for index in range(len(strengths))
    ]
    chosen = int(np.argmin(losses))
    probabilities = heads.probabilities(solved, test, fold=1, strength=chosen)
    return Probed(probabilities, train.shape[1], strengths[chosen], losses)


def cross_validated(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    strengths: tuple[float, ...],
    folds: int,
    seed: int,
) -> Probed:
    """Chooses the strength by cross-entropy on folds of whole groups, then fits all of train.

    Args:
      train, test: (n, D), (m, D) features of one dtype.
      labels: (n,) of train, integers in [0, K).
      groups: (n,) names; those of a fold are fitted on none of its own.
      num_classes: K.
      strengths: candidates for C.
      folds, seed: see `folds.grouped_folds`.

    Returns:
      Probed; `validation` is the mean over all of train, each example judged out of fold.

    Raises:
      InputError: features or labels that cannot be used, or groups that allow no folds.
      NotConverged: a probe stopped short of its optimum.
    """
    checks.check_features(train, test)
    final, strength, losses = _chosen(
        train,
        labels,
        groups,
        num_classes=num_classes,
        strengths=strengths,
        folds=folds,
        seed=seed,
    )
    probabilities = heads.probabilities(final, test, fold=0, strength=0)
    return Probed(probabilities, train.shape[1], strength, losses)


def fit(
    train: np.ndarray,
    *,
    labels: np.ndarray,
    groups: np.ndarray,
    num_classes: int,
    strengths: tuple[float, ...],
    folds: int,
    seed: int,
) -> Fitted:
    """The probe of `cross_validated`, to be used on features that come later.

    Args, Raises: see there.
    """
    checks.check_features(train, train)
    final, strength, losses = _chosen(
        train,
        labels,
        groups,
        num_classes=num_classes,
        strengths=strengths,
        folds=folds,
        seed=seed,
    )
    weight, bias, mean, scale = (np.asarray(leaf, np.float64)[0] for leaf in final[:4])
    weights = (weight[0] / scale).T
    return Fitted(weights, bias[0] - mean @ weights, strength, losses)


def _chosen(
    train, labels, groups, *, num_classes, strengths, folds, seed
) -> tuple[heads.Heads, float, list[float]]:
    """The head of all of train at the best strength, that strength, and the losses of all."""
    checks.check_labels(labels, count=len(train), num_classes=num_classes)
    fold = grouped_folds(labels, groups, folds=folds, seed=seed)
    held = fold[None] == np.arange(fold.max() + 1)[:, None]
    solved = _solve(train, labels, ~held, num_classes=num_classes, strengths=strengths)
    sums = [
        sum(
            part.sum()
            * heads.cross_entropy(solved, train[part], labels[part], fold=number, strength=index)
            for number, part in enumerate(held)
        )
        for index in range(len(strengths))
    ]
    chosen = strengths[int(np.argmin(sums))]
    everything = np.ones((1, len(labels)), bool)
    final = _solve(train, labels, everything, num_classes=num_classes, strengths=(chosen,))
    return final, chosen, [float(total / len(labels)) for total in sums]


def _solve(train, labels, folds, *, num_classes, strengths) -> heads.Heads:
    return heads.fit_linear(
        train,
        labels,
        folds,
        num_classes=num_classes,
        strengths=strengths,
        standardize=True,
        tolerance=TOLERANCE,
        max_iterations=MAX_ITERATIONS,
    )
