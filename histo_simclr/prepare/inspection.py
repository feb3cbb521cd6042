"""The first look at all slides of a job: what opens, at what µm/px; before any work is done."""

import csv
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.prepare import engine, survey
from histo_simclr.prepare.engine import Engine
from histo_simclr.prepare.isolated import Lost
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.slide_table import FAILED, NO_MPP, Row
from histo_simclr.prepare.survey import Sampling
from histo_simclr.slides import regions


class Slides(NamedTuple):
    """The slides of a job and what the user says of them.

    Fields:
      items: name, path and provenance of each.
      set_aside: names of files left out as masks and annotations.
      mpp: µm/px of level 0 by name or id, number or (x, y).
      regions: folder of masks and GeoJSONs; None without.
      skip_no_mpp: whether slides without mpp are set aside instead of stopping the job.
      engine: where the work is done.
      parts: folder of what is done, where every worker reaches it; None: beside the result.
    """

    items: list[Item]
    set_aside: list[str]
    mpp: dict[str, Any]
    regions: Path | None
    skip_no_mpp: bool
    engine: Engine
    parts: str | None


def inspected(slides: Slides, px: int, sampling: Sampling, parts: str) -> dict[str, Row]:
    """Rows by name, after every slide was opened; what is done is kept in `parts`.

    Raises:
      InputError: slides without mpp, unless they are to be skipped; regions that cannot be used.
    """
    rows = {item.name: first_row(item) for item in slides.items}
    series: set[str] = set()
    bad_regions = []
    todo = tasks(slides, dict(rows), px, sampling)
    for task, found, _ in engine.run(
        slides.engine, survey.inspect, todo, parts, "slides opened", len(rows)
    ):
        if isinstance(found, Lost):
            rows[task.row.wsi] = task.row.ended(FAILED, found.reason)
            continue
        if found.series and found.series in series:
            del rows[task.row.wsi]  # another file of a DICOM slide that is there already
            continue
        series.add(found.series)
        rows[task.row.wsi] = found.row
        if found.region_error:
            bad_regions.append(found.region_error)
    if bad_regions:
        raise InputError(
            f"{len(bad_regions)} regions cannot be used ({'; '.join(bad_regions[:3])})",
            where=slides.regions,
            way_out="mend them, or take the files away to have the tissue found by rules",
        )
    _refuse_no_mpp([row for row in rows.values() if row.status == NO_MPP], slides.skip_no_mpp)
    return rows


def tasks(
    slides: Slides, rows: dict[str, Row], px: int, sampling: Sampling
) -> Iterator[survey.Task]:
    """Tasks of the slides that have a row, and whose way has not ended."""
    for item in slides.items:
        row = rows.get(item.name)
        if row is None or row.status:
            continue
        region = slides.regions and regions.find_file(slides.regions, item.slide)
        mpp = slides.mpp.get(item.name) or slides.mpp.get(item.slide, 0.0)
        yield survey.Task(row, str(item.data), mpp, region, px, sampling)


def first_row(item: Item) -> Row:
    """What is known of a slide before it was opened."""
    row = Row(item.name, item.slide, item.patient, item.split, item.stain, item.organ)
    return row.ended(FAILED, item.reason) if item.reason else row


def _refuse_no_mpp(without: list[Row], skip: bool) -> None:
    if not without or skip:
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["wsi", "mpp"])
    table.writerows([row.wsi, ""] for row in without)
    raise InputError(
        f"{len(without)} slides do not say their µm/px, e.g. {without[0].wsi}: {without[0].reason}",
        where="slides",
        way_out="save the list above, fill in its second column and give it as --mpp-table; or "
        "set them aside by --skip-no-mpp",
    )


def picture_name(row: Row) -> str:
    """File name of a slide's picture; of each slide another."""
    return f"{urllib.parse.quote(row.slide, safe=' ')}.jpg"
