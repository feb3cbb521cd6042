"""The µm/px of a slide: from the user's table or the file's metadata, never from a guess."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.slides.pyramid import SlideError

# µm/px between an oil-immersion scan and a thumbnail; the registry's limits.
SMALLEST, LARGEST = 0.05, 20.0
# Keys of x and y, in the order to try; OpenSlide's own first, then those of vendors.
MPP_KEYS = (
    ("openslide.mpp-x", "openslide.mpp-y"),
    ("aperio.MPP", "aperio.MPP"),
    ("openslide.mirax.MPP", "openslide.mirax.MPP"),
    (
        "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL_X",
        "mirax.LAYER_0_LEVEL_0_SECTION.MICROMETER_PER_PIXEL_Y",
    ),
    ("ventana.ScanRes", "ventana.ScanRes"),
)
POWER_KEYS = ("openslide.objective-power", "aperio.AppMag", "hamamatsu.SourceLens")
# Upper mpp of each nominal magnification: TRIDENT's bins (mahmoodlab/TRIDENT, OpenSlideWSI.py).
NOMINAL = ((0.16, 80.0), (0.2, 60.0), (0.3, 40.0), (0.6, 20.0), (1.2, 10.0), (2.4, 5.0))
# OME's units of length in µm; µm when none is stated (OME model, PhysicalSizeXUnit).
_MICROMETERS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
_PER_TIFF_UNIT = {"centimeter": 10_000.0, "inch": 25_400.0}


class Resolution(NamedTuple):
    """x, y: µm/px of level 0 along each axis; source: where they were found."""

    x: float
    y: float
    source: str


class NoMppError(SlideError):
    """A slide that does not say its µm/px."""


def nominal_magnification(mpp: float) -> float:
    """The objective power that people call this µm/px, for display; 0 beyond 2.4 µm/px."""
    return next((power for limit, power in NOMINAL if mpp < limit), 0.0)


def objective_power(properties: Mapping[str, str]) -> float:
    """The objective power that the file states; 0 when it states none."""
    powers = (_number(properties.get(key)) for key in POWER_KEYS)
    return next((power for power in powers if 0 < power < 1000), 0.0)


def from_properties(properties: Mapping[str, str]) -> Resolution:
    """µm/px by a slide's metadata, under OpenSlide's names.

    The order: OpenSlide's mpp, vendors' keys, OME's physical size, the TIFF resolution tags, and
    last 10 / objective power, which is right by definition of the power to some ten percent only.
    What lies outside SMALLEST to LARGEST is passed over: 72 dpi is paper, 0 is a blank.

    Raises:
      NoMppError: none of them; says what was passed over.
    """
    absurd = []
    for x, y, source in _stated(properties):
        if SMALLEST <= x <= LARGEST and SMALLEST <= y <= LARGEST:
            return Resolution(x, y, source)
        absurd.append(f"{x:g} by {source}")
    power = objective_power(properties)
    if power and SMALLEST <= 10 / power <= LARGEST:
        return Resolution(10 / power, 10 / power, "objective power")
    reason = f"absurd µm/px: {', '.join(absurd)}" if absurd else "no µm/px and no objective power"
    raise NoMppError(reason)


def _stated(properties: Mapping[str, str]) -> list[tuple[float, float, str]]:
    found = []
    for key_x, key_y in MPP_KEYS:
        if key_x in properties:
            x = _number(properties[key_x])
            found.append((x, _number(properties.get(key_y, properties[key_x])), key_x))
    if "ome.PhysicalSizeX" in properties:
        sizes = [
            _number(properties.get(f"ome.PhysicalSize{axis}"))
            * _MICROMETERS.get(properties.get(f"ome.PhysicalSize{axis}Unit", "µm"), math.nan)
            for axis in "XY"
        ]
        found.append((*sizes, "ome.PhysicalSizeX"))
    per_unit = _PER_TIFF_UNIT.get(properties.get("tiff.ResolutionUnit", ""))
    if per_unit and "tiff.XResolution" in properties:
        x = _number(properties["tiff.XResolution"])
        y = _number(properties.get("tiff.YResolution", properties["tiff.XResolution"]))
        found.append((per_unit / x if x else 0.0, per_unit / y if y else 0.0, "tiff.XResolution"))
    return found


def read_table(path: Path) -> dict[str, float]:
    """The user's table: slide file (path below the slide folder, or slide id) → µm/px.

    Either with the header `wsi,mpp` (TRIDENT), further columns passed over, or two columns
    without header (STAMP). A row whose mpp is empty says nothing.

    Raises:
      InputError: no readable CSV, no slide, no number, an absurd one, or two for one slide.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"not a readable CSV ({error})", where=path, way_out="save it as UTF-8 CSV: wsi,mpp"
        ) from error
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    has_header = "wsi" in header and "mpp" in header
    columns = (header.index("wsi"), header.index("mpp")) if has_header else (0, 1)
    table: dict[str, float] = {}
    for line, row in rows[has_header:]:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path}:{line}"
        if len(row) <= max(columns):
            raise InputError(f"{len(row)} columns", where=where, way_out="write: wsi,mpp")
        name, text = (row[column].strip() for column in columns)
        if not name:
            raise InputError("no slide named", where=where, way_out="fill it or delete the line")
        if text:
            mpp = _sensible(text, where)
            if table.setdefault(name, mpp) != mpp:
                raise InputError(f"a second mpp of {name}", where=where, way_out="delete one")
    return table


def _sensible(text: str, where: str) -> float:
    mpp = _number(text)
    if not SMALLEST <= mpp <= LARGEST:
        raise InputError(
            f"mpp is {text!r}",
            where=where,
            way_out=f"give µm/px of the full resolution, {SMALLEST:g} to {LARGEST:g}",
        )
    return mpp


def _number(text: str | None) -> float:
    # ASCII without "_": float() takes 0_5 for 5, and other scripts' digits.
    if not text or "_" in text or not text.isascii():
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan
