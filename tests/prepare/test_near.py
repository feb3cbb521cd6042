import time

import numpy as np
import pytest

from histo_simclr.prepare import near


def hashes_with_copies(count, seed, bits=64):
    """Different uint64: a quarter of them random, the rest those with 1 to 6 bits turned."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**bits, count // 4, dtype=np.uint64, endpoint=False)
    found = [base]
    for _ in range(3):
        copies = base.copy()
        for _ in range(6):
            turn = rng.random(len(base)) < 0.5
            copies ^= np.where(turn, np.uint64(1) << rng.integers(0, 64, len(base), np.uint64), 0)
        found.append(copies)
    return rng.permutation(np.unique(np.concatenate(found)))


def all_pairs(hashes, distance):
    """Every pair by comparing all with all, with Python's own integers."""
    values = [int(value) for value in hashes]
    return {
        (i, j): bits
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (bits := (values[i] ^ values[j]).bit_count()) <= distance
    }


@pytest.mark.parametrize("distance", range(1, near.MAX_DISTANCE + 1))
def test_pairs_are_those_of_comparing_all_with_all(distance):
    hashes = hashes_with_copies(800, distance)
    found, apart, is_whole = near.pairs(hashes, distance)
    expected = all_pairs(hashes, distance)
    assert len(expected) > 50
    assert is_whole
    assert dict(zip(map(tuple, found.tolist()), apart.tolist(), strict=True)) == expected


@pytest.mark.parametrize("agreeing", [1, 2, 3])
def test_pairs_do_not_depend_on_how_the_bits_are_blocked(monkeypatch, agreeing):
    hashes = hashes_with_copies(400, 7)
    monkeypatch.setattr(near.math, "comb", lambda blocks, k: 1.0 if k == agreeing else 1e30)
    found, _, _ = near.pairs(hashes, 3)
    assert set(map(tuple, found.tolist())) == set(all_pairs(hashes, 3))


def test_hashes_that_agree_in_most_bits_are_all_compared():
    """As of blank patches: long runs of equal blocks."""
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**12, 600).astype(np.uint64))
    found, _, _ = near.pairs(hashes, 4)
    assert set(map(tuple, found.tolist())) == set(all_pairs(hashes, 4))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_hashes(count):
    hashes = np.array([5, 4], np.uint64)[:count]
    found, apart, _ = near.pairs(hashes, 1)
    assert found.tolist() == [[0, 1]][: max(count - 1, 0)]
    assert apart.tolist() == [1][: max(count - 1, 0)]


@pytest.mark.parametrize("seed", range(5))
def test_rows_kept_are_those_of_going_through_them_in_order(seed):
    rng = np.random.default_rng(seed)
    count, fixed = 200, 20
    rows = rng.integers(0, count, (300, 2))
    rows = np.unique(np.sort(rows[rows[:, 0] != rows[:, 1]], axis=1), axis=0)
    expected = []
    for row in range(count):
        neighbors = set(rows[rows[:, 1] == row][:, 0].tolist())
        if row < fixed or not neighbors & set(expected):
            expected.append(row)
    found = near.kept(rows, np.arange(count) < fixed)
    assert np.flatnonzero(found).tolist() == expected


def test_a_chain_keeps_every_second_row():
    chain = np.stack([np.arange(9), np.arange(1, 10)], axis=1)
    assert near.kept(chain, np.zeros(10, bool)).tolist() == [True, False] * 5


def test_many_hashes_are_not_compared_all_with_all():
    hashes = hashes_with_copies(200_000, 0)
    start = time.process_time()
    found, _, is_whole = near.pairs(hashes, 4)
    assert is_whole
    # 0.5 CPU seconds when written; all pairs would take minutes.
    assert time.process_time() - start < 10
    assert len(found) > 50_000


@pytest.mark.parametrize(
    "bound", [{"MOST_PAIRS": 5_000}, {"MOST_COMPARED": 20_000}], ids=["pairs", "comparisons"]
)
def test_hashes_in_a_cluster_are_compared_up_to_a_bound_and_so_said(monkeypatch, bound):
    """As of blank patches: 2,000 that vary in 12 bits have 330,000 pairs."""
    rng = np.random.default_rng(0)
    hashes = rng.permutation(2**12)[:2000].astype(np.uint64)
    whole, _, is_whole = near.pairs(hashes, 4)
    assert is_whole
    for name, value in bound.items():
        monkeypatch.setattr(near, name, value)
    found, apart, is_whole = near.pairs(hashes, 4)
    assert not is_whole
    assert len(found) < len(whole) / 4
    assert set(map(tuple, found.tolist())) < set(map(tuple, whole.tolist()))
    assert (apart == np.bitwise_count(hashes[found[:, 0]] ^ hashes[found[:, 1]])).all()
    # What stays is less than all, and whatever is dropped has a near one that stays.
    stays = near.kept(found, np.zeros(len(hashes), bool))
    assert stays.sum() < 1500
    for row in np.flatnonzero(~stays):
        assert (np.bitwise_count(hashes[stays] ^ hashes[row]) <= 4).any()


@pytest.mark.parametrize("distance", [1, 4, near.MAX_DISTANCE])
def test_pairs_across_two_sets_are_those_of_comparing_all_with_all(distance):
    hashes = hashes_with_copies(800, distance)
    first, second = hashes[:300], hashes[250:]
    found, apart = near.across(first, second, distance)
    expected = {
        (i, j): bits
        for i, one in enumerate(first.tolist())
        for j, other in enumerate(second.tolist())
        if (bits := (one ^ other).bit_count()) <= distance
    }
    assert len(expected) > 50
    assert dict(zip(map(tuple, found.tolist()), apart.tolist(), strict=True)) == expected
    assert found.tolist() == sorted(found.tolist())


@pytest.mark.parametrize(("count", "others"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_is_near_nothing(count, others):
    hashes = np.arange(3, dtype=np.uint64)
    found, apart = near.across(hashes[:count], hashes[:others], 4)
    assert found.shape == (0, 2)
    assert apart.shape == (0,)
