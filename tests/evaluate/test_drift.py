import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_distances

from histo_simclr.evaluate import drift

MPP = (0.25, 0.5, 1.0)


@pytest.fixture
def table():
    """Features of 20 places at three resolutions; each step moves them by more noise."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(20, 6)) + 0.5
    features = np.concatenate([base + level * rng.normal(size=base.shape) for level in (0, 0.3, 1)])
    return features, np.repeat(MPP, 20), np.tile(np.arange(20).astype(str), 3)


def test_distances_are_scikit_learns(table):
    features, mpp, places = table
    shuffled = np.random.default_rng(1).permutation(60)
    found = drift.drift(features[shuffled], mpp[shuffled], places[shuffled])
    assert found.mpp.tolist() == list(MPP)
    for first in range(3):
        one = features[first * 20 : first * 20 + 20]
        for second in range(3):
            other = features[second * 20 : second * 20 + 20]
            expected = np.diagonal(cosine_distances(one, other)).mean()
            assert found.distance[first, second] == pytest.approx(expected, abs=1e-6)
        among = cosine_distances(one)[~np.eye(20, dtype=bool)].mean()
        assert found.spread[first] == pytest.approx(among, abs=1e-6)
    assert found.distance[0, 1] < found.distance[0, 2]


def test_only_places_seen_at_both_resolutions_count(table):
    features, mpp, places = table
    kept = (mpp < 1) | (places == "3")
    found = drift.drift(features[kept], mpp[kept], places[kept])
    assert found.places.tolist() == [[20, 20, 1], [20, 20, 1], [1, 1, 1]]
    expected = cosine_distances(features[[3]], features[[43]])[0, 0]
    assert found.distance[0, 2] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found.spread[2])


def test_resolutions_without_a_common_place_have_no_distance(table):
    features, mpp, places = table
    kept = (mpp == 0.25) & (places != "3") | (mpp == 0.5) & (places == "3")
    found = drift.drift(features[kept], mpp[kept], places[kept])
    assert np.isnan(found.distance[0, 1])
    assert found.places[0, 1] == 0


def test_nearly_equal_resolutions_are_one(table):
    features, mpp, places = table
    found = drift.drift(features, np.where(places == "3", mpp + 1e-5, mpp), places)
    assert found.mpp.tolist() == list(MPP)


def test_a_place_twice_at_one_resolution_is_refused(table):
    features, mpp, places = table
    with pytest.raises(ValueError, match="twice"):
        drift.drift(features, mpp, np.where(places == "3", "4", places))
