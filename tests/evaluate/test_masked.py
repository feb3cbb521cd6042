import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.evaluate import masked
from histo_simclr.prepare import write

PX, IMAGES = 32, 3


def mask_of(split, slide, classes=3):
    """(PX, PX) uint8: each class is there, in stripes that differ between images."""
    return ((np.indices((PX, PX))[slide % 2] // 4 + slide + len(split)) % classes).astype(np.uint8)


def write_set(folder: Path, *, classes=3, masks=True) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for slide in range(IMAGES):
            name = f"{split}/{split}{slide}_a.png"
            pixels = rng.integers(0, 256, (PX, PX, 3), dtype=np.uint8)
            for part, image in (("images", pixels), ("masks", mask_of(split, slide, classes))):
                (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / part / name)
    parser = argparse.ArgumentParser()
    write.add_arguments(parser)
    places = [str(folder / "images"), "--out", str(folder / "records"), "--name", "toy"]
    said = ["--px", str(PX), "--pattern", "{split}/{slide}_*", "--encoding", "png"]
    flags = ["--masks", "../masks/{folder}/{stem}.png", "--mask-classes", "nothing,gland,vessel"]
    write.run(parser.parse_args([*places, *said, *(flags if masks else []), "--workers", "1"]))
    return folder / "records" / "toy"


def test_both_splits_come_whole_and_in_order(tmp_path):
    train, test, names = masked.open_splits(write_set(tmp_path), "train", "test")
    assert names == ["nothing", "gland", "vessel"]
    for split, part in (("train", train), ("test", test)):
        expected = np.stack([mask_of(split, slide) for slide in range(IMAGES)])
        np.testing.assert_array_equal(part.masks, expected)
        assert part.images.shape == (IMAGES, PX, PX, 3)
        assert part.groups.kind == "slide"
        assert [Path(key).name for key in part.keys] == [f"{split}{i}_a.png" for i in range(IMAGES)]


def test_set_without_masks_is_refused(tmp_path):
    with pytest.raises(InputError, match="record set without masks; prepare it with --masks"):
        masked.open_splits(write_set(tmp_path, masks=False), "train", "test")


def test_class_that_no_training_pixel_has_is_refused(tmp_path):
    says = "no pixel of the training split is of class 'vessel'"
    with pytest.raises(InputError, match=says):
        masked.open_splits(write_set(tmp_path, classes=2), "train", "test")


def test_one_split_for_both_is_refused(tmp_path):
    with pytest.raises(InputError, match="are in both train and test"):
        masked.open_splits(write_set(tmp_path), "train", "train")
