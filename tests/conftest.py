"""What every test runs in: eight simulated CPU devices, a compile cache, strict JAX."""

import argparse
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# TensorFlow reads it at import: no banner between the test results.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Programs that tests start in a subprocess share the cache with the tests themselves.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "histo_simclr_jax_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Half of the tests' time is compiling. LLVM's higher levels add half to that of a train step (CPU
# seconds 14 → 21) and make it no faster; its numbers are the same bits.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import jax
import numpy as np
import pytest
from PIL import Image

jax.config.update("jax_num_cpu_devices", 8)
# A (3,) that meets a (B, H, W, 3) by accident is an error here, not a broadcast.
jax.config.update("jax_numpy_rank_promotion", "raise")

GOLDEN = Path(__file__).parent / "golden"
# Seconds until a program counts as hanging.
HANGING = 600
# Of the small labelled record set; slides a split, patches a slide.
TOY_PX, TOY_SLIDES, TOY_PATCHES = 32, 6, 6


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference values; README.md there says how each was made."""
    return GOLDEN


def pytest_addoption(parser: pytest.Parser) -> None:
    """The whole of tests/faults, and how often programs are killed in it."""
    parser.addoption("--kills", type=int, default=0, help="of tests/faults, in all; 0: the quick")


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


def _module_at(place: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(place.stem, place)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place.parent)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def module_at() -> Callable[[Path], ModuleType]:
    """module_at(file): a module of a folder that is no package, which may import those beside."""
    return _module_at


@pytest.fixture(scope="session")
def dicom_wsi():
    """The module dicom_wsi.py beside this file."""
    return _module_at(Path(__file__).with_name("dicom_wsi.py"))


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object], subprocess.Popen], bool]:
    """wait_for(condition, process): whether it came true before the process ended."""

    def wait(condition: Callable[[], object], process: subprocess.Popen) -> bool:
        end = time.monotonic() + HANGING
        while not condition():
            assert time.monotonic() < end, "timed out"
            if process.poll() is not None:
                return bool(condition())
            time.sleep(0.005)
        return True

    return wait


@pytest.fixture
def fragile_openslide(monkeypatch):
    """An OpenSlide that crashes or hangs on slides of some names, in this process and workers."""
    monkeypatch.syspath_prepend(Path(__file__).with_name("fragile"))


@pytest.fixture(scope="session")
def golden_weights():
    """The recipe of the reference weights: torchvision's names, shapes, made-up values."""
    return _module_at(GOLDEN / "weights.py")


def _write_record_set(folder: Path, label_of: Callable[[str, int, int], str]) -> Path:
    """Class "b" is greener than the others; slides differ in brightness."""
    from histo_simclr.prepare import write

    rng = np.random.default_rng(7)
    for split in ("train", "test"):
        for slide in range(TOY_SLIDES):
            for index in range(TOY_PATCHES):
                label = label_of(split, slide, index)
                base = np.array([150, 90 + 12 * (label == "b"), 160]) + 5 * slide
                pixels = np.clip(base + rng.integers(-50, 50, (TOY_PX, TOY_PX, 3)), 0, 255)
                place = folder / "patches" / split / f"{split}{slide}" / label
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index}.png")
    parser = argparse.ArgumentParser()
    write.add_arguments(parser)
    places = [str(folder / "patches"), "--out", str(folder / "records")]
    described = ["--name", "toy", "--px", str(TOY_PX), "--pattern", "{split}/{slide}/{label}/*"]
    write.run(parser.parse_args([*places, *described, "--workers", "1"]))
    return folder / "records" / "toy"


@pytest.fixture(scope="session")
def write_record_set() -> Callable[[Path, Callable[[str, int, int], str]], Path]:
    """(folder, (split, slide, index) -> label) -> record set of 32 px patches."""
    return _write_record_set


@pytest.fixture(scope="session")
def toy(tmp_path_factory, write_record_set) -> Path:
    """Record set of two classes, six slides of six patches in each split."""
    folder = tmp_path_factory.mktemp("toy")
    return write_record_set(folder, lambda split, slide, index: "ab"[index % 2])
