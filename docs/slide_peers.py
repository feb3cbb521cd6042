"""Patches of 224 px at 0.5 µm/px by other tools, as their documentation shows; for slide_speed.py.

PYTHON docs/slide_peers.py TOOL OUT COUNT SLIDE…

PYTHON is that of the tool's own environment:

histolab, histolab-mpp   histolab 0.7.0, Python 3.10 (where the wheels of its scikit-image end):
    pip install histolab==0.7.0 openslide-bin large-image large-image-source-openslide
    pip install --no-deps openslide-python==1.4.1     (its pin does not find openslide-bin)
tiatoolbox               tiatoolbox 2.1.3:
    pip install tiatoolbox==2.1.3 openslide-bin       (several GB: it brings torch)

Each finds the tissue by its own rule, draws COUNT random places that are at least half (histolab:
80 %, its default) tissue, and writes each as its documentation does.
"""

import random
import sys
from pathlib import Path

PX, MPP = 224, 0.5


def main() -> None:
    """Cuts every slide."""
    tool, out, count, *slides = sys.argv[1:]
    tools = {"histolab": histolab, "histolab-mpp": histolab_mpp, "tiatoolbox": tiatoolbox}
    for slide in map(Path, slides):
        folder = Path(out) / slide.stem
        folder.mkdir()
        tools[tool](slide, folder, int(count))


def histolab(slide: Path, folder: Path, count: int) -> None:
    """PNGs from level 0, whose 0.499 µm/px are near enough to need no resampling."""
    from histolab.slide import Slide
    from histolab.tiler import RandomTiler

    tiler = RandomTiler(tile_size=(PX, PX), n_tiles=count, level=0, seed=0)
    tiler.extract(Slide(slide, processed_path=folder))


def histolab_mpp(slide: Path, folder: Path, count: int) -> None:
    """PNGs resampled to MPP."""
    from histolab.slide import Slide
    from histolab.tiler import RandomTiler

    tiler = RandomTiler(tile_size=(PX, PX), n_tiles=count, mpp=MPP, seed=0)
    tiler.extract(Slide(slide, processed_path=folder, use_largeimage=True))


def tiatoolbox(slide: Path, folder: Path, count: int) -> None:
    """JPEGs of the sliding window's patches, a random choice of them."""
    from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor
    from tiatoolbox.utils.misc import imwrite
    from tiatoolbox.wsicore.wsireader import WSIReader

    extractor = SlidingWindowPatchExtractor(
        input_img=WSIReader.open(slide),
        input_mask="morphological",
        patch_size=(PX, PX),
        resolution=MPP,
        units="mpp",
        min_mask_ratio=0.5,
    )
    for number in sorted(random.Random(0).sample(range(len(extractor)), count)):
        imwrite(folder / f"{number}.jpg", extractor[number])


if __name__ == "__main__":
    main()
