"""Reference values of scikit-learn, and a small labelled record set made by the project itself."""

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

PX = 32
SLIDES, PATCHES = 6, 6  # slides a split, patches a slide


@pytest.fixture(scope="session")
def reference(golden_dir) -> SimpleNamespace:
    """Arrays and numbers of scikit-learn 1.9.1 (tests/golden/evaluate.*)."""
    arrays = dict(np.load(golden_dir / "evaluate.npz"))
    numbers = json.loads((golden_dir / "evaluate.json").read_text())
    return SimpleNamespace(arrays=arrays, numbers=numbers)


def _write_record_set(folder: Path, label_of: Callable[[str, int, int], str]) -> Path:
    """Class "b" is greener than the others; slides differ in brightness."""
    from histo_simclr.prepare import write

    rng = np.random.default_rng(7)
    for split in ("train", "test"):
        for slide in range(SLIDES):
            for index in range(PATCHES):
                label = label_of(split, slide, index)
                base = np.array([150, 90 + 12 * (label == "b"), 160]) + 5 * slide
                pixels = np.clip(base + rng.integers(-50, 50, (PX, PX, 3)), 0, 255)
                place = folder / "patches" / split / f"{split}{slide}" / label
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index}.png")
    parser = argparse.ArgumentParser()
    write.add_arguments(parser)
    places = [str(folder / "patches"), "--out", str(folder / "records")]
    described = ["--name", "toy", "--px", str(PX), "--pattern", "{split}/{slide}/{label}/*"]
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


@pytest.fixture(scope="session")
def suite_folder():
    """The module suite_folder.py beside this file (tests are no package)."""
    place = Path(__file__).with_name("suite_folder.py")
    spec = importlib.util.spec_from_file_location("suite_folder", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_sample():
    """make_sample(task=…, label=…, group=…, …): patches to look at, of noise unless given."""
    from histo_simclr.evaluate.sample_patches import Sample

    def make(task, label, group, *, split=None, cohort=None, stain=None, mpp=None, patches=None):
        count = len(task)
        noise = np.random.default_rng(5).integers(0, 256, (count, 16, 16, 3), np.uint8)
        return Sample(
            patches=noise if patches is None else patches,
            task=task,
            split=np.full(count, "test") if split is None else split,
            row=np.arange(count),
            cohort=task if cohort is None else cohort,
            stain=np.full(count, "H&E") if stain is None else stain,
            organ=np.full(count, ""),
            mpp=np.full(count, 0.5) if mpp is None else mpp,
            label=label,
            group=group,
        )

    return make
