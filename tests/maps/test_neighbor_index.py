import sys

import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.maps import neighbor_index
from histo_simclr.maps.neighbor_index import NeighborIndex

COUNT = 4


@pytest.fixture
def gallery(tissue_features):
    return tissue_features(1500, seed=3), np.arange(1500) % 5


@pytest.fixture
def queries(tissue_features):
    return tissue_features(200, seed=4), np.arange(200) % 5


def brute(queries, gallery):
    """Cosines by float64, own groups taken out, sorted."""
    one, other = (
        each[0].astype(np.float64) / np.linalg.norm(each[0].astype(np.float64), axis=1)[:, None]
        for each in (queries, gallery)
    )
    table = one @ other.T
    table[queries[1][:, None] == gallery[1][None]] = -np.inf
    order = np.argsort(-table, axis=1)[:, :COUNT]
    return order, np.take_along_axis(table, order, axis=1)


@pytest.fixture
def by_index(monkeypatch):
    monkeypatch.setattr(neighbor_index, "EXACT_UP_TO", 100)


def test_among_few_the_neighbors_are_exact(gallery, queries):
    rows, cosines = NeighborIndex(*gallery).nearest(*queries, count=COUNT)
    expected, values = brute(queries, gallery)
    assert (rows == expected).mean() > 0.999  # but for ties of float32
    np.testing.assert_allclose(cosines, values, atol=1e-6)


def test_among_many_nearly_all_are_found_with_their_cosines(by_index, gallery, queries):
    rows, cosines = NeighborIndex(*gallery).nearest(*queries, count=COUNT)
    expected, values = brute(queries, gallery)
    pairs = zip(rows.tolist(), expected.tolist(), strict=True)
    recall = sum(len(set(one) & set(other)) for one, other in pairs) / rows.size
    assert recall > 0.98
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert np.median(np.abs(cosines - values)) < 1e-6


def test_no_neighbor_is_of_the_querys_own_slide(by_index, gallery, queries):
    rows, _ = NeighborIndex(*gallery).nearest(*queries, count=COUNT)
    assert (rows >= 0).all()
    assert not (gallery[1][rows] == queries[1][:, None]).any()


def test_where_the_own_slide_is_all_around_the_exact_search_helps(by_index, tissue_features):
    features = tissue_features(600, seed=5)
    slide = np.zeros(600, int)
    slide[[17, 80, 333, 401, 599]] = 1
    queries = features[:50] * 1.01, np.zeros(50, int)
    rows, cosines = NeighborIndex(features, slide).nearest(*queries, count=COUNT)
    expected, values = brute(queries, (features, slide))
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(cosines, values, atol=1e-6)


def test_too_few_patches_of_other_slides_are_minus_one(by_index, tissue_features):
    features, slide = tissue_features(300, seed=6), np.zeros(300, int)
    slide[7] = 1
    rows, cosines = NeighborIndex(features, slide).nearest(
        features[:3], np.zeros(3, int), count=COUNT
    )
    assert rows.tolist() == [[7, -1, -1, -1]] * 3
    assert np.isnan(cosines[:, 1:]).all()


def test_two_indexes_find_the_same(by_index, gallery, queries):
    one, other = (NeighborIndex(*gallery).nearest(*queries, count=COUNT) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_without_the_library_the_way_out_is_said(by_index, gallery, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(InputError, match=r"pip install 'histo-simclr\[look\]'"):
        NeighborIndex(*gallery)
