"""The Data Science Bowl's stained images with one mask a nucleus → one mask an image.

  python data/tasks/dsb2018.py RAW OUT

RAW holds the unpacked stage1_train: ID/images/ID.png and ID/masks/*.png. Gray images, which are
those of fluorescence, are left out. In OUT: images/ID.png, and masks/ID.png of 16 bit, 0 where no
nucleus is and 1, 2, … for the nuclei.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    """Writes the images that are stained, with their masks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for name in ("images", "masks"):
        (args.out / name).mkdir(parents=True, exist_ok=True)
    paths = sorted(args.raw.glob("*/images/*.png"))
    if not paths:
        raise SystemExit(f"error: no ID/images/ID.png in {args.raw}; unpack stage1_train.zip there")
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        if (image == image[..., :1]).all():
            continue
        merged = np.zeros(image.shape[:2], np.uint16)
        nuclei = sorted(path.parents[1].glob("masks/*.png"))
        for number, nucleus in enumerate(nuclei, 1):
            merged[np.asarray(Image.open(nucleus).convert("L")) > 0] = number
        Image.fromarray(image).save(args.out / "images" / path.name)
        Image.fromarray(merged).save(args.out / "masks" / path.name)


if __name__ == "__main__":
    main()
