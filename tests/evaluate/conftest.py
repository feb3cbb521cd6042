"""Reference values of scikit-learn, and a small labelled record set made by the project itself."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

PX = 32
SLIDES = {"train": 6, "test": 6}
PATCHES = 6  # a slide, half of each class


@pytest.fixture(scope="session")
def reference(golden_dir) -> SimpleNamespace:
    """Arrays and numbers of scikit-learn 1.9.1 (tests/golden/evaluate.*)."""
    arrays = dict(np.load(golden_dir / "evaluate.npz"))
    numbers = json.loads((golden_dir / "evaluate.json").read_text())
    return SimpleNamespace(arrays=arrays, numbers=numbers)


def write_patches(folder: Path, label_of=lambda split, slide, index: "ab"[index % 2]) -> None:
    """split/slide/label/index.png: class b is the greener half, slides differ in brightness."""
    rng = np.random.default_rng(7)
    for split, slides in SLIDES.items():
        for slide in range(slides):
            for index in range(PATCHES):
                label = label_of(split, slide, index)
                base = np.array([150, 90 + 50 * (label == "b"), 160]) + 5 * slide
                noise = rng.integers(-50, 50, (PX, PX, 3))
                pixels = np.clip(base + noise, 0, 255).astype(np.uint8)
                place = folder / split / f"{split}{slide}" / label
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / f"{index}.png")


def prepare(folder: Path, out: Path, pattern: str = "{split}/{slide}/{label}/*") -> Path:
    """The record set of a folder of patches, as the command line would write it."""
    import argparse

    from histo_simclr.prepare import write

    parser = argparse.ArgumentParser()
    write.add_arguments(parser)
    arguments = [str(folder), "--name", "toy", "--out", str(out), "--px", str(PX)]
    write.run(parser.parse_args([*arguments, "--pattern", pattern, "--workers", "1"]))
    return out / "toy"


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    """Record set of two classes, six slides in each split, 32 px."""
    folder = tmp_path_factory.mktemp("toy")
    write_patches(folder / "patches")
    return prepare(folder / "patches", folder / "records")
