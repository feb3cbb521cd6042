import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from histo_simclr.evaluate import regression_metrics


def _example(decimals, count=60):
    rng = np.random.default_rng(5)
    targets = np.round(rng.random(count), decimals)
    return targets, np.round(targets + rng.normal(0, 0.2, count), decimals)


def _reference(targets, predictions):
    return {
        "l1": sklearn_metrics.mean_absolute_error(targets, predictions),
        "r2": sklearn_metrics.r2_score(targets, predictions),
        "spearman": stats.spearmanr(targets, predictions).statistic,
    }


@pytest.mark.parametrize("decimals", [8, 1], ids=["distinct", "tied"])
def test_values_are_scikit_learns_and_scipys(decimals):
    found = regression_metrics.values(*_example(decimals))
    assert tuple(found) == regression_metrics.METRICS
    assert found == pytest.approx(_reference(*_example(decimals)), abs=1e-12)


@pytest.mark.parametrize("decimals", [8, 1], ids=["distinct", "tied"])
def test_weighted_values_are_those_of_the_repeated_examples(decimals):
    targets, predictions = _example(decimals)
    weights = np.random.default_rng(6).integers(0, 4, (5, len(targets))).astype(float)
    found = regression_metrics.values(targets, predictions, weights=weights)
    for row, repeats in enumerate(weights.astype(int)):
        expected = _reference(np.repeat(targets, repeats), np.repeat(predictions, repeats))
        assert {name: value[row] for name, value in found.items()} == pytest.approx(
            expected, abs=1e-12
        )


def test_equal_targets_have_no_r2_and_no_ranks():
    found = regression_metrics.values(np.full(4, 0.3), np.array([0.1, 0.2, 0.3, 0.4]))
    assert found["l1"] == pytest.approx(0.1)
    assert np.isnan(found["r2"])
    assert np.isnan(found["spearman"])


def test_a_resample_of_equal_targets_has_no_r2():
    """Rounding must not make it a ratio to nearly nothing."""
    rng = np.random.default_rng(7)
    targets = np.append(np.full(5, round(rng.random(), 2)), rng.random(5))
    weights = np.zeros((21, 10))
    weights[:, :5], weights[20] = rng.integers(1, 6, (21, 5)), 1
    found = regression_metrics.values(targets, targets + 0.1, weights=weights)
    assert np.isnan(found["r2"]).tolist() == [True] * 20 + [False]


def test_equal_predictions_have_no_ranks():
    found = regression_metrics.values(np.array([0.0, 1.0]), np.full(2, 0.5))
    assert found["r2"] == 0
    assert np.isnan(found["spearman"])
