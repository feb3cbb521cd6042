import threading
import time

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from histo_simclr.errors import InputError
from histo_simclr.input import device


@pytest.fixture(scope="module")
def sharding() -> NamedSharding:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "feed"]


def host_batches(count: int, seconds: float = 0.0):
    for step in range(count):
        time.sleep(seconds)
        yield np.full((16, 4, 4, 3), step, np.uint8)


class Busy:
    """Stands for the output of a step that runs for some seconds more."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def is_ready(self) -> bool:
        return time.perf_counter() >= self.end


def test_batches_arrive_in_order_and_sharded(sharding):
    with device.Feed(host_batches(20), sharding) as feed:
        for step in range(20):
            batch = feed.next(None)
            assert batch.sharding.is_equivalent_to(sharding, batch.ndim)
            assert batch.addressable_shards[0].data.shape == (2, 4, 4, 3)
            np.testing.assert_array_equal(batch, np.full((16, 4, 4, 3), step))
        for _ in range(2):
            with pytest.raises(StopIteration):
                feed.next(None)


def test_transfer_counts_as_explicit(sharding):
    """The training loop forbids implicit transfers in all threads."""
    before = jax.config.jax_transfer_guard
    jax.config.update("jax_transfer_guard", "disallow")
    try:
        with device.Feed(host_batches(2), sharding) as feed:
            batch = feed.next(None)
            assert jax.device_get(feed.next(batch)).max() == 1
    finally:
        jax.config.update("jax_transfer_guard", before)


def test_fast_input_is_never_waited_for(sharding):
    with device.Feed(host_batches(30), sharding) as feed:
        for _ in range(10):
            feed.next(None)
            time.sleep(0.05)
        assert feed.wait_fraction() < 0.1


def test_slow_input_is_waited_for(sharding):
    with device.Feed(host_batches(5, seconds=0.2), sharding) as feed:
        for _ in range(5):
            feed.next(None)
        assert feed.wait_fraction() > 0.5
        assert feed.wait_fraction() == 0  # since the last call


def test_waiting_while_the_device_works_costs_nothing(sharding):
    with device.Feed(host_batches(5, seconds=0.05), sharding) as feed:
        for _ in range(5):
            feed.next(Busy(1000))
        assert feed.wait_fraction() == 0


def test_waiting_counts_from_the_end_of_the_step(sharding):
    """A batch every 300 ms, steps of 100 ms: the device idles two thirds of the time."""
    with device.Feed(host_batches(5, seconds=0.3), sharding) as feed:
        for _ in range(5):
            feed.next({"loss": Busy(0.1), "step": 3})
        assert 0.4 < feed.wait_fraction() < 0.8


def test_start_up_is_not_waiting(sharding):
    with device.Feed(host_batches(2, seconds=0.2), sharding) as feed:
        assert feed.wait_fraction() == 0
        feed.next(None)
        assert feed.wait_fraction() == 0


def test_exceptions_of_the_thread_surface_after_the_batches_before(sharding):
    def torn():
        yield from host_batches(2)
        raise InputError("shard is truncated", where="a.tfrecord, offset 12", way_out="copy it")

    with device.Feed(torn(), sharding) as feed:
        for step in range(2):
            assert int(feed.next(None)[0, 0, 0, 0]) == step
        for _ in range(2):
            with pytest.raises(InputError, match=r"a\.tfrecord, offset 12"):
                feed.next(None)


def test_batch_that_does_not_divide_surfaces(sharding):
    with (
        device.Feed(iter([np.zeros((15, 2), np.uint8)]), sharding) as feed,
        pytest.raises(ValueError, match="evenly divide"),
    ):
        feed.next(None)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_close_ends_the_thread_and_the_source(sharding, taken):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield np.zeros((8, 2), np.uint8)
        finally:
            closed.set()

    feed = device.Feed(endless(), sharding)
    for _ in range(taken):
        feed.next(None)
    feed.close()
    feed.close()
    assert closed.is_set()
    with pytest.raises(StopIteration):
        feed.next(None)
