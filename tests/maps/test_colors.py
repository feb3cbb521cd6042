import numpy as np
import pytest

from histo_simclr.evaluate import clusters
from histo_simclr.maps import colors


@pytest.fixture
def features(tissue_features):
    return tissue_features(300, seed=1)


@pytest.fixture
def fitted(features):
    return colors.fit(features, cluster_count=3, seed=0)


def test_clusters_are_those_of_k_means_the_largest_first(features, fitted):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    reference = clusters.kmeans(unit, count=3, restarts=4, max_iterations=100, seed=0)
    found = colors.assign(fitted, features)
    sizes = np.bincount(found, minlength=3)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    # Equal partitions: each pair of names occurs together or not at all.
    assert len(set(zip(found.tolist(), reference.assignment.tolist(), strict=True))) == 3


def test_components_are_those_of_a_singular_value_decomposition(features, fitted):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centered = unit.astype(np.float64) - unit.mean(0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centered, full_matrices=False)
    expected = left[:, :3] * singular[:3]
    found = colors.components(fitted, features)
    signs = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-6)


def test_colors_spread_over_their_range(features, fitted):
    rgb = colors.as_rgb(fitted, colors.components(fitted, features))
    assert rgb.dtype == np.uint8
    assert rgb.min(0).tolist() == [0, 0, 0]
    assert rgb.max(0).tolist() == [255, 255, 255]
    assert ((rgb > 0) & (rgb < 255)).mean() > 0.9


def test_length_of_features_means_nothing(features, fitted):
    lengths = np.random.default_rng(0).uniform(0.1, 9, (len(features), 1)).astype(np.float32)
    longer = features * lengths
    np.testing.assert_array_equal(colors.assign(fitted, longer), colors.assign(fitted, features))
    np.testing.assert_allclose(
        colors.components(fitted, longer), colors.components(fitted, features), atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_patches_that_are_all_alike_have_one_cluster_and_gray(count):
    alike = np.ones((count, 4), np.float32)
    fitted = colors.fit(alike, cluster_count=3, seed=0)
    assert len(fitted.centers) == 1
    assert colors.assign(fitted, alike).tolist() == [0] * count
    assert np.unique(colors.as_rgb(fitted, colors.components(fitted, alike))).tolist() == [128]


def test_equal_arguments_give_equal_results(features, fitted):
    again = colors.fit(features, cluster_count=3, seed=0)
    for one, other in zip(fitted, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_typical_patches_are_the_nearest_of_their_cluster(features, fitted):
    found = colors.typical(fitted, features, count=2)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for number, rows in enumerate(found):
        members = np.flatnonzero(colors.assign(fitted, features) == number)
        far = np.linalg.norm(unit[members] - fitted.centers[number], axis=1)
        assert rows.tolist() == members[np.argsort(far)[:2]].tolist()


def test_no_two_clusters_share_a_color():
    assert len(set(map(colors.rgb_of, colors.PALETTE))) == len(colors.PALETTE)
    assert colors.rgb_of("#0072B2") == (0, 114, 178)
