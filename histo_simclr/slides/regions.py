"""Where the user says the tissue is: a mask image or a QuPath GeoJSON beside the rules' word."""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from histo_simclr.slides.pyramid import SlideError, first_line, library

# In the order in which a slide's file is looked for.
SUFFIXES = (".geojson", ".json", ".png", ".tif", ".tiff")
# A mask of the slide's shape, but for the rounding of its sides.
_SHAPE_TOLERANCE = 0.02
# Classes that QuPath leaves out end in "*"; ours for artefacts is spelled either way.
_LEFT_OUT = ("artefact", "artifact")
# Level-0 px from the corner: far beyond any slide, and near enough for GEOS to compute with.
_FARTHEST = 1e9
# Objects that are results, not regions.
_NO_REGIONS = ("tile", "detection", "cell")


class Region(NamedTuple):
    """mask: (height, width) bool over the whole slide; warning: what had to be mended, or empty."""

    mask: np.ndarray
    warning: str


def find_file(folder: Path, slide: str) -> Path | None:
    """The region file of a slide: its id with one of SUFFIXES, in `folder`; None without one."""
    files = (folder / f"{slide}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def read(path: Path, dimensions: tuple[int, int], shape: tuple[int, int]) -> Region:
    """The region of one slide.

    A mask image covers the whole slide at any resolution: what is not 0 is tissue. In a GeoJSON,
    coordinates are level-0 px; polygons of the class Artefact, and of classes that end in `*`,
    are taken away from the others. One that crosses itself is filled by the even-odd rule.

    Args:
      path: image or GeoJSON.
      dimensions: (width, height) of level 0.
      shape: (height, width) of the mask wanted.

    Raises:
      SlideError: unreadable, of another shape than the slide, no polygon, or all outside.
    """
    if path.suffix in (".geojson", ".json"):
        return _from_geojson(path, dimensions, shape)
    return Region(_from_image(path, dimensions, shape), "")


def _from_image(path: Path, dimensions: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # JPEG's ringing is not 0; others would start programs (EPS) or are no masks.
            with Image.open(path, formats=("PNG", "TIFF")) as image:
                pixels = np.asarray(image)  # palette images: the index, so that 0 is 0
    except Exception as error:  # decoders raise whatever the bytes lead them into
        raise SlideError(f"mask {path.name} does not decode ({first_line(error)})") from None
    if pixels.ndim == 3:
        has_alpha = pixels.shape[2] in (2, 4)
        pixels = pixels[..., : pixels.shape[2] - has_alpha].max(axis=2)
    height, width = pixels.shape
    full_width, full_height = dimensions
    skew = abs(width * full_height / (height * full_width) - 1)
    if skew > _SHAPE_TOLERANCE + 1 / min(width, height):
        raise SlideError(
            f"mask {path.name} is {width} × {height} px, of another shape than the slide's "
            f"{full_width} × {full_height}"
        )
    mask = Image.fromarray((pixels > 0).astype(np.uint8) * 255)
    return np.asarray(mask.resize(shape[::-1], Image.Resampling.BOX)) >= 128


def _from_geojson(path: Path, dimensions: tuple[int, int], shape: tuple[int, int]) -> Region:
    shapely = library("shapely")
    inside, outside, crossing = [], [], 0
    for number, feature in enumerate(_features(path)):
        is_out = _is_left_out(feature)
        if is_out is None:
            continue
        area, crosses = _area(feature, f"{path.name}: feature {number}")
        crossing += crosses
        (outside if is_out else inside).append(area)
    if not inside:
        raise SlideError(f"{path.name} has no polygon")
    area = shapely.union_all(inside) - shapely.union_all(outside)
    if not area.intersects(shapely.box(0, 0, *dimensions)):
        raise SlideError(
            f"{path.name} lies outside the slide ({dimensions[0]} × {dimensions[1]} px): "
            "coordinates must be level-0 px"
        )
    mask = _draw(area, dimensions, shape)
    count = f"{crossing} polygons of {path.name} cross themselves: filled by the even-odd rule"
    return Region(mask, count if crossing else "")


def _features(path: Path) -> list[dict[str, Any]]:
    """The features of a FeatureCollection, of a bare list of them, or of a single one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SlideError(f"{path.name} is no JSON ({first_line(error)})") from None
    if isinstance(data, dict):
        is_bare = data.get("type") in ("Polygon", "MultiPolygon")
        data = data.get("features", [{"geometry": data} if is_bare else data])
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        raise SlideError(f"{path.name} is no GeoJSON: no features")
    return data


def _is_left_out(feature: dict[str, Any]) -> bool | None:
    """Whether a feature is taken away from the region; None when it is no region at all."""
    geometry, properties = feature.get("geometry"), feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon") or properties.get("objectType") in _NO_REGIONS:
        return None
    classification = properties.get("classification")
    name = classification.get("name") if isinstance(classification, dict) else classification
    name = str(name or "").lower()
    return name.startswith(_LEFT_OUT) or name.endswith("*")


def _area(feature: dict[str, Any], where: str) -> tuple[Any, bool]:
    """A feature's valid shapely geometry, and whether its rings crossed."""
    shapely = library("shapely")
    try:
        area = shapely.from_geojson(json.dumps(feature["geometry"], allow_nan=False))
        if np.abs(shapely.get_coordinates(area)).max(initial=0.0) > _FARTHEST:
            raise SlideError(f"{where} has coordinates that are no px")
        crosses = not area.is_valid
        if crosses:
            area = shapely.make_valid(area, method="linework")  # the even-odd rule
    except SlideError:
        raise
    except Exception as error:  # GEOS names its own reasons
        raise SlideError(f"{where} is no polygon ({first_line(error)})") from None
    if not area.area:
        raise SlideError(f"{where} is no polygon (it has no area)")
    return area, crosses


def _draw(area: Any, dimensions: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """(height, width) bool: the mask's pixels whose centers lie in the area."""
    shapely = library("shapely")
    shapely.prepare(area)
    xs = (np.arange(shape[1]) + 0.5) * (dimensions[0] / shape[1])
    ys = (np.arange(shape[0]) + 0.5) * (dimensions[1] / shape[0])
    # Row by row: coordinates of all pixels at once would be larger than the thumbnail.
    return np.stack([shapely.contains_xy(area, xs, y) for y in ys])
