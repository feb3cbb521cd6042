"""Protocols on frozen features of patches: classes and targets. Each: `Inputs` → `Outcome`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import centroid as centroids
from histo_simclr.evaluate import folds as fold
from histo_simclr.evaluate import knn as neighbors_of
from histo_simclr.evaluate import probe, sgd_probe
from histo_simclr.evaluate import ridge as ridges
from histo_simclr.suite.cells import Inputs, Outcome

# Of least squares: enough to make features that are copies of each other solvable, no more.
_NEARLY_NONE = 1e-6


def linear(inputs: Inputs, *, strengths: Sequence[float], folds: int) -> Outcome:
    """The convex linear probe, its strength chosen by group-aware cross-validation."""
    train, test, labels = _examples(inputs)
    groups, notes = fold_groups(inputs, labels, _groups(inputs), folds=folds)
    done = probe.cross_validated(
        train,
        test,
        labels=labels,
        groups=groups,
        num_classes=len(inputs.task.classes),
        strengths=tuple(strengths),
        folds=folds,
        seed=inputs.seed,
    )
    if len(strengths) > 1 and done.strength in (min(strengths), max(strengths)):
        notes.append(f"C = {done.strength:g} is at the end of the strengths tried")
    return outcome(inputs, done.probabilities, {"C": done.strength}, notes)


def sgd(inputs: Inputs, **recipe: Any) -> Outcome:
    """The linear probe as papers train it, by a fixed recipe (`sgd_probe.train_probe`)."""
    train, test, labels = _examples(inputs)
    done = sgd_probe.train_probe(
        train,
        test,
        labels=labels,
        num_classes=len(inputs.task.classes),
        seed=inputs.seed,
        **recipe,
    )
    return outcome(inputs, done.probabilities, {"last loss": float(done.losses[-1])}, [])


def knn(inputs: Inputs, *, neighbors: Sequence[int], temperature: float, folds: int) -> Outcome:
    """K nearest neighbors by cosine, weighted votes, k chosen by group-aware cross-validation."""
    train, test, labels = _examples(inputs)
    groups, notes = fold_groups(inputs, labels, _groups(inputs), folds=folds)
    done = neighbors_of.cross_validated(
        train,
        test,
        labels=labels,
        groups=groups,
        num_classes=len(inputs.task.classes),
        neighbors=tuple(neighbors),
        temperature=temperature,
        folds=folds,
        seed=inputs.seed,
    )
    return outcome(inputs, done.probabilities, {"k": done.neighbors}, notes)


def centroid(inputs: Inputs, *, metric: str, temperature: float) -> Outcome:
    """Nearest class centroid: one mean a class is all that is learned."""
    train, test, labels = _examples(inputs)
    table = centroids.predict(
        train,
        test,
        labels=labels,
        num_classes=len(inputs.task.classes),
        metric=metric,
        temperature=temperature,
    )
    return outcome(inputs, table, {}, [])


def ridge(inputs: Inputs, *, strengths: Sequence[float], folds: int) -> Outcome:
    """Ridge regression of the targets, its strength chosen by group-aware cross-validation."""
    train, test, targets = _examples(inputs)
    groups, notes = _groups(inputs), []
    if len(np.unique(groups)) < 2:
        groups, notes = _singles(groups), [_SINGLE]
    done = ridges.cross_validated(
        train,
        test,
        targets=targets,
        groups=groups,
        strengths=tuple(strengths),
        bounds=inputs.task.bounds,
        folds=folds,
        seed=inputs.seed,
    )
    return outcome(inputs, done.values, {"alpha": done.strength}, notes)


def least_squares(inputs: Inputs) -> Outcome:
    """Linear regression of the targets, as good as without penalty."""
    train, test, targets = _examples(inputs)
    found = ridges.predict(train, test, targets=targets, strengths=(_NEARLY_NONE,))[0]
    return outcome(inputs, found.clip(*inputs.task.bounds), {}, [])


_SINGLE = "no group could be spared for validation: single patches chose"


def fold_groups(
    inputs: Inputs, labels: np.ndarray, groups: np.ndarray, *, folds: int
) -> tuple[np.ndarray, list[str]]:
    """Groups that folds can be made of, and what is to be said of them.

    Where whole groups cannot be spared (one group, or one that holds all of a class), every
    example is its own: then validation is too kind, the test is not.
    """
    try:
        fold.grouped_folds(labels, groups, folds=folds, seed=inputs.seed)
    except InputError:
        return _singles(groups), [_SINGLE]
    return groups, []


def outcome(
    inputs: Inputs, predictions: np.ndarray, chosen: Mapping[str, Any], notes: list[str]
) -> Outcome:
    """Predictions for the patches of the test split."""
    test = inputs.task.test
    return Outcome(
        test.truth,
        predictions,
        *test.groups,
        examples=int(inputs.chosen.sum()),
        chosen=dict(chosen),
        notes=notes,
        extra={},
    )


def _examples(inputs: Inputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    train, test = inputs.features()
    return train[inputs.chosen], test, inputs.task.train.truth[inputs.chosen]


def _groups(inputs: Inputs) -> np.ndarray:
    return inputs.task.train.groups.names[inputs.chosen]


def _singles(groups: np.ndarray) -> np.ndarray:
    return np.arange(len(groups)).astype(str)
