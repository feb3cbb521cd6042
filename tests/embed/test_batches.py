"""Batches of patches of several slides, by a program whose answers are known."""

import jax
import numpy as np
import pytest

from histo_simclr import mesh as meshes
from histo_simclr.embed.batches import Batches


@pytest.fixture
def batches():
    """batches(size): its program gives each patch's first pixel; (batches, sizes of its calls)."""
    made = []

    def make(size, devices=1):
        calls = []

        def program(patches):
            calls.append(len(patches))
            return jax.numpy.asarray(patches[:, 0, 0, :], "float32")

        sharding = meshes.batch_sharding(meshes.local(devices))
        made.append(Batches(program, sharding, size, 2))
        return made[-1], calls

    yield make
    for each in made:
        each.close()


def patches(first, count):
    numbers = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None, None], (count, 2, 2, 3))


@pytest.mark.parametrize("size", [1, 4, 7, 64])
@pytest.mark.parametrize("devices", [1, 4])
def test_features_come_back_to_their_owners_in_order(batches, size, devices):
    size = -(-size // devices) * devices
    encoder, calls = batches(size, devices)
    given = [("a", 0, 3), ("a", 3, 9), ("b", 12, 1), ("c", 13, 17)]
    found = []
    for owner, first, count in given:
        found += encoder.put(owner, patches(first, count))
    found += encoder.rest()
    rows = [(owner, row) for owner, features in found for row in features[:, 0].tolist()]
    assert rows == [
        (owner, first + number) for owner, first, count in given for number in range(count)
    ]
    assert {*calls} == {size}
    assert len(calls) == -(-30 // size)


def test_few_batches_wait_however_many_come(batches):
    encoder, calls = batches(2)
    for number in range(20):
        done = list(encoder.put(number, patches(number, 2)))
        # One is computed, one lies ready; what came before them is given out.
        assert len(calls) == number + 1
        assert [owner for owner, _ in done] == ([number - 2] if number >= 2 else [])


def test_the_devices_are_busy_while_they_work_only():
    import time

    def slow(patches):
        def work(rows):
            time.sleep(0.05)
            return rows

        shape = jax.ShapeDtypeStruct((len(patches), 3), "uint8")
        return jax.pure_callback(work, shape, patches[:, 0, 0, :])

    encoder = Batches(jax.jit(slow), meshes.batch_sharding(meshes.local(1)), 2, 2)
    encoder.warm_up()
    start = time.monotonic()
    for number in range(5):
        list(encoder.put("a", patches(number, 2)))
        time.sleep(0.15)  # slow readers
    list(encoder.rest())
    encoder.close()
    assert 0.25 <= encoder.busy <= 0.6 * (time.monotonic() - start)
