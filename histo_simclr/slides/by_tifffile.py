"""Slides by tifffile: OME-TIFF with its levels, odd tilings and codecs that OpenSlide lacks."""

import collections
import contextlib
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histo_simclr.slides.pyramid import (
    WHITE,
    SlideError,
    first_line,
    library,
    refuse_logged_errors,
)

# TIFF's numbers. YCbCr is what JPEG stores; its decoder gives RGB, others leave it as it is.
GRAY_OF_INK, GRAY, RGB, YCBCR = 0, 1, 2, 6
_JPEG = (6, 7)
_ASSOCIATED, _UNASSOCIATED = 1, 2  # alpha: colors are multiplied by it, or not
# Decoded tiles and strips that are kept: neighbors share them. One alone may be larger.
_KEPT_BYTES = 64 * 2**20
_LARGEST_BYTES = 512 * 2**20


class TiffPyramid:
    """8-bit RGB or gray TIFF by tifffile, tiled or in strips, with SubIFD levels as in OME-TIFF."""

    reader = "tifffile"
    background = WHITE

    def __init__(self, path: Path):
        tifffile = library("tifffile")
        library("imagecodecs")
        with contextlib.ExitStack() as stack:
            try:
                with refuse_logged_errors("tifffile"):
                    self._file = stack.enter_context(tifffile.TiffFile(path))
                    # Walks the whole chain of directories, which a torn file breaks.
                    if not len(self._file.pages):
                        raise SlideError("no image in it: the file is cut off")
                    series = self._file.series[0]
                self._levels = [list(level.pages) for level in series.levels]
                self._check(series)
                self.properties = _tiff_properties(self._file)
            except SlideError:
                raise
            except Exception as error:  # tifffile raises whatever the bytes lead it into
                raise SlideError(first_line(error)) from None
            stack.pop_all()
        self._kept: collections.OrderedDict[tuple[int, int], Any] = collections.OrderedDict()
        self._kept_bytes = 0
        self.dimensions = [
            (pages[0].keyframe.imagewidth, pages[0].keyframe.imagelength) for pages in self._levels
        ]

    def _check(self, series: Any) -> None:
        for pages in self._levels:
            page = pages[0].keyframe
            samples = len(pages) * page.samplesperpixel
            if samples not in (1, 3, 4) or page.imagedepth > 1:
                raise SlideError(f"{samples} channels (axes {series.axes}): only RGB is read")
            if page.dtype != np.uint8:
                raise SlideError(f"samples of kind {page.dtype}: save it as 8-bit RGB")
            is_jpeg = page.photometric == YCBCR and page.compression in _JPEG
            if page.photometric not in (GRAY_OF_INK, GRAY, RGB) and not is_jpeg:
                kind = getattr(page.photometric, "name", page.photometric)
                raise SlideError(f"colors of kind {kind}: save it as RGB")
            tall, wide = _segment_size(page)
            if tall * wide * page.samplesperpixel > _LARGEST_BYTES:
                raise SlideError(f"strips of {wide} × {tall} px: save it as a tiled TIFF")

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        """See Pyramid."""
        try:
            planes = [
                self._page_region(page, x, y, width, height)
                for page in self._levels[level]
                if page is not None
            ]
        except Exception as error:  # codecs raise whatever the bytes lead them into
            raise SlideError(f"damaged ({first_line(error)})") from None
        return Image.fromarray(_rgb(np.concatenate(planes, axis=2), self._levels[level][0]))

    def _page_region(self, page: Any, x: int, y: int, width: int, height: int) -> np.ndarray:
        """(height, width, samples) uint8 of one page; decodes the tiles or strips it touches."""
        key = page.keyframe
        # White outside, which is 0 where samples tell of ink.
        white = 0 if key.photometric == GRAY_OF_INK else 255
        out = np.full((height, width, key.samplesperpixel), white, np.uint8)
        tall, wide = _segment_size(key)
        across, down = -(-key.imagewidth // wide), -(-key.imagelength // tall)
        planes = key.samplesperpixel if key.planarconfig == 2 else 1
        for row in range(max(y // tall, 0), min(-(-(y + height) // tall), down)):
            for column in range(max(x // wide, 0), min(-(-(x + width) // wide), across)):
                for plane in range(planes):
                    segment = self._segment(page, (plane * down + row) * across + column)
                    if segment is None:
                        continue
                    part = out if planes == 1 else out[..., plane : plane + 1]
                    right = key.imagewidth - column * wide  # what is beyond is padding
                    segment = segment[: key.imagelength - row * tall, :right]
                    _paste(part, segment, column * wide - x, row * tall - y)
        return out

    def _segment(self, page: Any, index: int) -> np.ndarray | None:
        """(height, width, samples) of one tile or strip; None where the file has left it out."""
        name = page.offset, index
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        segment = self._decoded(page, index)
        if segment is not None:
            self._kept[name] = segment
            self._kept_bytes += segment.nbytes
            while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return segment

    def _decoded(self, page: Any, index: int) -> np.ndarray | None:
        key, handle = page.keyframe, self._file.filehandle
        if not page.databytecounts[index]:
            return None
        handle.seek(page.dataoffsets[index])
        data = handle.read(page.databytecounts[index])
        if len(data) < page.databytecounts[index]:
            raise SlideError("file ends early")
        tables = {"jpegtables": page.jpegtables} if page.jpegtables is not None else {}
        segment, _, _ = key.decode(data, index, **tables)
        return None if segment is None else segment[0]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _segment_size(page: Any) -> tuple[int, int]:
    """(height, width) of a page's tiles or strips."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _rgb(pixels: np.ndarray, page: Any) -> np.ndarray:
    """(height, width, 3) of samples as a page's photometric interpretation has them."""
    key = page.keyframe
    if key.photometric == GRAY_OF_INK:
        pixels = 255 - pixels
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    colors = pixels[..., :3]
    alpha = key.extrasamples[0] if pixels.shape[2] == 4 and key.extrasamples else None
    if alpha not in (_ASSOCIATED, _UNASSOCIATED):
        return colors
    share = pixels[..., 3:].astype(np.float32) / 255
    weight = share if alpha == _UNASSOCIATED else 1
    return np.rint(np.minimum(colors * weight + 255 * (1 - share), 255)).astype(np.uint8)


def _paste(out: np.ndarray, part: np.ndarray, left: int, top: int) -> None:
    """Writes `part` into `out` at (left, top), which may lie outside, as may its far end."""
    bottom, right = min(top + part.shape[0], out.shape[0]), min(left + part.shape[1], out.shape[1])
    out[max(top, 0) : bottom, max(left, 0) : right] = part[
        max(-top, 0) : bottom - top, max(-left, 0) : right - left
    ]


def _tiff_properties(file: Any) -> dict[str, str]:
    """Resolution of the first page under OpenSlide's names, and that of OME's XML."""
    properties = {"openslide.vendor": "ome" if file.is_ome else "tiff"}
    tags = file.pages[0].tags
    for name in ("XResolution", "YResolution"):
        if name in tags and tags[name].value[1]:
            properties[f"tiff.{name}"] = str(tags[name].value[0] / tags[name].value[1])
    if "ResolutionUnit" in tags:
        units = {2: "inch", 3: "centimeter"}
        properties["tiff.ResolutionUnit"] = units.get(int(tags["ResolutionUnit"].value), "none")
    if file.is_ome:
        root = xml.etree.ElementTree.fromstring(file.ome_metadata)
        pixels = root.find(".//{*}Image/{*}Pixels")
        lens = root.find(".//{*}Objective")
        found = {} if pixels is None else dict(pixels.attrib)
        power = None if lens is None else lens.get("NominalMagnification")
        properties |= {f"ome.{key}": value for key, value in found.items() if "Physical" in key}
        properties |= {"openslide.objective-power": power} if power else {}
    return properties
