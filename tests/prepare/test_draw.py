import numpy as np
import pytest

from histo_simclr.prepare import draw


@pytest.mark.parametrize(
    ("available", "size", "exponent", "expected"),
    [
        ([100, 100, 100], 100, 0.0, [34, 33, 33]),  # remainders equal: the first one's goes first
        ([10, 100, 100], 100, 0.0, [10, 45, 45]),  # the small one is emptied, the rest shared
        ([10, 30, 100], 120, 0.0, [10, 30, 80]),  # emptied one after the other
        ([100, 200, 300], 60, 1.0, [10, 20, 30]),
        ([10, 20, 70], 10, 1.0, [1, 2, 7]),
        ([1, 2, 4], 4, 1.0, [1, 1, 2]),  # 4/7, 8/7, 16/7: floors 0 1 2, the largest remainder 4/7
        ([100, 400, 900], 60, 0.5, [10, 20, 30]),
        ([4, 10_000], 300, 0.5, [4, 296]),  # 300 * 2 / 102 = 5.9 is more than there is
        ([0, 5, 5], 6, 0.0, [0, 3, 3]),
        ([7, 5, 3], 15, 0.5, [7, 5, 3]),
    ],
)
def test_quotas_are_those_worked_out_by_hand(available, size, exponent, expected):
    assert draw.quotas(np.array(available), size, exponent).tolist() == expected


@pytest.mark.parametrize(
    ("available", "size", "exponent", "cap", "expected"),
    [
        ([10_000, 100, 50], 200, 1.0, 200, [197, 2, 1]),  # binds no share: as without it
        ([10_000, 100, 50], 200, 1.0, 197, [197, 2, 1]),
        ([10_000, 100, 50], 90, 1.0, 60, [60, 20, 10]),  # the rest goes 100 : 50
        ([10_000, 2_000, 50], 120, 0.0, 60, [40, 40, 40]),
        ([100, 400, 900], 60, 0.5, 25, [12, 23, 25]),  # 35 shared as 10 : 20: 11.67, 23.33
        ([100, 50], 80, 1.0, 40, [40, 40]),
    ],
)
def test_cap_bounds_shares_worked_out_by_hand(available, size, exponent, cap, expected):
    assert draw.quotas(np.array(available), size, exponent, cap).tolist() == expected


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_quotas_sum_to_the_size_and_never_exceed_what_there_is(exponent):
    generator = np.random.default_rng(1)
    for _ in range(200):
        available = generator.integers(0, 50, generator.integers(1, 20))
        size = int(generator.integers(0, available.sum() + 1))
        quota = draw.quotas(available, size, exponent)
        assert quota.tolist() == draw.quotas(available, size, exponent, 50).tolist()
        assert quota.sum() == size
        assert (quota <= available).all()
        assert (quota >= 0).all()


def test_more_than_there_is_is_refused():
    with pytest.raises(ValueError, match="11 rows wanted of 10"):
        draw.quotas(np.array([4, 6]), 11, 0.0)
    with pytest.raises(ValueError, match="8 rows wanted of 7"):
        draw.quotas(np.array([3, 6]), 8, 0.0, 4)


def test_choice_is_ascending_without_repeats_and_named_by_cohort():
    first = draw.choose(1000, 100, seed=0, cohort="a")
    assert (np.diff(first) > 0).all()
    assert first.max() < 1000
    assert draw.choose(1000, 100, seed=0, cohort="a").tolist() == first.tolist()
    assert draw.choose(1000, 100, seed=0, cohort="b").tolist() != first.tolist()
    assert draw.choose(1000, 100, seed=1, cohort="a").tolist() != first.tolist()


def test_choice_is_uniform():
    counts = sum(
        np.bincount(draw.choose(10, 5, seed=seed, cohort="a"), minlength=10) for seed in range(2000)
    )
    # Binomial(2000, 1/2): standard deviation 22; five of them never happen by chance.
    assert np.abs(counts - 1000).max() < 110


def test_cap_keeps_at_most_so_many_of_each_group_and_all_of_the_unknown():
    group = np.random.default_rng(0).integers(-1, 6, 400)
    is_within = draw.within_cap(group, 30, seed=0, cohort="a")
    kept, there = (
        np.bincount(each + 1, minlength=7).tolist() for each in (group[is_within], group)
    )
    assert kept[0] == there[0] > 30
    assert kept[1:] == [min(count, 30) for count in there[1:]] == [30] * 6
    again = draw.within_cap(group, 30, seed=0, cohort="a")
    assert (is_within == again).all()
    assert (is_within != draw.within_cap(group, 30, seed=0, cohort="b")).any()
    assert (is_within != draw.within_cap(group, 30, seed=1, cohort="a")).any()


def test_cap_chooses_uniformly():
    group = np.array([0, 1, 0, 1, 0, 0])
    counts = sum(
        draw.within_cap(group, 2, seed=seed, cohort="a").astype(int) for seed in range(2000)
    )
    assert counts[[1, 3]].tolist() == [2000, 2000]
    # Binomial(2000, 1/2), as above.
    assert np.abs(counts[[0, 2, 4, 5]] - 1000).max() < 110


def test_first_of_each_keeps_the_earliest():
    is_first = draw.first_of_each(np.array([5, 3, 5, 3, 9], np.uint64))
    assert is_first.tolist() == [True, True, False, False, True]
