"""Gleason2019's cores and the maps of six pathologists → patches in folders of their classes.

  python data/tasks/gleason2019.py RAW OUT

RAW holds the unpacked archives: "Train Imgs" with slide001_core003.jpg, and Maps1_T to Maps6_T with
slide001_core003_classimg_nonconvex.png for the cores that this pathologist saw. A patch has the
class that most votes of its pixels have, if that is at least half of them; the others are left out.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 448  # source pixels, about 0.25 µm each
# Of the maps' values as their users read them: 0 is no tissue, 1 and 6 are benign.
CLASSES = {"background": (0,), "benign": (1, 6), "grade3": (3,), "grade4": (4,), "grade5": (5,)}
LEAST = 0.5  # share of the votes


def main() -> None:
    """Writes OUT/CLASS/CORE_X_Y.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    cores = sorted(args.raw.glob("Train*/**/*.jpg"))
    if not cores:
        raise SystemExit(f"error: no 'Train Imgs' with cores in {args.raw}; unpack the archives")
    for core in cores:
        maps = sorted(args.raw.glob(f"Maps*_T/**/{core.stem}_classimg_nonconvex.png"))
        image = Image.open(core).convert("RGB")
        votes = vote([np.asarray(Image.open(path)) for path in maps], image.size)
        for y in range(0, image.height - SIDE + 1, SIDE):
            for x in range(0, image.width - SIDE + 1, SIDE):
                counts = votes[y : y + SIDE, x : x + SIDE].sum(axis=(0, 1))
                if counts.max() < max(LEAST * counts.sum(), 1):
                    continue
                folder = args.out / list(CLASSES)[counts.argmax()]
                folder.mkdir(parents=True, exist_ok=True)
                patch = image.crop((x, y, x + SIDE, y + SIDE))
                patch.save(folder / f"{core.stem}_{x}_{y}.png")


def vote(maps: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """How many pathologists gave each pixel each class: (H, W, 5) integers, for (width, height)."""
    votes = np.zeros((size[1], size[0], len(CLASSES)), np.int64)
    for values in maps:
        values = values if values.ndim == 2 else values[..., 0]
        if values.shape == votes.shape[:2]:  # one of another size cannot be laid on the core
            for number, meant in enumerate(CLASSES.values()):
                votes[..., number] += np.isin(values, meant)
    return votes


if __name__ == "__main__":
    main()
