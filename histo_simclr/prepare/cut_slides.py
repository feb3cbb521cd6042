"""The chosen places of one slide → encoded patches, in a part that the parent takes over.

Runs in a process of its own, see `parts`. It holds one region at a time; what it has encoded waits
on disk, so memory does not grow with the number of patches, and a slide that fails half-way leaves
no record behind.
"""

import contextlib
import pickle
from collections.abc import Generator, Iterator
from typing import IO, Any, NamedTuple

from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.prepare import patches, storage
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
    """

    row: Row
    path: str
    mpp: tuple[float, float]
    places: Places
    cutting: Cutting

    def identity(self) -> tuple[Any, ...]:
        """All that decides the patches, see `parts`."""
        return self.row, self.mpp, self.places, self.cutting, storage.state(self.path)


def cut(task: Task, file: IO[bytes]) -> Iterator[None]:
    """Reads and encodes all places; writes the slide's row, and behind it every Patch.

    If that fails, the row with its status stands there alone.
    """
    pickle.dump(task.row, file)
    failed = yield from _cut(task, file)
    if failed:
        file.seek(0)
        file.truncate()
        pickle.dump(failed, file)


def _cut(task: Task, file: IO[bytes]) -> Generator[None, None, Row | None]:
    count = len(task.places.x)
    with contextlib.ExitStack() as opened:
        try:
            path = opened.enter_context(storage.on_disk(task.path))
            slide = opened.enter_context(reader.open_slide(path, task.mpp))
        except InputError:
            raise
        except Exception as error:  # a library that opens slides may raise anything
            return task.row.ended(UNREADABLE, str(error))
        outside = _outside(slide, task)
        if outside:
            reason = f"{outside} of {count} places of the plan are outside the slide or too fine"
            return task.row.ended(FAILED, reason)
        for number in range(count):
            try:
                patch = _patch(slide, task, number)
            except SlideError as error:
                return task.row.ended(UNREADABLE, f"patch {number + 1} of {count}: {error}")
            except Exception as error:  # a library that reads slides may raise anything
                reason = f"patch {number + 1} of {count}: {type(error).__name__}: {error}"
                return task.row.ended(FAILED, reason)
            pickle.dump(patch, file)
            yield None
    return None


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


def patches_of(file: IO[bytes], count: int) -> Iterator[Patch]:
    """The patches that `cut` has written, from a part that was read up to them."""
    for _ in range(count):
        yield pickle.load(file)
