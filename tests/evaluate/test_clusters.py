import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from histo_simclr.evaluate import clusters


@pytest.mark.parametrize("offset", [0, 1000])
def test_inertia_is_scikit_learns(offset):
    """Blobs that touch; far from the origin float32 would lose the distances."""
    features, _ = make_blobs(400, 8, centers=5, cluster_std=3.0, random_state=0)
    features = features + offset
    found = clusters.kmeans(features, count=5, restarts=8, max_iterations=100, seed=0)
    expected = KMeans(5, n_init=8, random_state=0).fit(features)
    assert found.inertia == pytest.approx(expected.inertia_, rel=1e-4)
    assert adjusted_rand_score(found.assignment, expected.labels_) > 0.99
    distance = np.sum((features - found.centers[found.assignment]) ** 2)
    assert found.inertia == pytest.approx(distance, rel=1e-3)


def test_equal_seeds_give_equal_clusters():
    features, _ = make_blobs(200, 4, centers=4, cluster_std=4.0, random_state=1)
    first, again, other = (
        clusters.kmeans(features, count=4, restarts=1, max_iterations=3, seed=seed)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.assignment, again.assignment)
    assert (first.assignment != other.assignment).any()


def test_more_clusters_than_different_rows_leave_some_empty():
    features = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    found = clusters.kmeans(features, count=4, restarts=2, max_iterations=10, seed=0)
    assert found.inertia == pytest.approx(0, abs=1e-6)
    # An empty cluster stays where it started.
    assert {tuple(center) for center in found.centers.tolist()} == {(1, 0), (0, 1)}
    assert len(np.unique(found.assignment[:5])) == len(np.unique(found.assignment[5:])) == 1


def test_typical_rows_are_the_nearest_of_their_own_cluster():
    features = np.array([[0.0], [1.0], [3.0], [10.0], [10.5]])
    centers = np.array([[1.2], [10.4], [99.0]], np.float32)
    given = clusters.Clusters(np.array([0, 0, 0, 1, 1]), centers, 0.0)
    assert clusters.typical(features, given, count=3).tolist() == [
        [1, 0, 2],
        [4, 3, -1],
        [-1, -1, -1],
    ]
