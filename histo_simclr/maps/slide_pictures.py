"""Thumbnails and patches of slides as small JPEG files; slides open when they are wanted."""

import io
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from histo_simclr.slides.pyramid import SlideError
from histo_simclr.slides.reader import Slide, open_slide

# Side of a patch's picture, in px.
PATCH_PX = 64
# Of a thumbnail: longest side in px, most pixels, most bytes.
THUMBNAIL_SIDE, _THUMBNAIL_PIXELS, THUMBNAIL_BYTES = 1600, 2_000_000, 1_500_000
_QUALITY = 80
# Slides open at a time: each holds a cache of its library.
_OPEN = 8


class Thumbnail(NamedTuple):
    """jpeg: the picture of a whole slide; size: (width, height) of the slide's level 0."""

    jpeg: bytes
    size: tuple[int, int]


class SlidePictures:
    """Pictures of slides; a context manager.

    Args:
      places: slide id → file.

    Attributes:
      trouble: slide id → why it gives no pictures, or not all.
    """

    def __init__(self, places: Mapping[str, str]):
        self._places = places
        self._open: OrderedDict[str, Slide] = OrderedDict()
        self.trouble: dict[str, str] = {}

    def thumbnail(self, slide: str) -> Thumbnail | None:
        """The whole slide; None when its file is not at hand, or is broken."""
        opened = self._slide(slide)
        if opened is None:
            return None
        longest = max(opened.dimensions[0])
        try:
            pixels = opened.thumbnail(
                max(1.0, longest / THUMBNAIL_SIDE), max_pixels=_THUMBNAIL_PIXELS
            )
        except SlideError as error:
            self.trouble[slide] = str(error)
            return None
        return Thumbnail(_bounded_jpeg(pixels), opened.dimensions[0])

    def patch(self, slide: str, x: int, y: int, side: float) -> bytes | None:
        """The patch at level-0 px (x, y), or None as of `thumbnail`."""
        opened = self._slide(slide)
        if opened is None:
            return None
        px = max(1, min(PATCH_PX, round(side)))
        try:
            # Slides are opened as of 1 µm a level-0 px: a picture needs no physical size.
            pixels = opened.read(x, y, mpp=side / px, px=px)
        except SlideError as error:
            self.trouble[slide] = str(error)
            return None
        return _jpeg(pixels, _QUALITY)

    def _slide(self, slide: str) -> Slide | None:
        if slide in self.trouble or slide not in self._places:
            return None
        if slide not in self._open:
            try:
                self._open[slide] = open_slide(Path(self._places[slide]), mpp=1.0)
            except SlideError as error:
                self.trouble[slide] = str(error)
                return None
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(slide)
        return self._open[slide]

    def __enter__(self) -> "SlidePictures":
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._open.values():
            opened.close()
        self._open.clear()


def _bounded_jpeg(pixels: np.ndarray) -> bytes:
    """As good as THUMBNAIL_BYTES allow; smaller too where quality alone does not do."""
    while True:
        for quality in (_QUALITY, 60, 40):
            if len(found := _jpeg(pixels, quality)) <= THUMBNAIL_BYTES:
                return found
        pixels = np.asarray(Image.fromarray(pixels).reduce(2))


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return file.getvalue()
