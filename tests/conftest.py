"""What every test runs in: eight simulated CPU devices, a compile cache, strict JAX."""

import importlib.util
import os
import tempfile
from pathlib import Path

# TensorFlow reads it at import: no banner between the test results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Programs that tests start in a subprocess share the cache with the tests themselves.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "histo_simclr_jax_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 8)
# A (3,) that meets a (B, H, W, 3) by accident is an error here, not a broadcast.
jax.config.update("jax_numpy_rank_promotion", "raise")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference values; README.md there says how each was made."""
    return GOLDEN


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Programs first: they take longest, and the other worker fills up with the rest meanwhile."""
    items.sort(key=lambda item: "programs" not in item.path.parts)


@pytest.fixture(scope="session")
def cmu() -> Path:
    """A real slide: Aperio SVS, 2220 × 2967 px, one level of JPEG tiles, 0.499 µm/px, 20x."""
    return Path(__file__).parent / "slides" / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="session")
def noise():
    """noise(height, width): (height, width, 3) uint8 in which no two places are alike."""

    def make(height: int, width: int) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture(scope="session")
def write_tiff():
    """write_tiff(path, levels, mpp=…, ome=…): a lossless pyramid, written by tifffile."""
    import tifffile

    def write(path: Path, levels, *, mpp=0.5, ome=False, tile=(64, 64), **options) -> Path:
        mpp_x, mpp_y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
        tags = {"tile": tile, "photometric": "rgb", "compression": "zlib"} | options
        if mpp_x and not ome:
            tags |= {"resolution": (1e4 / mpp_x, 1e4 / mpp_y), "resolutionunit": "CENTIMETER"}
        metadata = None
        if ome:
            metadata = {"axes": "YXS"}
            if mpp_x:
                metadata |= {"PhysicalSizeX": mpp_x, "PhysicalSizeXUnit": "µm"}
                metadata |= {"PhysicalSizeY": mpp_y, "PhysicalSizeYUnit": "µm"}
        with tifffile.TiffWriter(path, ome=ome) as file:
            below = {"subifds": len(levels) - 1} if ome else {}
            file.write(levels[0], metadata=metadata, **below, **tags)
            for level in levels[1:]:
                file.write(level, subfiletype=1, metadata=None, **tags)
        return path

    return write


@pytest.fixture(scope="session")
def dicom_wsi():
    """The module dicom_wsi.py beside this file (tests are no package)."""
    place = Path(__file__).with_name("dicom_wsi.py")
    spec = importlib.util.spec_from_file_location("dicom_wsi", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
