"""Losses and scores against scikit-learn and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from histo_simclr.errors import InputError
from histo_simclr.evaluate.supervised import Classification, Regression

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(50, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, 50)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_scores_and_probabilities_are_scikit_learns(smoothing):
    task = Classification(4, smoothing)
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    np.testing.assert_allclose(task.predict(LOGITS), probabilities, rtol=1e-5)
    expected = log_loss(LABELS, probabilities, labels=range(4))
    assert task.score(LOGITS, LABELS, "loss") == pytest.approx(expected, rel=1e-5)
    expected = f1_score(LABELS, LOGITS.argmax(1), average="macro")
    assert task.score(LOGITS, LABELS, "macro_f1") == pytest.approx(expected, rel=1e-12)


def test_smoothing_gives_a_share_of_each_label_to_all_classes():
    logs = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    expected = -(0.7 * logs[np.arange(50), LABELS] + 0.3 * logs.mean(1)).mean()
    found = Classification(4, 0.3).loss(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_regression_is_scored_in_standard_deviations_and_predicts_in_units():
    targets = np.array([10.0, 20.0, 30.0, 60.0])
    task = Regression.of(targets)
    assert (task.mean, task.deviation) == (30.0, pytest.approx(np.sqrt(350)))
    outputs = task.encode(targets)[:, None]
    np.testing.assert_allclose(task.predict(outputs), targets, rtol=1e-6)
    assert task.score(np.zeros((4, 1)), targets, "loss") == pytest.approx(1.0)
    found = task.loss(jnp.asarray(outputs), jnp.zeros(4))
    assert float(found) == pytest.approx(1.0, rel=1e-6)


def test_constant_targets_are_no_division_by_zero():
    task = Regression.of(np.full(3, 7.0))
    np.testing.assert_array_equal(task.encode(np.full(3, 7.0)), 0)


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (Classification(2, 0.0), np.array([0, 2]), "labels are 0 to 2, not integers from 0 to 1"),
        (Classification(2, 0.0), np.array([-1, 1]), "labels are -1 to 1"),
        (Classification(2, 0.0), np.array([0.0, 1.0]), "labels are of type float64"),
        (Regression(0.0, 1.0), np.array([np.nan, np.inf, 1]), r"2 target\(s\) are not finite"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(task, labels, message):
    with pytest.raises(InputError, match=message):
        task.check(labels, where="training part")
