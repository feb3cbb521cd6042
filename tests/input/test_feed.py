import threading

import numpy as np
import pytest

from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.input import feed, reader


def batch_rows(step: int) -> np.ndarray:
    return (np.arange(16) * 7 + step) % 65


@pytest.mark.parametrize("devices", [1, 8])
def test_labels_travel_with_their_patches(devices, written):
    labels = np.random.default_rng(0).permutation(65).astype(np.int32)
    mesh = meshes.make(devices)
    watch = reader.Watch()
    with feed.global_batches(
        written.rows, batch_rows, start=3, stop=6, mesh=mesh, labels=labels, watch=watch
    ) as batches:
        for step in range(3, 6):
            patches, found = batches.next(None)
            rows = batch_rows(step)
            np.testing.assert_array_equal(patches, [written.pixels(row) for row in rows])
            np.testing.assert_array_equal(found, labels[rows])
            assert found.sharding.is_equivalent_to(meshes.batch_sharding(mesh), 1)
            assert len(found.addressable_shards) == devices
        with pytest.raises(StopIteration):
            batches.next(None)
    assert watch.rows_read == 48


def test_a_feed_closed_early_closes_its_reader(written, monkeypatch):
    closed = []

    def endless(*_, **__):
        try:
            while True:
                yield np.zeros((16, 4, 4, 3), np.uint8)
        finally:
            closed.append(threading.current_thread().name)

    monkeypatch.setattr(reader, "read", endless)
    labels = np.zeros(65, np.int32)
    with feed.global_batches(
        written.rows, batch_rows, start=0, stop=999, mesh=meshes.make(1), labels=labels
    ) as batches:
        batches.next(None)
    assert closed == ["feed"]


def test_a_corrupt_record_is_refused_where_labels_travel(copy):
    copy.flip_byte(7)
    with (
        feed.global_batches(
            copy.rows, batch_rows, start=0, stop=2, mesh=meshes.make(1), labels=np.zeros(65)
        ) as batches,
        pytest.raises(InputError, match="checksum"),
    ):
        batches.next(None)
