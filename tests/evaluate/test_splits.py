import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import splits


def test_group_is_the_patient_else_the_slide_else_the_patch():
    columns = {
        "patient": np.array(["A", "", "", ""], dtype=object),
        "slide": np.array(["1", "1", "2", None], dtype=object),
    }
    groups = splits.groups_of(columns)
    assert groups.names.tolist() == ["patient:A", "slide:1", "slide:2", "example:3"]
    assert (groups.kind, groups.unit, groups.count()) == ("patient", "patient", 4)


def test_patches_without_any_group_are_their_own():
    groups = splits.groups_of({"patient": np.array(["", ""]), "slide": np.array(["", ""])})
    assert (groups.kind, groups.unit, groups.count()) == ("example", "patch", 2)
    splits.check_disjoint(groups, groups, where="set")  # row 0 of train is not row 0 of test


def test_a_group_on_both_sides_is_refused_by_name():
    train, test = (
        splits.Groups(np.array(names), "slide") for names in (["slide:a", "slide:b"], ["slide:b"])
    )
    with pytest.raises(InputError, match=r"^set: slide 'b' .* both train and test; prepare"):
        splits.check_disjoint(train, test, where="set")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["a", "a", "b", "b"], ["a", "c"], "label 'c' occurs in the test split only"),
        (["a", "a", "b"], ["a"], "class 'b' has one example in the training split"),
        (["a", "a"], ["a"], r"only one class \(a\)"),
        (["a", "a", None], ["a"], "label '' is not one of its classes"),
        (["a", "a", "z", "z"], ["a"], "label 'z' is not one of its classes"),
    ],
)
def test_labels_that_would_spoil_the_probe_are_refused(train, test, message):
    train, test = (np.array(part, dtype=object) for part in (train, test))
    with pytest.raises(InputError, match=f"^set: {message}.*; "):
        splits.encode_labels(train, test, ["a", "b", "c"], where="set")


def test_classes_absent_from_training_are_left_out():
    train, test, names = splits.encode_labels(
        np.array(["c", "a", "c", "a"]), np.array(["c"]), ["a", "b", "c"], where="set"
    )
    assert (train.tolist(), test.tolist(), names) == ([1, 0, 1, 0], [1], ["a", "c"])


def test_groups_never_straddle_and_class_shares_come_near():
    rng = np.random.default_rng(0)
    group = rng.integers(40, size=2000)
    labels = (rng.random(2000) < np.linspace(0.1, 0.9, 40)[group]).astype(int)
    held, by_group = splits.grouped_holdout(labels, group.astype(str), fraction=0.2, seed=1)
    assert by_group
    assert not set(group[held]) & set(group[~held])
    for label in (0, 1):
        assert 0.17 < held[labels == label].mean() < 0.23


def test_a_class_in_one_group_stays_in_the_fitted_part():
    group = np.repeat(["p", "q", "r", "s"], 5)
    labels = np.array([0, 0, 0, 1, 1] * 3 + [2] * 5)
    for seed in range(5):
        held, by_group = splits.grouped_holdout(labels, group, fraction=0.3, seed=seed)
        assert by_group
        assert held.sum() == 5
        assert set(labels[~held]) == {0, 1, 2}


def test_without_a_group_to_spare_examples_are_held_out_within_each_class():
    labels = np.repeat([0, 1], 10)
    held, by_group = splits.grouped_holdout(labels, np.repeat(["p", "q"], 10), fraction=0.3, seed=0)
    assert not by_group
    assert [held[labels == label].sum() for label in (0, 1)] == [3, 3]


def test_unknown_groups_hold_out_examples_within_each_class():
    labels = np.array([0] * 50 + [1] * 2)
    held, _ = splits.grouped_holdout(labels, np.arange(52).astype(str), fraction=0.2, seed=0)
    assert [held[labels == label].sum() for label in (0, 1)] == [10, 1]
    again, _ = splits.grouped_holdout(labels, np.arange(52).astype(str), fraction=0.2, seed=0)
    other, _ = splits.grouped_holdout(labels, np.arange(52).astype(str), fraction=0.2, seed=1)
    np.testing.assert_array_equal(held, again)
    assert (held != other).any()
