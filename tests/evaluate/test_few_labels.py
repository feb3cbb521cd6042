import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import few_labels
from histo_simclr.evaluate.folds import grouped_folds


@pytest.fixture(scope="module")
def split():
    """30 patients of 40 patches, three classes of 600, 400 and 200 patches in every patient."""
    labels = np.tile(np.repeat([0, 1, 2], [20, 13, 7]), 30)
    return labels, np.repeat([f"patient:{number}" for number in range(30)], 40)


def test_fractions_are_nested_and_exactly_stratified(split):
    labels, groups = split
    subsets = few_labels.by_fraction(labels, groups, seed=0)
    assert list(subsets) == [0.01, 0.05, 0.1, 0.25, 0.5, 1.0]
    before = np.zeros(len(labels), bool)
    for fraction, chosen in subsets.items():
        assert not (before & ~chosen).any()
        expected = np.floor(fraction * np.bincount(labels) + 0.5)
        np.testing.assert_array_equal(np.bincount(labels[chosen]), expected)
        before = chosen
    assert before.all()


def test_whole_groups_are_used_up_before_the_next_begins(split):
    labels, groups = split
    for fraction, chosen in few_labels.by_fraction(labels, groups, seed=0).items():
        used = np.array([chosen[groups == name].sum() for name in np.unique(groups)])
        # At most the last of each class is cut, and the second where it is not yet its turn.
        assert np.count_nonzero((used > 0) & (used < 40)) <= 4
        assert np.count_nonzero(used) <= np.ceil(fraction * 30) + 1


def test_two_examples_of_a_class_can_be_validated_by_group(split):
    labels, groups = split
    for chosen in few_labels.by_shots(labels, groups, shots=(2, 5), seed=0).values():
        grouped_folds(labels[chosen], groups[chosen], folds=2, seed=0)


def test_shots_are_nested_and_so_many_of_each_class(split):
    labels, groups = split
    subsets = few_labels.by_shots(labels, groups, shots=(1, 5, 20), seed=0)
    for number, chosen in subsets.items():
        np.testing.assert_array_equal(np.bincount(labels[chosen]), [number] * 3)
    assert not (subsets[1] & ~subsets[5]).any()
    assert not (subsets[5] & ~subsets[20]).any()


def test_seeds_draw_other_patients(split):
    first, again, other = (
        few_labels.by_fraction(*split, fractions=(0.1,), seed=seed)[0.1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert set(split[1][first]) != set(split[1][other])


def test_a_fraction_too_small_for_a_class_names_it_and_what_would_do(split):
    labels, groups = split
    with pytest.raises(InputError, match=r"class 2 is 0, fewer than 1; take 0.3 % or more"):
        few_labels.by_fraction(labels, groups, fractions=(0.001,), seed=0)
    with pytest.raises(InputError, match=r"class 2 is 2, fewer than 3; take 1.2 % or more"):
        few_labels.by_fraction(labels, groups, fractions=(0.01,), least=3, seed=0)
    few_labels.by_fraction(labels, groups, fractions=(0.012,), least=3, seed=0)


@pytest.mark.parametrize("fraction", [0, 1.5, float("nan")])
def test_shares_outside_0_to_1_are_refused(split, fraction):
    with pytest.raises(InputError, match="fractions: cannot be"):
        few_labels.by_fraction(*split, fractions=(fraction,), seed=0)


@pytest.mark.parametrize("number", [0, 211])
def test_more_shots_than_the_rarest_class_has_are_refused(split, number):
    with pytest.raises(InputError, match="class 2 has 210 training examples; give 1 to 210"):
        few_labels.by_shots(*split, shots=(number,), seed=0)
