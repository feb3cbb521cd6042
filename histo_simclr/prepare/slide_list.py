"""Which slides there are, with ids and patients: from folders, files and CSVs; opens none."""

import os
import re
from collections import Counter
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.prepare import beside, holdout, sources
from histo_simclr.prepare.item import Item
from histo_simclr.slides.reader import slide_id

# What only whole slides have, and what other images have too: TRIDENT's list (mahmoodlab/TRIDENT,
# trident/wsi_objects). Whether a library opens them is seen when it tries.
SLIDES_ONLY = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".czi")
EXTENSIONS = (*SLIDES_ONLY, ".dcm", ".tif", ".tiff", ".png", ".jpg", ".jpeg")
# A Hamamatsu slide of several files: the images beside it are its parts.
_INDEX = (".vms", ".vmu")
_IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
# TCGA's barcode: project, tissue source site, participant (docs.gdc.cancer.gov, TCGA barcode).
_TCGA = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?=[-.]|$)")


def find(
    source: list[str],
    *,
    defaults: Item,
    pattern: str,
    labels: str,
    only: str = "",
    held_out: float = 0.0,
) -> tuple[list[Item], list[str]]:
    """Every slide once, in the order of the sources and of the names in each folder.

    Args:
      source: folders, CSVs with a column `path`, and slide files.
      defaults, pattern, labels, only: as for patch images, see `sources.open_source`.
      held_out: share of the slides for the test split, see `holdout.with_holdout`; 0: none.

    Returns:
      Items with slide and patient filled in: the slide's id is its file name without extension,
      the patient TCGA's where the id is a TCGA barcode, unless pattern or CSV say otherwise. And
      the names of the files that are left out as masks and annotations.

    Raises:
      InputError: as `sources.open_sources`; no slide; two slides of one id.
    """
    files = [each for each in source if Path(each).is_file() and not each.lower().endswith(".csv")]
    others = [each for each in source if each not in files]
    if files and (pattern or labels or only):
        raise InputError(
            "--pattern, --labels and --only describe a folder of slides, this is a file",
            where=files[0],
            way_out="give the folder, or a CSV with a column `path` as SOURCE",
        )
    items = [defaults._replace(name=Path(each).name, data=each) for each in files]
    if others:
        walk = sources.open_sources(
            others,
            defaults=defaults,
            pattern=pattern,
            labels=labels,
            only=only,
            extensions=EXTENSIONS,
        )
        items += walk()
    set_aside = [item.name for item in items if item.reason == beside.REASON]
    items = [item for item in items if item.reason != beside.REASON]
    items = [_identified(item) for item in _without_parts(items)]
    where, endings = " ".join(source), " ".join(EXTENSIONS)
    if not items:
        raise InputError(
            f"no slides{f', but {set_aside[0]} …, each {beside.REASON}' if set_aside else ''}",
            where=where,
            way_out=beside.WAY_OUT if set_aside else f"give files that end in {endings}",
        )
    counts = Counter(item.slide for item in items)
    twice = [slide for slide, count in counts.items() if count > 1]
    if twice:
        names = ", ".join(item.name for item in items if item.slide == twice[0])
        raise InputError(
            f"{len(twice)} slide ids are there twice, e.g. {twice[0]!r} ({names})",
            where=where,
            way_out="rename one, or give a CSV with the columns `path` and `slide`",
        )
    beside.warn(set_aside[0] if set_aside else "", len(set_aside))
    if held_out:
        items = list(holdout.with_holdout(lambda: iter(items), held_out, where)())
    return items, set_aside


def _without_parts(items: list[Item]) -> list[Item]:
    folders = {os.path.dirname(item.name) for item in items if item.name.lower().endswith(_INDEX)}
    return [
        item
        for item in items
        if not (os.path.dirname(item.name) in folders and item.name.lower().endswith(_IMAGES))
    ]


def _identified(item: Item) -> Item:
    slide = item.slide or slide_id(item.name)
    barcode = _TCGA.match(slide)
    return item._replace(slide=slide, patient=item.patient or (barcode[0] if barcode else ""))
