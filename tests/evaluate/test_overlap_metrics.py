import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from histo_simclr.evaluate import overlap_metrics

CLASSES = 3


def _masks(count=6):
    rng = np.random.default_rng(2)
    truth = rng.integers(0, CLASSES, (count, 100))
    return truth, np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, CLASSES, 100))


def _counts(truth, predicted):
    of_class = np.arange(CLASSES)
    wanted, found = truth[..., None] == of_class, predicted[..., None] == of_class
    return wanted.sum(1), np.stack([found.sum(1), (wanted & found).sum(1)], axis=-1)


def test_values_are_scikit_learns_f1_and_jaccard_of_all_pixels():
    truth, predicted = _masks()
    found = overlap_metrics.values(*_counts(truth, predicted))
    dice = f1_score(truth.ravel(), predicted.ravel(), average=None)
    iou = jaccard_score(truth.ravel(), predicted.ravel(), average=None)
    for name, expected in (("dice", dice), ("iou", iou)):
        by_class = [found[f"{name}_{number}"] for number in range(CLASSES)]
        np.testing.assert_allclose(by_class, expected, atol=1e-15)
        assert found[name] == pytest.approx(expected.mean(), abs=1e-15)


def test_weighted_values_are_those_of_the_repeated_images():
    truth, predicted = _masks()
    weights = np.array([[0, 2, 1, 1, 0, 3], [1, 1, 1, 1, 1, 1]], float)
    found = overlap_metrics.values(*_counts(truth, predicted), weights=weights)
    repeated = [np.repeat(each, weights[0].astype(int), axis=0).ravel() for each in _masks()]
    assert found["dice"][0] == pytest.approx(f1_score(*repeated, average="macro"), abs=1e-15)


def test_a_class_that_is_nowhere_does_not_count():
    truth, predictions = _counts(*_masks())
    truth[:, 2], predictions[:, 2] = 0, 0
    found = overlap_metrics.values(truth, predictions)
    assert np.isnan(found["dice_2"])
    assert found["dice"] == pytest.approx((found["dice_0"] + found["dice_1"]) / 2)


def test_counts_are_those_of_scikit_learns_confusion_matrices():
    pairs = zip(*_masks(), strict=True)
    confusions = np.stack([confusion_matrix(*pair, labels=range(CLASSES)) for pair in pairs])
    for found, expected in zip(
        overlap_metrics.counts_of(confusions), _counts(*_masks()), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
