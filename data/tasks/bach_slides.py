"""BACH's annotated slides → images with masks, where anything is annotated.

  python data/tasks/bach_slides.py WSI OUT

WSI holds A01.svs to A10.svs with A01.xml … beside them (Aperio ImageScope: regions with the words
benign, in situ or invasive). In OUT: images/A01_X_Y.png of 512 px at 0.934 µm/px, and masks/ of the
same names with 0 for what is not annotated, 1 benign, 2 in situ, 3 invasive. Squares without any
annotated pixel are left out, so the background is what lies near lesions.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from PIL import Image, ImageDraw

from histo_simclr.slides import reader

PX, MPP = 512, 0.934  # twice the scanner's 0.467 µm/px
CLASSES = {"benign": 1, "in situ": 2, "invasive": 3}


def main() -> None:
    """Writes images and masks of all slides that have an XML."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for name in ("images", "masks"):
        (args.out / name).mkdir(parents=True, exist_ok=True)
    annotated = sorted(args.slides.glob("*.xml"))
    if not annotated:
        raise SystemExit(
            f"error: no .xml in {args.slides}; give the folder WSI of the training set"
        )
    for path in annotated:
        regions = read(path)
        with reader.open_slide(path.with_suffix(".svs"), MPP / 2) as slide:
            width, height = slide.dimensions[0]
            side = round(PX * MPP / (MPP / 2))  # in pixels of level 0
            for y in range(0, height - side + 1, side):
                for x in range(0, width - side + 1, side):
                    mask = draw(regions, x, y, PX / side)
                    if mask.any():
                        name = f"{path.stem}_{x}_{y}.png"
                        patch = slide.read(x, y, mpp=MPP, px=PX)
                        Image.fromarray(patch).save(args.out / "images" / name)
                        Image.fromarray(mask).save(args.out / "masks" / name)


def read(path: Path) -> list[tuple[int, np.ndarray]]:
    """(class, (n, 2) corners in pixels of level 0) of the regions, invasive ones last."""
    found = []
    for region in ElementTree.parse(path).iter("Region"):
        said = [each.get("Value", "") for each in region.iter("Attribute")]
        words = " ".join([*said, region.get("Text", "")]).lower()
        number = next((number for word, number in CLASSES.items() if word in words), None)
        if number is None:
            raise SystemExit(f"error: {path}: region {region.get('Id')} says {words!r}, no class")
        corners = [(float(each.get("X")), float(each.get("Y"))) for each in region.iter("Vertex")]
        found.append((number, np.array(corners)))
    return sorted(found, key=lambda each: each[0])


def draw(regions: list[tuple[int, np.ndarray]], x: int, y: int, scale: float) -> np.ndarray:
    """(PX, PX) uint8 classes of the square whose top left corner is (x, y) of level 0."""
    image = Image.new("L", (PX, PX))
    drawing = ImageDraw.Draw(image)
    for number, corners in regions:
        placed = (corners - (x, y)) * scale
        if (placed.max(0) >= 0).all() and (placed.min(0) < PX).all() and len(placed) > 2:
            drawing.polygon([tuple(each) for each in placed.tolist()], fill=number)
    return np.asarray(image)


if __name__ == "__main__":
    main()
