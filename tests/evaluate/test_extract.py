import io
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from histo_simclr import mesh as meshes
from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract
from histo_simclr.model.resnet import ResNet

VIEW = {"px": 32, "mean": (0.7, 0.5, 0.6), "std": (0.2, 0.25, 0.2)}


@pytest.fixture(scope="module")
def rows(toy):
    return records.load_record_set(toy, "train").rows


@pytest.fixture(scope="module")
def patches(rows):
    """(n, 32, 32, 3) uint8, read without TensorFlow: the JPEG in each record, by Pillow."""
    found = []
    for row in range(len(rows)):
        data = Path(rows.shards[rows.shard[row]]).read_bytes()
        record = data[rows.offset[row] : rows.offset[row] + rows.length[row]]
        found.append(np.asarray(Image.open(io.BytesIO(record[record.index(b"\xff\xd8\xff") :]))))
    return np.stack(found)


@pytest.fixture(scope="module")
def encoder():
    encoder = ResNet("resnet18", rngs=nnx.Rngs(3))
    encoder.eval()
    return encoder


@pytest.fixture(scope="module")
def expected(encoder, patches):
    """The encoder called as it stands, without jit, batches or mesh."""
    return np.asarray(encoder((patches / 255 - VIEW["mean"]).astype(np.float32) / VIEW["std"]))


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 16), (8, 13)])
def test_features_do_not_depend_on_batches_or_devices(devices, batch_size, rows, encoder, expected):
    mesh = meshes.make(devices)
    found = extract.features(encoder, rows, batch_size=batch_size, mesh=mesh, **VIEW)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_color_histogram_is_numpys(rows, patches):
    found = extract.color_histogram(rows, bins=32, batch_size=10)
    expected = [
        np.concatenate([np.histogram(p[..., c], bins=32, range=(0, 256))[0] for c in range(3)])
        for p in patches
    ]
    np.testing.assert_allclose(found, np.array(expected) / 32**2, atol=1e-7)


def test_a_corrupt_record_stops_the_evaluation_instead_of_being_replaced(rows, tmp_path):
    torn = tmp_path / "torn.tfrecord"
    data = bytearray(Path(rows.shards[0]).read_bytes())
    data[rows.offset[2] + rows.length[2] // 2] ^= 1
    torn.write_bytes(bytes(data))
    torn_rows = records.Rows(**rows._asdict() | {"shards": (str(torn), *rows.shards[1:])})
    with pytest.raises(InputError, match=rf"torn.tfrecord.*{rows.offset[2]}"):
        extract.color_histogram(torn_rows, bins=32, batch_size=16)
