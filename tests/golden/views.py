"""Makes augment_views.npz: a part of augment_colour.npz and augment_geometry.npz, values untouched.

    python views.py FOLDER_OF_THE_GOLDEN_VECTORS

Keys that test the same code twice are left out, as are two of the five tiles.
"""

import sys
from pathlib import Path

import numpy as np

TILES = (0, 2, 4)  # immunohistochemistry, H&E with white background, synthetic
COLOR = (
    *(
        f"{name}/{factor}"
        for name in ("brightness", "contrast", "saturation")
        for factor in (0.2, 1.8)
    ),
    *(f"hue/{shift}" for shift in (-0.5, -0.2, 0.1)),
    "grayscale",
    "jitter_b1.3_c0.7_s1.6_h-0.1",
)
GEOMETRY = (
    "blur23/0.1",
    "blur23/1.0",
    "blur23/2.0",
    "hflip",
    "vflip",
    "rot90/1",
    "rot90/2",
    "rot90/3",
)
CROPS = (
    "crop224/large",
    *(f"crop96/{box}" for box in ("whole", "large", "wide", "same96", "small")),
)


def main(source: Path) -> None:
    """Reads the two files of the golden vectors and writes the part beside this script."""
    color, geometry = (np.load(source / f"augment_{name}.npz") for name in ("colour", "geometry"))
    part = {key: color[key][list(TILES)] for key in COLOR}
    part |= {key: geometry[key][list(TILES)] for key in GEOMETRY}
    part |= {key: geometry[key] for key in CROPS}
    part["tiles"] = np.load(source / "augment_source.npz")["tiles"][list(TILES)]
    np.savez_compressed(Path(__file__).parent / "augment_views.npz", **part)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
