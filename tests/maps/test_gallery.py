import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.maps import gallery


@pytest.fixture
def files(tmp_path, trident, grid, tissue_features):
    sizes = {"a": (2, 2), "b": (5, 4), "c": (10, 10)}
    return [
        trident(tmp_path, name, tissue_features(wide * tall, seed=wide), grid(wide, tall))
        for name, (wide, tall) in sizes.items()
    ]


@pytest.mark.parametrize(
    ("most", "expected"), [(1000, [4, 20, 100]), (40, [4, 18, 18]), (9, [3, 3, 3]), (1, [1, 1, 1])]
)
def test_small_slides_give_all_before_large_ones_are_thinned(files, most, expected):
    found = gallery.collect(files, most=most, seed=0)
    assert np.bincount(found.slide).tolist() == expected
    assert found.counts == [4, 20, 100]
    assert found.slides == ["a", "b", "c"]


def test_rows_coordinates_and_features_belong_together(files, tissue_features, grid):
    found = gallery.collect(files, most=40, seed=0)
    features, coords = tissue_features(100, seed=10), np.array(grid(10, 10))
    mine = found.slide == 2
    np.testing.assert_array_equal(found.coords[mine], coords[found.row[mine]])
    cosines = np.sum(found.unit[mine] * features[found.row[mine]], axis=1)
    lengths = np.linalg.norm(features[found.row[mine]], axis=1)
    np.testing.assert_allclose(cosines, lengths, rtol=1e-5)


def test_of_one_slide_a_patch_is_its_own_group(files):
    alone = gallery.collect(files[2:], most=1000, seed=0)
    assert len(np.unique(alone.groups())) == 100
    assert alone.groups_of(0, np.array([3, 5])).tolist() == [3, 5]
    several = gallery.collect(files, most=1000, seed=0)
    assert several.groups_of(1, np.array([3, 5])).tolist() == [1, 1]


def test_features_of_another_encoder_are_refused(tmp_path, files, trident, grid):
    other = trident(tmp_path, "d", np.ones((4, 7)), grid(2, 2))
    with pytest.raises(InputError, match=r"d\.h5: 7 features a patch, a has 12"):
        gallery.collect([*files, other], most=100, seed=0)
    trident(tmp_path, "d", np.ones((4, 12)), grid(2, 2), model_sha256="cd" * 32)
    with pytest.raises(InputError, match="features of the encoder cdcdcdcdcdcd, a has those of un"):
        gallery.collect([*files, other], most=100, seed=0)


def test_features_of_encoders_of_other_names_are_refused(tmp_path, trident, grid):
    # TRIDENT's files name the encoder, and say nothing of its weights.
    ones = np.ones((4, 12))
    files = [trident(tmp_path, name, ones, grid(2, 2), encoder=f"of_{name}") for name in "ab"]
    with pytest.raises(InputError, match=r"b\.h5: features of of_b, a has those of of_a"):
        gallery.collect(files, most=100, seed=0)


def test_slides_without_any_patch_are_one_clear_line(tmp_path, clam):
    file = clam(tmp_path, "a", np.ones((0, 5)), np.ones((0, 2)))
    with pytest.raises(InputError, match="the slides have no patches"):
        gallery.collect([file], most=100, seed=0)
