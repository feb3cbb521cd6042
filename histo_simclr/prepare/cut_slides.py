"""The chosen places of one slide → encoded patches, in a file that the parent takes over.

Runs in a process of its own (`isolated`). It holds one region at a time; what it has encoded waits
on disk, so memory does not grow with the number of patches, and a slide that fails half-way leaves
no record behind.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.prepare import patches
from histo_simclr.prepare.patches import Cutting, Patch
from histo_simclr.prepare.slide_table import FAILED, UNREADABLE, Row
from histo_simclr.slides import reader
from histo_simclr.slides.grid import Places
from histo_simclr.slides.pyramid import SlideError
from histo_simclr.slides.reader import Slide


class Task(NamedTuple):
    """One slide.

    Fields:
      row: of the slide.
      path: its file.
      mpp: µm/px of level 0 as (x, y).
      places: what to read.
      cutting: px and encoding of the patches.
      spool: file for the encoded patches.
    """

    row: Row
    path: str
    mpp: tuple[float, float]
    places: Places
    cutting: Cutting
    spool: Path


def cut(task: Task) -> Iterator[Row | None]:
    """Reads and encodes all places; the row gets a status if that fails."""
    count = len(task.places.x)
    try:
        slide = reader.open_slide(task.path, task.mpp)
    except InputError:
        raise
    except Exception as error:  # a library that opens slides may raise anything
        yield task.row.ended(UNREADABLE, str(error))
        return
    with slide, open(task.spool, "wb") as file:
        outside = _outside(slide, task)
        if outside:
            reason = f"{outside} of {count} places of the plan are outside the slide or too fine"
            yield task.row.ended(FAILED, reason)
            return
        for number in range(count):
            try:
                patch = _patch(slide, task, number)
            except SlideError as error:
                yield task.row.ended(UNREADABLE, f"patch {number + 1} of {count}: {error}")
                return
            except Exception as error:  # a library that reads slides may raise anything
                reason = f"patch {number + 1} of {count}: {type(error).__name__}: {error}"
                yield task.row.ended(FAILED, reason)
                return
            pickle.dump(patch, file)
            yield None
    yield task.row


def _outside(slide: Slide, task: Task) -> int:
    count = 0
    places, (width, height) = task.places, slide.dimensions[0]
    for x, y, mpp in zip(places.x, places.y, places.mpp.tolist(), strict=True):
        wide, tall = slide.side(mpp, task.cutting.px)
        inside = x >= 0 and y >= 0 and x + wide < width + 1 and y + tall < height + 1
        count += not (inside and slide.reaches(mpp))
    return count


def _patch(slide: Slide, task: Task, number: int) -> Patch:
    x, y = int(task.places.x[number]), int(task.places.y[number])
    px = task.cutting.px
    pixels = slide.read(x, y, mpp=float(task.places.mpp[number]), px=px)
    return patches.encode(Image.fromarray(pixels), task.cutting, x=x, y=y, side=px)


def spooled(path: Path, count: int) -> Iterator[Patch]:
    """The patches of a spool file that `cut` has filled; the file is gone afterwards."""
    with open(path, "rb") as file:
        for _ in range(count):
            yield pickle.load(file)
    path.unlink()
