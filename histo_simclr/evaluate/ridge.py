"""Ridge regression of a target on frozen features: solved for all strengths at once, in float64.

One eigendecomposition a fold serves every strength. The optimum is scikit-learn's `Ridge` on
standardized features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks
from histo_simclr.evaluate.folds import target_folds


class Regressed(NamedTuple):
    """What the regression says of the test split, and how it came about.

    Fields:
      values: (m,) float64, within the bounds of the targets.
      strength: alpha, chosen among the candidates.
      validation: mean squared error of each candidate, out of fold.
      folds: number of folds of whole groups that chose it.
    """

    values: np.ndarray
    strength: float
    validation: list[float]
    folds: int


def predict(
    train: np.ndarray, test: np.ndarray, *, targets: np.ndarray, strengths: Sequence[float]
) -> np.ndarray:
    """Predictions at every strength: least squares + alpha |w|², the intercept not penalised.

    Args:
      train, test: (n, D), (m, D) features; standardized here with the statistics of train.
      targets: (n,) numbers, or (n, K): K of each, such as which class it is.
      strengths: S values of alpha > 0, as scikit-learn's Ridge has it; larger shrinks more.

    Returns:
      (S, m) float64, or (S, m, K).
    """
    train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
    mean, scale = train.mean(0), train.std(0)
    # A constant feature becomes 0, not magnified rounding.
    scale[scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 1
    train, test = (train - mean) / scale, (test - mean) / scale
    spread, axes = np.linalg.eigh(train.T @ train)
    columns = targets.reshape(len(targets), -1)
    along = axes.T @ (train.T @ (columns - columns.mean(0)))
    # Rounding leaves eigenvalues of 0 slightly below it.
    curvature = np.maximum(spread, 0) + np.asarray(strengths, np.float64)[:, None]
    values = (test @ axes) @ (along / curvature[:, :, None]) + columns.mean(0)
    return values.reshape(len(strengths), len(test), *targets.shape[1:])


def cross_validated(
    train: np.ndarray,
    test: np.ndarray,
    *,
    targets: np.ndarray,
    groups: np.ndarray,
    strengths: Sequence[float],
    bounds: tuple[float, float],
    folds: int,
    seed: int,
) -> Regressed:
    """Chooses the strength by squared error on folds of whole groups, then fits all of train.

    Args:
      train, test: (n, D), (m, D) features.
      targets: (n,) numbers within the bounds.
      groups: (n,) names.
      strengths: candidates for alpha, > 0.
      bounds: lowest and highest possible target (may be infinite); predictions are cut to them.
      folds, seed: see `folds.target_folds`.

    Raises:
      InputError: features, targets or strengths that cannot be used, or groups that allow no folds.
    """
    checks.check_features(train, test)
    checks.check_targets(targets, count=len(train), bounds=bounds)
    if not strengths or not min(strengths) > 0:
        raise InputError(
            f"cannot be {list(strengths)}", where="strengths", way_out="give values above 0"
        )
    fold = target_folds(targets, groups, folds=folds, seed=seed)
    errors = np.zeros(len(strengths))
    for number in range(fold.max() + 1):
        held = fold == number
        found = predict(
            train[~held], train[held], targets=targets[~held], strengths=strengths
        ).clip(*bounds)
        errors += np.sum((found - targets[held]) ** 2, axis=1)
    chosen = strengths[int(np.argmin(errors))]
    values = predict(train, test, targets=targets, strengths=(chosen,))[0].clip(*bounds)
    return Regressed(values, chosen, (errors / len(targets)).tolist(), int(fold.max()) + 1)
