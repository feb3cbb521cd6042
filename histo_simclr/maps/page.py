"""One slide's page: everything lies in the file itself, and the script may ask for nothing.

Numbers travel as base64 of little-endian arrays, which is what every browser's typed arrays are.
"""

import base64
import hashlib
import importlib.resources
import urllib.parse
from typing import Any, NamedTuple

import jinja2
import numpy as np

from histo_simclr.maps import colors
from histo_simclr.maps.feature_files import SlideFeatures
from histo_simclr.maps.gallery import Gallery
from histo_simclr.maps.slide_pictures import Thumbnail
from histo_simclr.report.page import data_uri

TEMPLATE, SCRIPT = "look.html.jinja", "look.js"
# Stands for "no neighbor", "no picture".
_NONE = 2**32 - 1


class Looks(NamedTuple):
    """What is shown of n patches.

    Fields:
      cluster: (n,) int64.
      components: (n, 3) floats.
      rgb: (n, 3) uint8.
      probabilities: (n, K) of a probe, or None.
    """

    cluster: np.ndarray
    components: np.ndarray
    rgb: np.ndarray
    probabilities: np.ndarray | None


class Content(NamedTuple):
    """What a page is made of.

    Fields:
      slide: all of it.
      looks: of the shown patches.
      shown: (n,) rows of the slide.
      thumbnail: None where the slide is not at hand.
      near: (n, k) rows of the gallery, -1 where there are too few; cosines: (n, k) of them.
      gallery: patches of all slides.
      typical: (clusters, m) rows of the gallery, -1 where there are fewer.
      pictures: row of the gallery → JPEG.
      classes: K names of the probe's classes; none without a probe.
    """

    slide: SlideFeatures
    looks: Looks
    shown: np.ndarray
    thumbnail: Thumbnail | None
    near: np.ndarray
    cosines: np.ndarray
    gallery: Gallery
    typical: np.ndarray
    pictures: dict[int, bytes]
    classes: list[str]


def render(content: Content) -> str:
    """The page as HTML; equal contents give equal text."""
    script = _resource(SCRIPT)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    slide = content.slide
    return environment.from_string(_resource(TEMPLATE)).render(
        slide=slide.slide,
        facts=_facts(content),
        has_probe=bool(content.classes),
        classes=content.classes,
        has_thumbnail=content.thumbnail is not None,
        has_patches=bool(len(content.shown)),
        # Not escaped: it is our own file, and the policy lets no other script run.
        script=script,
        digest=digest,
        data=_data(content),
    )


def address(slide: str) -> str:
    """Of a slide's page, from the page of another."""
    return urllib.parse.quote(f"{slide}.html")


def _facts(content: Content) -> list[str]:
    slide, found = content.slide, content.gallery
    shown, total = len(content.shown), len(slide.coords)
    facts = [f"{total:,} patches of {slide.side:g} level-0 px"]
    if slide.mpp:
        facts[0] += f" ({slide.side * slide.mpp:.0f} µm)"
    if shown < total:
        facts.append(f"{shown:,} of them drawn here, evenly over the slide; all in its GeoJSON")
    encoder = slide.encoder or "an encoder that the file does not name"
    model = f", weights {slide.model[:12]}" if slide.model else ""
    facts.append(f"{slide.features.shape[1]} features by {encoder}{model}")
    slides = "1 slide" if len(found.slides) == 1 else f"{len(found.slides)} slides"
    among = f"{len(found.unit):,} patches of {slides}"
    if len(found.unit) < sum(found.counts):
        among += f" (drawn from {sum(found.counts):,})"
    rule = "of other slides" if len(found.slides) > 1 else "of this slide"
    facts.append(f"neighbors: by cosine, among {among}, {rule} only")
    if content.thumbnail is None:
        facts.append("the slide's file is not at hand (--slides), or is broken: no tissue is shown")
    return facts


def _data(content: Content) -> dict[str, Any]:
    found, looks = content.gallery, content.looks
    near, typical = content.near, content.typical
    used = np.unique(np.concatenate([near[near >= 0], typical[typical >= 0]]))
    pictured = [row for row in used.tolist() if row in content.pictures]
    picture = {row: number for number, row in enumerate(pictured)}
    coords = content.slide.coords[content.shown]
    cosine = np.nan_to_num(content.cosines, nan=-1.0)
    return {
        "slide": content.slide.slide,
        "side": content.slide.side,
        "size": _size(content),
        "thumbnail": content.thumbnail and data_uri(content.thumbnail.jpeg, "image/jpeg"),
        "count": len(content.shown),
        "near": near.shape[1],
        "x": _packed(coords[:, 0], "<i4"),
        "y": _packed(coords[:, 1], "<i4"),
        "cluster": _packed(looks.cluster, "u1"),
        "rgb": _packed(looks.rgb, "u1"),
        "components": _packed(looks.components, "<f4"),
        "probabilities": _packed(
            np.round((looks.probabilities if content.classes else np.empty(0)) * 255), "u1"
        ),
        "neighbors": _packed(_numbered(used, near), "<u4"),
        "cosines": _packed(np.round((cosine + 1) / 2 * 65535), "<u2"),
        "others": {
            "slide": _packed(found.slide[used], "<u2"),
            "x": _packed(found.coords[used, 0], "<i4"),
            "y": _packed(found.coords[used, 1], "<i4"),
            "picture": _packed([picture.get(row, _NONE) for row in used.tolist()], "<u4"),
        },
        "slides": found.slides,
        "pages": [address(name) for name in found.slides],
        "pictures": [base64.b64encode(content.pictures[row]).decode() for row in pictured],
        "colors": list(colors.PALETTE[: len(typical)]),
        "typical": _numbered(used, typical).tolist(),
        "none": _NONE,
        "classes": content.classes,
    }


def _size(content: Content) -> list[float]:
    """Width and height of the map in level-0 px: the slide's, or what its patches reach."""
    if content.thumbnail:
        return list(content.thumbnail.size)
    slide = content.slide
    reached = (
        (slide.coords.max(0) + slide.side).tolist() if len(slide.coords) else [slide.side or 1] * 2
    )
    return [max(each) for each in zip(reached, slide.size, strict=True)]


def _numbered(used: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of the gallery → their places in `used`."""
    return np.where(rows >= 0, np.searchsorted(used, rows), _NONE)


def _packed(values: Any, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")


def _resource(name: str) -> str:
    return importlib.resources.files("histo_simclr.maps").joinpath(name).read_text(encoding="utf-8")
