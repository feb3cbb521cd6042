import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import bags

SLIDES = np.array(["b", "a", "b", "c", "b"])
FEATURES = np.arange(10, dtype=np.float32).reshape(5, 2)


def test_bags_hold_each_slides_patches_and_say_which_rows_they_were():
    found = bags.bags_of(FEATURES, SLIDES)
    assert found.names.tolist() == ["a", "b", "c"]
    assert found.rows.tolist() == [[1, -1, -1], [0, 2, 4], [3, -1, -1]]
    np.testing.assert_array_equal(found.mask, found.rows >= 0)
    np.testing.assert_array_equal(found.features[1], FEATURES[[0, 2, 4]])
    assert not found.features[~found.mask].any()


def test_large_bags_are_cut_to_a_seeded_draw_of_different_patches():
    rows = [bags.bags_of(FEATURES, SLIDES, most=2, seed=seed).rows for seed in range(20)]
    for each in rows:
        assert len(set(each[1])) == 2
        assert set(each[1]) <= {0, 2, 4}
    assert len({tuple(each[1]) for each in rows}) == 3
    np.testing.assert_array_equal(rows[0], bags.bags_of(FEATURES, SLIDES, most=2, seed=0).rows)


def test_the_mean_of_a_group_is_over_its_own_rows():
    found, names = bags.mean_pool(FEATURES, SLIDES)
    for name, row in zip(names, found, strict=True):
        np.testing.assert_allclose(row, FEATURES[name == SLIDES].mean(0))
    found, names = bags.mean_of_group(FEATURES, SLIDES)
    np.testing.assert_allclose(found[1], FEATURES[[0, 2, 4]].mean(0))


def test_groups_with_two_labels_are_refused_by_name():
    labels, names = bags.one_label(np.array([1, 0, 1, 2, 1]), SLIDES)
    assert (labels.tolist(), names.tolist()) == ([0, 1, 2], ["a", "b", "c"])
    with pytest.raises(InputError, match="b has the labels 1 and 0"):
        bags.one_label(np.array([1, 0, 0, 2, 1]), SLIDES)


@pytest.mark.parametrize(
    ("features", "slides", "most"),
    [(FEATURES, SLIDES[:4], None), (FEATURES[:0], SLIDES[:0], None), (FEATURES, SLIDES, 0)],
)
def test_bags_of_nothing_are_refused(features, slides, most):
    with pytest.raises(InputError):
        bags.bags_of(features, slides, most=most)
