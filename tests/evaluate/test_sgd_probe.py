import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import sgd_probe


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(3), rng.integers(0, 3, 147)])
    centers = rng.normal(size=(3, 5))
    test = centers[rng.integers(0, 3, 60)] + rng.normal(size=(60, 5))
    return (centers[labels] + rng.normal(size=(150, 5))).astype(np.float32), labels, test


def _train(data, **changed):
    train, labels, test = data
    settings = {"num_classes": 3, "seed": 0, "batch_size": 40} | {
        key: value for key, value in sgd_probe.RECIPE.items() if key != "batch_size"
    }
    return sgd_probe.train_probe(train, test, labels=labels, **(settings | changed))


def test_trained_long_with_decay_it_reaches_scikit_learns_optimum(data):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, labels, test = data
    decay = 0.02  # of the mean loss: C n = 1 / decay. The bias is decayed too, so classes balance.
    kept = np.concatenate([np.flatnonzero(labels == c)[:40] for c in range(3)])
    balanced = (train[kept], labels[kept], test)
    found = _train(
        balanced, epochs=2000, batch_size=10**6, rate=0.02, decay=decay, standardize=True
    )
    scaler = StandardScaler().fit(train[kept])
    design = np.c_[scaler.transform(train[kept]), np.ones(120)]
    judge = LogisticRegression(
        C=1 / (decay * 120), fit_intercept=False, tol=1e-8, max_iter=1000
    ).fit(design, labels[kept])
    expected = judge.predict_proba(np.c_[scaler.transform(test), np.ones(60)])
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)


def test_one_batch_of_one_epoch_is_adams_first_step(data):
    """Adam's first step is rate times the gradient's sign, whatever its size (arXiv 1412.6980)."""
    from scipy.special import softmax

    train, labels, test = data
    found = _train(data, epochs=1, batch_size=150, decay=0.0, rate=0.01)
    residual = np.full((150, 3), 1 / 3) - np.eye(3)[labels]
    weight, bias = -0.01 * np.sign(residual.T @ train), -0.01 * np.sign(residual.sum(0))
    np.testing.assert_allclose(
        found.probabilities, softmax(test @ weight.T + bias, axis=1), atol=1e-6
    )
    np.testing.assert_allclose(found.losses, [np.log(3)], rtol=1e-6)


def test_an_incomplete_last_batch_counts_each_example_once(data):
    # At a rate of next to nothing all examples are judged by the same weights of 0.
    found = _train(data, epochs=2, batch_size=40, rate=1e-12)
    np.testing.assert_allclose(found.losses, np.log(3), rtol=1e-6)


def test_the_seed_orders_the_examples(data):
    first, again, other = (_train(data, epochs=3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert np.abs(first.probabilities - other.probabilities).max() > 1e-6


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"rate": 0.0}, {"decay": -1}])
def test_settings_that_mean_nothing_are_refused_by_name(data, wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}: cannot be"):
        _train(data, **wrong)
