import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate.folds import grouped_folds, target_folds


def _patients(seed, patients=24, classes=4):
    """Patients of 1 to 30 patches, each mostly of one class."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, patients)
    mostly = np.repeat(rng.integers(0, classes, patients), sizes)
    labels = np.where(rng.random(len(mostly)) < 0.8, mostly, rng.integers(0, classes, len(mostly)))
    return labels, np.repeat([f"patient:{number}" for number in range(patients)], sizes)


@pytest.mark.parametrize("seed", range(8))
def test_groups_never_straddle_and_every_class_is_outside_each_fold(seed):
    labels, groups = _patients(seed)
    fold = grouped_folds(labels, groups, folds=5, seed=seed)
    assert set(fold) == set(range(5))
    for name in np.unique(groups):
        assert len(set(fold[groups == name])) == 1
    for number in range(5):
        assert set(labels[fold != number]) == set(labels)


def test_many_small_groups_are_spread_evenly():
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, 23, 400)).astype(str)
    labels = rng.integers(0, 3, 400)
    part = grouped_folds(labels, groups, folds=5, seed=0)
    for group in np.unique(groups):
        assert len(np.unique(part[groups == group])) == 1
    counts = np.array([np.bincount(labels[part == number], minlength=3) for number in range(5)])
    # 27 examples of each label a part; a group has 6 of each.
    assert counts.min() > 18
    assert counts.max() < 36


def _unevenness(labels, fold):
    shares = [np.bincount(labels[fold == f], minlength=4) / np.bincount(labels) for f in range(5)]
    return np.std(shares, axis=0).mean()


def test_classes_are_spread_about_as_evenly_as_by_scikit_learn():
    from sklearn.model_selection import StratifiedGroupKFold

    ours, theirs = [], []
    for seed in range(20):
        labels, groups = _patients(seed)
        ours.append(_unevenness(labels, grouped_folds(labels, groups, folds=5, seed=0)))
        fold = np.empty(len(labels), int)
        for number, (_, held) in enumerate(StratifiedGroupKFold(5).split(labels, labels, groups)):
            fold[held] = number
        theirs.append(_unevenness(labels, fold))
    assert np.mean(ours) < 1.1 * np.mean(theirs)


def test_the_seed_deals_out_examples_of_their_own_and_equal_seeds_deal_alike():
    labels, alone = np.arange(60) % 3, np.arange(60).astype(str)
    first, again, other = (grouped_folds(labels, alone, folds=5, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    for number in range(5):
        np.testing.assert_array_equal(np.bincount(labels[first == number]), [4, 4, 4])


def test_fewer_groups_than_folds_are_one_fold_each():
    labels, groups = np.array([0, 1, 0, 1, 0, 1]), np.array(["a", "a", "b", "b", "c", "c"])
    fold = grouped_folds(labels, groups, folds=5, seed=0)
    assert sorted(set(fold)) == [0, 1, 2]
    assert sorted(set(target_folds(labels, groups, folds=5, seed=0))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "said"),
    [
        ([0, 1, 0, 1], ["a"] * 4, 2, r"only one group \(a\)"),
        ([0, 1, 0, 2], ["a", "a", "b", "b"], 2, "class 1 cannot be both .* of one group"),
        ([0, 1, 0, 1], ["a", "b", "b", "a"], 1, "folds: cannot be 1"),
        ([0, 1], ["a", "b", "c"], 2, "3 groups for 2 examples"),
    ],
)
def test_what_allows_no_folds_is_said_in_one_line(labels, groups, folds, said):
    with pytest.raises(InputError, match=said):
        grouped_folds(np.array(labels), np.array(groups), folds=folds, seed=0)


def test_folds_of_targets_keep_groups_whole_and_hold_low_and_high_targets():
    rng = np.random.default_rng(0)
    groups = np.repeat([f"patient:{number}" for number in range(20)], 5)
    targets = np.repeat(np.arange(20) / 20, 5) + rng.random(100) / 100
    fold = target_folds(targets, groups, folds=4, seed=3)
    for name in np.unique(groups):
        assert len(set(fold[groups == name])) == 1
    for number in range(4):
        assert (fold == number).sum() == 25
        assert targets[fold == number].min() < 0.25
        assert targets[fold == number].max() > 0.75
