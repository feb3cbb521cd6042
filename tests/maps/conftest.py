"""H5 files as TRIDENT 0.3.1 and CLAM write them (conventions of their sources), and a tiny look."""

import h5py
import numpy as np
import pytest

MODEL = "ab" * 32


def _trident(folder, slide, features, coords, *, side=64, **more):
    """TRIDENT's feature file: attributes of IO.py's save_h5, None as the text "None"."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"patch_size": 256, "level0_magnification": 20, "target_magnification": 20}
    about |= {"patch_size_level0": side, "overlap": 0, "name": slide, "savetodir": "None"}
    with h5py.File(folder / f"{slide}.h5", "w") as file:
        features = np.asarray(features, np.float32)
        wide = (None, features.shape[1])
        file.create_dataset("features", data=features, maxshape=wide, chunks=(1, wide[1]))
        file.create_dataset("coords", data=np.asarray(coords, np.int64), maxshape=(None, 2))
        file["coords"].attrs.update(about | more)
        file["features"].attrs.update(name=slide, savetodir="None", encoder="resnet18")
    return folder / f"{slide}.h5"


def _clam(folder, slide, features, coords):
    """CLAM's feature file: float32, int32, no attribute."""
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"{slide}.h5", "w") as file:
        file["features"] = np.asarray(features, np.float32)
        file["coords"] = np.asarray(coords, np.int32)
    return folder / f"{slide}.h5"


@pytest.fixture(scope="session")
def trident():
    """trident(folder, slide, features, coords, side=64, **attributes) -> file."""
    return _trident


@pytest.fixture(scope="session")
def clam():
    """clam(folder, slide, features, coords) -> file."""
    return _clam


@pytest.fixture(scope="session")
def grid():
    """grid(columns, rows, step=64) -> (columns * rows, 2), row by row."""

    def make(columns, rows, step=64):
        return [(x * step, y * step) for y in range(rows) for x in range(columns)]

    return make


@pytest.fixture(scope="session")
def tissue_features():
    """tissue_features(n, seed): (n, 12) float32 of three kinds of patches."""

    def make(count, seed):
        rng = np.random.default_rng(seed)
        kinds = np.random.default_rng(99).normal(0, 3, (3, 12)) + 1
        return (kinds[rng.integers(0, 3, count)] + rng.normal(0, 1, (count, 12))).astype("f4")

    return make
