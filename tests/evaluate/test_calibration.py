import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from histo_simclr.evaluate import calibration


def test_bins_and_error_by_hand():
    confidences = np.array([0.55, 0.6, 0.9, 0.8, 0.95])
    right = np.array([True, False, True, True, False])
    table = np.stack([confidences, 1 - confidences], axis=1)
    found = calibration.reliability(np.where(right, 0, 1), table, bins=5)
    # (0.4, 0.6]: 0.55, 0.6; (0.6, 0.8]: 0.8; (0.8, 1]: 0.9, 0.95.
    assert found.count.tolist() == [0, 0, 2, 1, 2]
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 0.575, 0.8, 0.925])
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 0.5, 1, 0.5])
    assert found.error == pytest.approx((2 * 0.075 + 1 * 0.2 + 2 * 0.425) / 5)


def test_bins_are_scikit_learns():
    rng = np.random.default_rng(0)
    table = rng.dirichlet((1, 1, 1), 500)
    labels = rng.integers(0, 3, 500)
    found = calibration.reliability(labels, table, bins=10)
    accuracy, confidence = calibration_curve(
        table.argmax(1) == labels, table.max(1), n_bins=10, strategy="uniform"
    )
    filled = found.count > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy)
    np.testing.assert_allclose(found.confidence[filled], confidence)


def test_true_probabilities_are_calibrated_and_sharpened_ones_are_not():
    rng = np.random.default_rng(1)
    table = rng.dirichlet((1, 1, 1), 20_000)
    labels = (rng.random(20_000)[:, None] > np.cumsum(table, axis=1)).sum(1)
    sharp = table**3 / np.sum(table**3, axis=1, keepdims=True)
    true, sure = (calibration.reliability(labels, each, bins=15).error for each in (table, sharp))
    assert true < 0.015
    assert sure > 0.1


def test_a_sure_prediction_that_float32_rounds_up_lies_in_the_last_bin():
    table = np.array([[np.nextafter(np.float32(1), np.float32(2)), 0]], np.float32)
    assert calibration.reliability(np.array([0]), table, bins=4).count.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("classes", [2, 4])
def test_brier_is_scikit_learns(classes):
    rng = np.random.default_rng(2)
    table, labels = rng.dirichlet(np.ones(classes), 100), rng.integers(0, classes, 100)
    expected = brier_score_loss(labels, table, labels=range(classes), scale_by_half=False)
    assert calibration.brier(labels, table) == pytest.approx(expected, abs=1e-14)
