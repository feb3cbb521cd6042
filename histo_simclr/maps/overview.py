"""index.html of a look: every slide with what there is of it, and links to its page."""

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from histo_simclr.maps.gallery import Gallery
from histo_simclr.report import page


class Row(NamedTuple):
    """One slide: its patches, whether its page shows tissue, and (k,) patches of each cluster."""

    slide: str
    patches: int
    has_thumbnail: bool
    sizes: np.ndarray


def render(
    gallery: Gallery, rows: Sequence[Row], trouble: Mapping[str, str], said_of_probe: str
) -> str:
    """The page as HTML.

    Args:
      gallery: of all slides.
      rows: one a slide.
      trouble: slide → why it gives no pictures, or not all.
      said_of_probe: where the probe is from; empty without one.
    """
    lead = [
        page.Text(
            f"{sum(gallery.counts):,} patches of {len(rows)} slide{'s' * (len(rows) > 1)}, "
            f"{gallery.unit.shape[1]} features by {gallery.encoder or 'an unnamed encoder'}. "
            "Clusters and colors are the same on all pages. Research software: nothing here is fit "
            "for diagnosis."
        )
    ]
    if said_of_probe:
        lead.append(page.Text(f"Heat map: {said_of_probe}."))
    clusters = len(rows[0].sizes)
    columns = ["slide", "patches", "tissue", "QuPath"]
    columns += [f"cluster {number + 1}" for number in range(clusters)]
    table = page.Table("Slides", tuple(columns), tuple(_row(each, trouble) for each in rows))
    blocks = (table, page.Text("The GeoJSON files: drag one onto its slide in QuPath."))
    return page.render("A look at slides", lead, [page.Section("Slides", "slides", blocks)])


def _row(slide: Row, trouble: Mapping[str, str]) -> page.Row:
    quoted = urllib.parse.quote(slide.slide)
    tissue = "shown" if slide.has_thumbnail else trouble.get(slide.slide, "not at hand")
    shares = slide.sizes / max(1, slide.patches)
    return page.row(
        page.Cell(slide.slide, link=f"slides/{quoted}.html"),
        f"{slide.patches:,}",
        tissue,
        page.Cell("GeoJSON", link=f"qupath/{quoted}.geojson"),
        *(f"{share:.1%}" for share in shares),
    )
