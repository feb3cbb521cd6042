import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from histo_simclr.evaluate import neighbors


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 8)), rng.normal(size=(200, 8)) + 0.3


@pytest.mark.parametrize("block", [200 * 7, 16_000_000], ids=["blocks of 7", "one block"])
def test_neighbors_are_scikit_learns(features, block, monkeypatch):
    monkeypatch.setattr(neighbors, "_BLOCK", block)
    queries, gallery = features
    found, cosines = neighbors.nearest(queries, gallery, count=8)
    reference = NearestNeighbors(n_neighbors=8, metric="cosine").fit(gallery)
    distance, expected = reference.kneighbors(queries)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(1 - cosines, distance, atol=1e-6)


def test_own_group_does_not_count(features):
    _, gallery = features
    groups = np.repeat(np.arange(20).astype(str), 10)
    found, _ = neighbors.nearest(
        gallery, gallery, count=5, query_groups=groups, gallery_groups=groups
    )
    assert (groups[found] != groups[:, None]).all()
    table = (
        1
        - NearestNeighbors(metric="cosine")
        .fit(gallery)
        .kneighbors_graph(gallery, 200, mode="distance")
        .toarray()
    )
    table[groups[:, None] == groups] = -2
    np.testing.assert_array_equal(found, np.argsort(-table, axis=1)[:, :5])


def test_where_there_are_too_few_none_is_made_up():
    gallery = np.eye(3)
    groups = np.array(["a", "a", "b"])
    found, cosines = neighbors.nearest(
        gallery, gallery, count=4, query_groups=groups, gallery_groups=groups
    )
    assert found.tolist() == [[2, -1, -1, -1], [2, -1, -1, -1], [0, 1, -1, -1]]
    np.testing.assert_array_equal(np.isnan(cosines), found == -1)


def test_equal_cosines_come_in_the_order_of_the_gallery():
    gallery = np.array([[0, 1], [2, 0], [1, 0], [3, 0]])
    found, _ = neighbors.nearest(np.array([[5, 0]]), gallery, count=3)
    assert found.tolist() == [[1, 2, 3]]
