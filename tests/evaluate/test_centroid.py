import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import centroid


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(5), rng.integers(0, 5, 95)])
    centers = rng.normal(size=(5, 6))
    test = centers[rng.integers(0, 5, 200)] + rng.normal(size=(200, 6))
    return centers[labels] + rng.normal(size=(100, 6)), labels, test


def _predict(data, metric, scale=1.0, shift=0.0, temperature=0.1):
    train, labels, test = data
    return centroid.predict(
        scale * train + shift, scale * test + shift, labels=labels, num_classes=5, metric=metric,
        temperature=temperature,
    )  # fmt: skip


def test_the_most_probable_class_is_scikit_learns_nearest_centroid(data):
    from sklearn.neighbors import NearestCentroid
    from sklearn.preprocessing import normalize

    train, labels, test = data
    judge = NearestCentroid(metric="euclidean")
    expected = judge.fit(train, labels).predict(test)
    np.testing.assert_array_equal(_predict(data, "euclidean").argmax(1), expected)
    # Between unit vectors the nearest by distance is the most similar by cosine.
    judge.fit(normalize(train), labels)
    judge.centroids_ = normalize(judge.centroids_)
    expected = judge.predict(normalize(test))
    np.testing.assert_array_equal(_predict(data, "cosine").argmax(1), expected)


def test_probabilities_are_the_softmax_of_scikit_learns_similarities(data):
    from scipy.special import softmax
    from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances
    from sklearn.preprocessing import normalize

    train, labels, test = data
    unit = normalize(train)
    means = [np.stack([part[labels == c].mean(0) for c in range(5)]) for part in (unit, train)]
    expected = softmax(cosine_similarity(test, means[0]) / 0.1, axis=1)
    np.testing.assert_allclose(_predict(data, "cosine"), expected, rtol=1e-9)
    spread = train.var(0).sum()
    expected = softmax(-(euclidean_distances(test, means[1]) ** 2) / spread / 0.1, axis=1)
    np.testing.assert_allclose(_predict(data, "euclidean"), expected, rtol=1e-9)


def test_neither_scale_nor_shift_of_features_changes_euclidean_probabilities(data):
    expected = _predict(data, "euclidean")
    np.testing.assert_allclose(_predict(data, "euclidean", 1e3, 1e6), expected, rtol=1e-6)


@pytest.mark.parametrize(("metric", "temperature"), [("manhattan", 0.1), ("cosine", 0.0)])
def test_settings_that_mean_nothing_are_refused(data, metric, temperature):
    with pytest.raises(InputError, match="cannot be"):
        _predict(data, metric, temperature=temperature)
