"""Slides → tissue, places, pixels: in processes that may crash or hang, several slides in flight.

While the patches of one slide are read, the next ones are already looked at. What waits stays
little, however large slides are. Knows nothing of encoders.
"""

import contextlib
import io
import pickle
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.prepare import isolated, survey
from histo_simclr.prepare.isolated import Lost
from histo_simclr.prepare.slide_table import FAILED, UNREADABLE, Row
from histo_simclr.slides import reader
from histo_simclr.slides.grid import NO_PLACES, Places
from histo_simclr.slides.pyramid import SlideError
from histo_simclr.slides.reader import Level, Slide

# Bytes of pixels that a worker hands over at once: enough to outweigh its dispatch.
CHUNK_BYTES = 8 * 2**20
_ALIVE = 1.0  # seconds between two signs of life


class Found(NamedTuple):
    """What a slide is and where its tissue lies.

    Fields:
      row: with its status; "ok" when there is something to read.
      places: what to read, row by row from the top.
      level: what they are read from; None unless there are some.
      picture: JPEG of thumbnail, mask and places; empty when the slide could not be read.
      series: DICOM's SeriesInstanceUID, which the files of a slide share; empty for others.
    """

    row: Row
    places: Places = NO_PLACES
    level: Level | None = None
    picture: bytes = b""
    series: str = ""


class Chunk(NamedTuple):
    """Places of one slide that are read together.

    Fields:
      wsi: name of the slide.
      path: its file.
      resolution: µm/px of level 0 as (x, y).
      places: which.
      px: side of the patches.
    """

    wsi: str
    path: str
    resolution: tuple[float, float]
    places: Places
    px: int


class Pixels(NamedTuple):
    """(n, px, px, 3) uint8 of a chunk's places, and the seconds that reading them took."""

    patches: np.ndarray
    seconds: float


class Failed(NamedTuple):
    """A chunk that could not be read; the slide's status and the reason."""

    status: str
    reason: str


def read(
    tasks: Iterable[survey.Task],
    *,
    workers: int,
    silence: float,
    begin: Callable[[Found], bool],
) -> Iterator[tuple[str, Pixels | Failed]]:
    """The pixels of all slides, slide by slide, in the order of the tasks and places.

    Args:
      tasks: the slides; taken as they are needed.
      workers: processes that read patches; half as many look at the slides that come next.
      silence: seconds without a sign of life after which a process is given up.
      begin: is told of each slide before its pixels are read, and says whether they are wanted.

    Yields:
      (name of the slide, chunk); nothing more of a slide after its first Failed.
    """
    lost: set[str] = set()
    looks = isolated.in_order(look, tasks, workers=-(-workers // 2), silence=silence)

    def chunks() -> Iterator[Chunk]:
        for task, found in looks:
            if isinstance(found, Lost):
                found = Found(task.row.ended(FAILED, found.reason))
            if not begin(found):
                continue
            for chunk in _chunks(task, found):
                if chunk.wsi in lost:
                    break
                yield chunk

    with contextlib.closing(looks):
        parts = isolated.in_order(_read, chunks(), workers=workers, silence=silence)
        with contextlib.closing(parts):
            for chunk, part in parts:
                if chunk.wsi in lost:
                    continue
                if isinstance(part, Lost):
                    part = Failed(FAILED, part.reason)
                if isinstance(part, Failed):
                    lost.add(chunk.wsi)
                yield chunk.wsi, part


def _chunks(task: survey.Task, found: Found) -> Iterator[Chunk]:
    step = max(1, CHUNK_BYTES // (3 * task.px**2))
    resolution = found.row.mpp_x, found.row.mpp_y
    for first in range(0, len(found.places.x), step):
        places = Places(*(column[first : first + step] for column in found.places))
        yield Chunk(found.row.wsi, task.path, resolution, places, task.px)


def look(task: survey.Task) -> Iterator[Any]:
    """Opens a slide and finds its tissue; last comes a Found. Runs in a worker process."""
    inspected = yield from _outcome(survey.inspect, task)
    row, series = inspected.row, inspected.series
    if inspected.region_error:
        row = row.ended(FAILED, f"its region cannot be used: {inspected.region_error}")
    if row.status:
        yield Found(row, series=series)
        return
    found = yield from _outcome(survey.survey, task._replace(row=row))
    level = found.levels[0] if found.levels else None
    yield Found(found.row, found.places or NO_PLACES, level, found.picture, series)


def _outcome(work: Any, task: survey.Task) -> Generator[None, None, Any]:
    file = io.BytesIO()
    yield from work(task, file)
    file.seek(0)
    return pickle.load(file)


class _Kept:
    """The slide that this process reads: to open one takes longer than to read a patch."""

    name: tuple[Any, ...] = ()
    slide: Slide | None = None


def _open(chunk: Chunk) -> Slide:
    name = chunk.path, chunk.resolution
    if _Kept.slide is None or _Kept.name != name:
        if _Kept.slide is not None:
            _Kept.slide.close()
            _Kept.slide = None
        _Kept.slide, _Kept.name = reader.open_slide(chunk.path, chunk.resolution), name
    return _Kept.slide


def _read(chunk: Chunk) -> Iterator[Pixels | Failed | None]:
    """Reads a chunk; what runs in the worker processes."""
    start = said = time.monotonic()
    places, count = chunk.places, len(chunk.places.x)
    patches = np.empty((count, chunk.px, chunk.px, 3), np.uint8)
    try:
        slide = _open(chunk)
        columns = (places.x.tolist(), places.y.tolist(), places.mpp.tolist())
        for number, (x, y, mpp) in enumerate(zip(*columns, strict=True)):
            patches[number] = slide.read(x, y, mpp=mpp, px=chunk.px)
            if time.monotonic() - said > _ALIVE:
                said = time.monotonic()
                yield None
    except InputError:
        raise
    except SlideError as error:
        yield Failed(UNREADABLE, str(error))
        return
    except Exception as error:  # a library that reads slides may raise anything
        yield Failed(FAILED, f"{type(error).__name__}: {error}")
        return
    yield Pixels(patches, time.monotonic() - start)
