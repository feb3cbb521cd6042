import h5py
import numpy as np
import pytest

from histo_simclr.embed import feature_file
from histo_simclr.embed.feature_file import Content, FeatureFile
from histo_simclr.errors import InputError


def content(count):
    coords = np.arange(2 * count).reshape(count, 2)
    about = {"model_sha256": "abc", "mean": np.array([0.5, 0.6, 0.7])}
    return Content(coords, np.ones(count, np.float32), {"settings": "s"}, about)


def features(count, dimensions=8):
    return np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)


@pytest.mark.parametrize("step", [1, 7, 1024, 3000])
def test_rows_are_as_given_however_they_come(tmp_path, step):
    rows = features(3000)
    file = FeatureFile(tmp_path / "a.h5", content(3000), 8, "float32")
    for start in range(0, 3000, step):
        part = rows[start : start + step]
        assert file.append(part) == (start + step >= 3000)
        assert not (tmp_path / "a.h5").exists()
    file.finish()
    with h5py.File(tmp_path / "a.h5", "r") as found:
        np.testing.assert_array_equal(found["features"][:], rows)
        assert found["features"].chunks == (1024, 8)
    stored = feature_file.stored(tmp_path / "a.h5")
    assert stored[:5] == (3000, 8, "float32", ("abc", (0.5, 0.6, 0.7), ()), "s")
    np.testing.assert_array_equal(stored.coords, content(3000).coords)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_slide_without_patches_has_a_file(tmp_path):
    FeatureFile(tmp_path / "a.h5", content(0), 8, "float32").finish()
    assert feature_file.stored(tmp_path / "a.h5")[:3] == (0, 8, "float32")


def test_half_precision_is_rounded_to_the_nearest(tmp_path):
    rows = (2.0 ** np.arange(-8, 8) * (1 - 2.0**-13)).astype(np.float32)[:, None]
    file = FeatureFile(tmp_path / "a.h5", content(16), 1, "float16")
    file.append(rows)
    file.finish()
    with h5py.File(tmp_path / "a.h5", "r") as found:
        np.testing.assert_array_equal(found["features"][:], rows.astype(np.float16))


def test_two_processes_do_not_write_one_file(tmp_path):
    first = FeatureFile(tmp_path / "a.h5", content(3), 8, "float32")
    with pytest.raises(InputError, match="another process is writing it"):
        FeatureFile(tmp_path / "a.h5", content(3), 8, "float32")
    first.append(features(3))
    first.finish()
    assert feature_file.stored(tmp_path / "a.h5").count == 3


def test_what_is_abandoned_leaves_nothing(tmp_path):
    file = FeatureFile(tmp_path / "a.h5", content(3), 8, "float32")
    file.append(features(2))
    file.abandon()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["text", "cut", "no features", "rows"])
def test_a_file_that_is_none_counts_as_absent(tmp_path, damage):
    path = tmp_path / "a.h5"
    file = FeatureFile(path, content(3), 8, "float32")
    file.append(features(3))
    file.finish()
    if damage == "text":
        path.write_text("no HDF5")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    else:
        with h5py.File(path, "a") as torn:
            if damage == "rows":
                torn["features"].resize(2, axis=0)
            else:
                del torn["features"]
    assert feature_file.stored(path) is None
    assert feature_file.stored(tmp_path / "b.h5") is None
