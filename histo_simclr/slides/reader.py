"""A slide at any µm/px: the one way in which prepare and embed look at whole slides."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from histo_simclr.slides import resolution
from histo_simclr.slides.by_openslide import OpenSlidePyramid
from histo_simclr.slides.by_pillow import PlainImage
from histo_simclr.slides.by_tifffile import TiffPyramid
from histo_simclr.slides.by_wsidicom import DicomPyramid
from histo_simclr.slides.pyramid import Pyramid, SlideError
from histo_simclr.slides.resolution import Resolution

# In the order to try: OpenSlide knows most formats, and is the fastest.
READERS = (OpenSlidePyramid, TiffPyramid, DicomPyramid, PlainImage)
# A target up to this much finer than level 0 is resampled up: slides "at 40x" have 0.23 to 0.275.
UPSAMPLING = 1.1
# A level this much coarser than the target still counts as it: downsamples are of rounded sizes.
_SAME_LEVEL = 1.01
# Side of the squares, in pixels of a level, by which a thumbnail is read: 12 MB of RGB.
_BLOCK = 2048


class Level(NamedTuple):
    """One level: its number, the finest is 0; level-0 px per px; (width, height) in px."""

    number: int
    downsample: float
    dimensions: tuple[int, int]


class Slide:
    """One open slide; a context manager.

    Args:
      pyramid: the open file.
      resolution: its µm/px.

    Attributes:
      reader: the library that opened it.
      dimensions: (width, height) of each level in px, the finest first.
      downsamples: level-0 px per px of each level.
      resolution: µm/px of level 0, with its source.
      power: objective power that the file states; 0 when it states none. Never computed with.
      properties: the file's metadata under OpenSlide's names.
    """

    def __init__(self, pyramid: Pyramid, resolution_: Resolution):
        self._pyramid = pyramid
        self.reader, self.dimensions = pyramid.reader, pyramid.dimensions
        self.downsamples = [_downsample(self.dimensions[0], size) for size in self.dimensions]
        self.resolution, self.properties = resolution_, pyramid.properties
        self.power = resolution.objective_power(pyramid.properties)

    def read(self, x: int, y: int, *, mpp: float, px: int) -> np.ndarray:
        """The patch whose top left corner is at level-0 px (x, y).

        Taken from the nearest finer level and resampled once (bicubic, antialiased). Transparent
        pixels and what lies outside the slide are the slide's background color, or white.

        Args:
          x, y: may be outside the slide.
          mpp: µm/px of the patch; see `reaches`.
          px: side of the patch.

        Returns:
          (px, px, 3) uint8 RGB.

        Raises:
          SlideError: mpp is too fine for the slide, or the file is damaged there.
        """
        if not self.reaches(mpp):
            raise SlideError(f"{mpp:g} µm/px is finer than its {self._coarser_axis():g}")
        wide, tall = self.side(mpp, px)
        box = (float(x), float(y), x + wide, y + tall)
        return np.asarray(self._resample(box, (px, px), Image.Resampling.BICUBIC))

    def side(self, mpp: float, px: int) -> tuple[float, float]:
        """Width and height in level-0 px of a patch; two numbers, as pixels need not be square."""
        return px * mpp / self.resolution.x, px * mpp / self.resolution.y

    def reaches(self, mpp: float) -> bool:
        """Whether the slide is fine enough for this µm/px, UPSAMPLING granted."""
        return mpp * UPSAMPLING >= self._coarser_axis()

    def level(self, mpp: float) -> Level:
        """The level from which `read` takes patches of this µm/px."""
        number = self._level(mpp / self._coarser_axis())
        return Level(number, self.downsamples[number], self.dimensions[number])

    def thumbnail(self, mpp: float, *, max_pixels: int) -> np.ndarray:
        """The whole slide at about this µm/px, read block by block.

        Each of its pixels is the mean of width0 / width × height0 / height level-0 px.

        Args:
          mpp: µm/px; never finer than level 0.
          max_pixels: a slide that would have more is read coarser.

        Returns:
          (height, width, 3) uint8 RGB.
        """
        full_width, full_height = self.dimensions[0]
        scale_x = max(1.0, mpp / self.resolution.x)
        scale_y = max(1.0, mpp / self.resolution.y)
        excess = full_width * full_height / (scale_x * scale_y * max_pixels)
        if excess > 1:
            scale_x, scale_y = scale_x * math.sqrt(excess), scale_y * math.sqrt(excess)
        width = max(1, round(full_width / scale_x))
        height = max(1, round(full_height / scale_y))
        scale_x, scale_y = full_width / width, full_height / height
        level = self._level(min(scale_x, scale_y))
        step = max(1, int(_BLOCK * self.downsamples[level] / max(scale_x, scale_y)))
        pixels = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, step):
            for left in range(0, width, step):
                right, bottom = min(left + step, width), min(top + step, height)
                box = (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y)
                size = (right - left, bottom - top)
                # Means of areas: no block needs its neighbors' pixels, so no seam is seen.
                pixels[top:bottom, left:right] = self._resample(box, size, Image.Resampling.BOX)
        return pixels

    def _resample(
        self,
        box: tuple[float, float, float, float],
        size: tuple[int, int],
        kernel: Image.Resampling,
    ) -> Image.Image:
        """The rectangle (left, top, right, bottom) in level-0 px as an image of the given size."""
        level = self._level(min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]))
        left, top, right, bottom = (edge / self.downsamples[level] for edge in box)
        # Edges that rounding put a hair beside a pixel's border are that border.
        x, y = math.floor(left + 1e-6), math.floor(top + 1e-6)
        width, height = math.ceil(right - 1e-6) - x, math.ceil(bottom - 1e-6) - y
        image = self._pyramid.region(level, x, y, width, height)
        inner = (
            max(left - x, 0.0),
            max(top - y, 0.0),
            min(right - x, float(width)),
            min(bottom - y, float(height)),
        )
        # Pillow copies when there is nothing to resample.
        return image.resize(size, kernel, box=inner)

    def _level(self, ratio: float) -> int:
        """The coarsest level that has at most `ratio` level-0 px per px."""
        fits = [level for level, each in enumerate(self.downsamples) if each <= ratio * _SAME_LEVEL]
        return max(fits, key=lambda level: self.downsamples[level], default=0)

    def _coarser_axis(self) -> float:
        return max(self.resolution.x, self.resolution.y)

    def close(self) -> None:
        """Closes the file."""
        self._pyramid.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_slide(path: str | Path, mpp: float | tuple[float, float] = 0.0) -> Slide:
    """Opens a slide with whatever library opens it.

    Args:
      path: of the file; of one file of the slide where it has several (MRXS, DICOM).
      mpp: µm/px of level 0 by the user, or that of (x, y), which goes before the file's; 0: the
        file's.

    Raises:
      SlideError: no library opens it.
      NoMppError: its µm/px is not known.
      InputError: the extra `slides` is not installed.
    """
    pyramid = open_pyramid(Path(path))
    try:
        if not mpp:
            return Slide(pyramid, resolution.from_properties(pyramid.properties))
        x, y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
        return Slide(pyramid, Resolution(x, y, "given"))
    except SlideError:
        pyramid.close()
        raise


def open_pyramid(path: Path) -> Pyramid:
    """The slide in the first library that opens it.

    Raises:
      SlideError: none does; says what each of them found.
      InputError: the extra `slides` is not installed.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SlideError(f"cannot be read ({error.strerror})") from None
    if not size:
        raise SlideError("zero bytes")
    reasons = []
    for reader in READERS:
        try:
            return reader(path)
        except SlideError as error:
            reasons.append(f"{reader.reader}: {error}")
    raise SlideError(f"no reader opens it ({'; '.join(reasons)})")


def slide_id(name: str) -> str:
    """A file's name without extension, dots inside kept; `.ome.tif` goes as one."""
    stem = Path(name).stem
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


def _downsample(full: tuple[int, int], reduced: tuple[int, int]) -> float:
    """Level-0 px per px: the whole number whose rounded sizes these are, else the mean ratio."""
    ratio = (full[0] / reduced[0] + full[1] / reduced[1]) / 2
    whole = max(1, round(ratio))
    fits = all(
        abs(whole * small - large) < whole for large, small in zip(full, reduced, strict=True)
    )
    return float(whole) if fits else ratio
