"""Protocols on frozen features: which labels they use, and what they do without groups."""

from types import SimpleNamespace

import numpy as np
import pytest

from histo_simclr.evaluate.splits import Groups
from histo_simclr.suite import frozen
from histo_simclr.suite.cells import Inputs

PROBE = {"strengths": (1e-2, 1e-1), "folds": 3}


def inputs(groups, *, chosen=None, truth=None, regression=False):
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2 if truth is None else truth
    known = np.arange(24) % 2
    features = (rng.normal(size=(24, 4)) + known[:, None]).astype(np.float32)
    test = (rng.normal(size=(10, 4)) + (np.arange(10) % 2)[:, None]).astype(np.float32)
    part = SimpleNamespace(truth=labels, groups=Groups(np.array(groups), "slide"))
    apart = Groups(np.array([f"slide:t{n}" for n in range(10)]), "slide")
    held = SimpleNamespace(truth=np.arange(10) % 2, groups=apart)
    task = SimpleNamespace(classes=["a", "b"], bounds=(0.0, 1.0), train=part, test=held)
    mask = np.ones(24, bool) if chosen is None else chosen
    return Inputs(task, None, None, lambda: (features, test), mask, None, None, 0, print)


SLIDES = [f"slide:{n // 4}" for n in range(24)]


@pytest.mark.parametrize(
    ("run", "settings"),
    [
        (frozen.linear, PROBE),
        (frozen.knn, {"neighbors": (1, 3), "temperature": 0.07, "folds": 3}),
        (frozen.centroid, {"metric": "cosine", "temperature": 0.07}),
        (
            frozen.sgd,
            {"epochs": 3, "batch_size": 8, "rate": 0.1, "decay": 0.0, "standardize": True},
        ),
    ],
)
def test_labels_outside_the_subset_are_never_used(run, settings):
    chosen = np.arange(24) < 16
    truth = np.arange(24) % 2
    planted = np.where(chosen, truth, 1 - truth)
    first = run(inputs(SLIDES, chosen=chosen), **settings)
    other = run(inputs(SLIDES, chosen=chosen, truth=planted), **settings)
    np.testing.assert_array_equal(first.predictions, other.predictions)
    assert first.examples == 16
    whole = run(inputs(SLIDES), **settings)
    assert not np.array_equal(first.predictions, whole.predictions)


def test_where_groups_cannot_be_spared_patches_choose_and_it_is_said():
    one = frozen.linear(inputs(["slide:only"] * 24), **PROBE)
    by_class = frozen.linear(inputs([f"slide:{n % 2}" for n in range(24)]), **PROBE)
    for found in (one, by_class):
        assert any("single patches chose" in note for note in found.notes)
    assert not any("single" in note for note in frozen.linear(inputs(SLIDES), **PROBE).notes)


def test_regressions_stay_within_the_bounds_of_their_targets():
    truth = np.linspace(0, 1, 24)
    given = inputs(SLIDES, truth=truth)
    ridge = frozen.ridge(given, strengths=(1.0,), folds=3)
    least = frozen.least_squares(given)
    for found in (ridge, least):
        assert found.predictions.min() >= 0
        assert found.predictions.max() <= 1
    from sklearn.linear_model import LinearRegression

    train, test = given.features()
    reference = LinearRegression().fit(train, truth).predict(test).clip(0, 1)
    np.testing.assert_allclose(least.predictions, reference, atol=1e-5)
