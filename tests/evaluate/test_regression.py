import numpy as np
import pytest

from histo_simclr.evaluate import regression


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 20, 80) / 20  # with ties, as pathologists' percentages have
    return targets, np.round(targets + rng.normal(size=80) / 4, 2)


def _expected(targets, values):
    from scipy.stats import spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score

    return {
        "l1": 100 * mean_absolute_error(targets, values),
        "r2": r2_score(targets, values),
        "spearman": spearmanr(targets, values).statistic,
    }


def test_metrics_are_scikit_learns_and_scipys(data):
    found = regression.values_of(*data)
    assert set(found) == set(regression.METRICS)
    assert found == pytest.approx(_expected(*data), rel=1e-10)


def test_weights_are_repetitions_of_examples(data):
    targets, values = data
    weights = np.random.default_rng(1).multinomial(80, np.full(80, 1 / 80), size=5)
    found = regression.values_of(targets, values, weights=weights.astype(float))
    for index, row in enumerate(weights):
        expected = _expected(np.repeat(targets, row), np.repeat(values, row))
        assert {key: each[index] for key, each in found.items()} == pytest.approx(expected)


def test_what_does_not_vary_has_neither_r2_nor_rank_correlation(data):
    found = regression.values_of(np.full(80, 0.3), data[1])
    assert np.isnan(found["r2"])
    assert np.isnan(found["spearman"])
    assert np.isnan(regression.spearman(data[0], np.full(80, 0.3)))
