"""DICOM slides by wsidicom: the encodings that OpenSlide lacks (JPEG-LS, HTJ2K, YBR_FULL, gray)."""

import contextlib
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from histo_simclr.slides.pyramid import (
    WHITE,
    SlideError,
    first_line,
    library,
    refuse_logged_errors,
)

_MAGIC, _MAGIC_AT = b"DICM", 128  # PS3.10, section 7.1
_TAGS = ("SeriesInstanceUID", "ImageType", "OpticalPathSequence")


class DicomPyramid:
    """All files of a DICOM slide, of which one is given: those of its series in its folder."""

    reader = "wsidicom"
    background = WHITE

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            if file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] != _MAGIC:
                raise SlideError("no DICOM file")
        library("imagecodecs")  # wsidicom would go without, and say later that it cannot decode
        wsidicom, pydicom = library("wsidicom"), library("pydicom")
        with contextlib.ExitStack() as stack:
            try:
                headers = _headers(path, pydicom)
                with refuse_logged_errors("wsidicom"):
                    self._slide = wsidicom.WsiDicom.open(list(headers))
                    stack.callback(self._slide.close)
                    self._levels = [level.level for level in self._slide.levels]
                self.dimensions = [
                    (level.size.width, level.size.height) for level in self._slide.levels
                ]
                self._check(headers)
                self.properties = self._properties(headers[path])
            except SlideError:
                raise
            except Exception as error:  # damaged values come up where they are used
                raise SlideError(first_line(error)) from None
            stack.pop_all()

    def _check(self, headers: dict[Path, Any]) -> None:
        # wsidicom leaves out what it cannot read, without a word.
        opened = {Path(str(file)) for file in self._slide.files or ()}
        levels = {path for path, data in headers.items() if "VOLUME" in data.get("ImageType", ())}
        if lacking := sorted(path.name for path in levels - opened):
            raise SlideError(f"{lacking[0]} of the same slide cannot be read")
        if len(self._slide.levels[0].optical_paths) > 1:
            raise SlideError("several optical paths: only brightfield is read")

    def _properties(self, header: Any) -> dict[str, str]:
        mpp = self._slide.levels[0].mpp
        path = next(iter(header.get("OpticalPathSequence") or ()), {})
        power = path.get("ObjectiveLensPower")
        return {
            "openslide.vendor": "dicom",
            "openslide.mpp-x": str(mpp.width),
            "openslide.mpp-y": str(mpp.height),
            "dicom.SeriesInstanceUID": str(header.SeriesInstanceUID),
        } | ({"openslide.objective-power": str(power)} if power else {})

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        """See Pyramid."""
        out = Image.new("RGB", (width, height), WHITE)
        full_width, full_height = self.dimensions[level]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, full_width), min(y + height, full_height)
        if right <= left or bottom <= top:
            return out
        try:
            part = self._slide.read_region(
                (left, top), self._levels[level], (right - left, bottom - top)
            )
        except Exception as error:  # codecs raise whatever the bytes lead them into
            raise SlideError(f"damaged ({first_line(error)})") from None
        if part.mode not in ("RGB", "L"):
            raise SlideError(f"samples of kind {part.mode}: only 8-bit RGB and gray are read")
        out.paste(part.convert("RGB"), (left - x, top - y))
        return out

    def close(self) -> None:
        """Closes the files."""
        self._slide.close()


def _headers(path: Path, pydicom: ModuleType) -> dict[Path, Any]:
    """Headers of the files beside `path` that are of its series, itself first."""
    first = _header(path, pydicom)
    if first is None or "SeriesInstanceUID" not in first:
        raise SlideError("no DICOM series")
    found = {path: first}
    for other in sorted(path.parent.glob("*.[dD][cC][mM]")):
        header = None if other == path else _header(other, pydicom)
        if header is not None and header.get("SeriesInstanceUID") == first.SeriesInstanceUID:
            found[other] = header
    return found


def _header(path: Path, pydicom: ModuleType) -> Any:
    """What _TAGS say in a DICOM file; None when it is none."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except Exception:  # what cannot be read is no part of a slide
        return None
