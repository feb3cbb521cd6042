"""Against the library `safetensors`, which reads what we write."""

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from histo_simclr.weights import foreign, safetensors_file

METADATA = {"format": "pt", "text": 'µ "quoted" \\ \n', "b": "2", "a": "1"}


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {
        "odd": rng.normal(size=(3, 5)).astype(np.float32),
        "count": np.array(7, np.int64),
        "turned": rng.normal(size=(4, 3, 2)).astype(np.float32).transpose(2, 0, 1),
        "empty": np.zeros((0, 3), np.float32),
    }


def test_the_library_reads_the_same_bits_and_text(tensors, tmp_path):
    file = tmp_path / "x.safetensors"
    safetensors_file.write(file, tensors, METADATA)
    found = safetensors.numpy.load_file(file)
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with safetensors.safe_open(file, "numpy") as opened:
        assert opened.metadata() == METADATA


def test_the_layout_is_the_librarys_own(tensors, tmp_path):
    """Byte for byte, with the metadata that leaves its writer no choice."""
    metadata = {"format": "pt"}
    safetensors_file.write(tmp_path / "ours", tensors, metadata)
    whole = {name: array.copy() for name, array in tensors.items()}
    assert (tmp_path / "ours").read_bytes() == safetensors.numpy.save(whole, metadata)


def test_a_dtype_without_a_code_is_refused(tmp_path):
    with pytest.raises(KeyError):
        safetensors_file.write(tmp_path / "x", {"x": np.zeros(2, np.float16)}, {})


def test_a_header_whose_length_looks_like_a_pickle_is_still_one(tmp_path):
    file, text = tmp_path / "weights", ""
    while True:
        safetensors_file.write(file, {"x": np.ones(3, np.float32)}, {"text": text})
        if file.read_bytes()[:1] == b"\x80":
            break
        text += "x" * 8
    contents = foreign.tensors_of(file)
    assert contents.format == "safetensors"
    np.testing.assert_array_equal(contents.tensors["x"], np.ones(3, np.float32))
