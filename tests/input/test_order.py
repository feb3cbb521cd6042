import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.input import order

N, B = 23, 5  # 4 steps an epoch, 3 rows left out


def batch(step: int, seed: int = 7) -> np.ndarray:
    return order.batch_rows(step, seed=seed, n=N, batch_size=B)


def test_an_epoch_is_the_documented_permutation():
    np.testing.assert_array_equal(
        order.epoch_order(7, 2, N), np.random.default_rng([7, 2]).permutation(N)
    )


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_no_patch_is_twice_in_an_epoch(epoch):
    rows = np.concatenate([batch(epoch * 4 + i) for i in range(4)])
    assert len(set(rows)) == len(rows) == 20
    assert rows.min() >= 0
    assert rows.max() < N


def test_epochs_and_seeds_differ():
    assert not np.array_equal(batch(0), batch(4))
    assert not np.array_equal(batch(0), batch(0, seed=8))


def test_every_row_is_left_out_equally_often():
    epochs = 600
    rows = np.concatenate([batch(step) for step in range(4 * epochs)])
    expected, deviation = epochs * 20 / N, np.sqrt(epochs * 20 / N * 3 / N)  # binomial
    assert np.abs(np.bincount(rows, minlength=N) - expected).max() < 5 * deviation


def test_a_late_step_needs_no_earlier_one():
    expected = np.random.default_rng([7, 250_000]).permutation(N)[10:15]
    np.testing.assert_array_equal(batch(1_000_002), expected)


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_hosts_together_read_the_same_global_batch(processes):
    rows = order.batch_rows(3, seed=0, n=100, batch_size=16)
    parts = [order.host_slice(rows, process, processes) for process in range(processes)]
    assert {len(part) for part in parts} == {16 // processes}
    np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_hosts_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(InputError, match="multiple of 3"):
        order.host_slice(np.arange(16), 0, 3)


def test_fewer_patches_than_a_batch_are_refused():
    with pytest.raises(InputError, match=r"batch of 24 .* 23 patches"):
        order.batch_rows(0, seed=0, n=23, batch_size=24)
    assert len(order.batch_rows(0, seed=0, n=23, batch_size=23)) == 23


@pytest.mark.parametrize("n", [1, 7, 8, 9])
def test_evaluation_sees_every_row_once_in_order(n):
    rows, mask = order.sequential(n, 4)
    assert rows.shape == mask.shape == (-(-n // 4), 4)
    np.testing.assert_array_equal(rows[mask], np.arange(n))
    assert rows.max() < n


def test_evaluation_of_nothing_is_refused():
    with pytest.raises(InputError, match="no patches"):
        order.sequential(0, 4)


CLASSES = np.repeat([3, 0, 7], [2, 9, 31])  # numbers need not be 0 to K - 1


def balanced(step: int, seed: int = 7, batch_size: int = 8) -> np.ndarray:
    return order.balanced_rows(step, seed=seed, classes=CLASSES, batch_size=batch_size)


def test_every_class_is_taken_equally_often():
    batches = [balanced(step) for step in range(300)]
    for rows in batches:  # 8 places for 3 classes
        assert sorted(np.unique(CLASSES[rows], return_counts=True)[1]) == [2, 3, 3]
    counts = np.unique(CLASSES[np.concatenate(batches)], return_counts=True)[1]
    np.testing.assert_array_equal(counts, 800)


def test_every_row_of_a_class_is_taken_equally_often():
    rows = np.concatenate([balanced(step) for step in range(300)])
    counts = np.bincount(rows, minlength=len(CLASSES))
    for kind, size in ((3, 2), (0, 9), (7, 31)):
        mine = counts[kind == CLASSES]
        assert mine.min() >= 800 // size
        assert mine.max() <= -(-800 // size)


def test_classes_are_swept_in_new_permutations():
    rows = np.concatenate([balanced(step) for step in range(100)])
    mine = rows[CLASSES[rows] == 0]
    sweeps = mine[: len(mine) // 9 * 9].reshape(-1, 9)
    np.testing.assert_array_equal(np.sort(sweeps, axis=1), np.tile(np.arange(2, 11), (29, 1)))
    assert len(np.unique(sweeps, axis=0)) > 25


def test_a_balanced_batch_is_a_function_of_seed_and_step():
    np.testing.assert_array_equal(balanced(100_003), balanced(100_003))
    assert not np.array_equal(balanced(3), balanced(4))
    assert not np.array_equal(balanced(3), balanced(3, seed=8))


def test_one_class_is_plain_sampling_of_however_few_rows():
    rows = np.concatenate(
        [
            order.balanced_rows(step, seed=0, classes=np.zeros(5, int), batch_size=8)
            for step in range(10)
        ]
    )
    np.testing.assert_array_equal(np.bincount(rows), 16)
