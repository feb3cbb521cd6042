"""npz files against numpy's own reader, whole and in order."""

import numpy as np
import pytest

from histo_simclr.weights import npz_file


def test_numpy_reads_what_was_written(tmp_path):
    arrays = {"a.b": np.arange(6.0).reshape(2, 3), "n": np.array(3), "text": np.array("é\n")}
    npz_file.write(tmp_path / "a.npz", arrays.items())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert found.files == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


def test_one_array_lives_at_a_time(tmp_path):
    written = []

    def one_by_one():
        for name in "abc":
            # The one before lies on disk when the next is asked for.
            written.append((tmp_path / "a.npz").stat().st_size)
            yield name, np.zeros(1_000_000)

    npz_file.write(tmp_path / "a.npz", one_by_one())
    assert written[1] - written[0] > 7_000_000
    assert written[2] - written[1] > 7_000_000


def test_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        npz_file.write(tmp_path / "a.npz", [("a", np.array([{}]))])
