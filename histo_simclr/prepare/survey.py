"""One slide before its patches are read: what it is, where its tissue lies, which places to take.

These run in processes of their own: each takes one task and writes its outcome, see `parts`.
"""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.prepare import storage
from histo_simclr.prepare.slide_table import FAILED, NO_MPP, NO_TISSUE, OK, UNREADABLE, Row, removal
from histo_simclr.slides import grid, picture, reader, regions, tissue
from histo_simclr.slides.grid import Places, Target
from histo_simclr.slides.pyramid import SlideError
from histo_simclr.slides.reader import Level, Slide
from histo_simclr.slides.resolution import NoMppError, Resolution


class Sampling(NamedTuple):
    """How places are chosen.

    Fields:
      targets: µm/px of the patches with their shares.
      count: patches of a slide, at most.
      least_tissue: share of a patch that must be tissue.
      may_overlap: whether patches of one µm/px may cover those of another.
      seed: any integer.
      keep: causes for which no tissue is removed, see slides.tissue.
      shared: px of a patch that neighbors of its µm/px share with it.
    """

    targets: tuple[Target, ...]
    count: int
    least_tissue: float
    may_overlap: bool
    seed: int
    keep: tuple[str, ...]
    shared: int = 0


class Task(NamedTuple):
    """One slide.

    Fields:
      row: what is known so far.
      path: the slide's file.
      mpp: µm/px of level 0 by the user's table or by a plan; 0: the file's.
      region: the user's mask or GeoJSON; None: the rules.
      px: side of the patches.
      sampling: how places are chosen.
    """

    row: Row
    path: str
    mpp: float | tuple[float, float]
    region: Path | None
    px: int
    sampling: Sampling

    def identity(self) -> tuple[Any, ...]:
        """All that decides what is found, see `parts`."""
        region = (self.region.name, storage.state(str(self.region))) if self.region else ()
        known = self.row, self.mpp, self.px, self.sampling
        return (*known, storage.state(self.path), region)


class Inspected(NamedTuple):
    """What `inspect` found.

    Fields:
      row: with a status if the slide's way ends here.
      region_error: why the user's region cannot be used; empty when it can.
      series: DICOM's SeriesInstanceUID, which the files of a slide share; empty for others.
    """

    row: Row
    region_error: str = ""
    series: str = ""


class Surveyed(NamedTuple):
    """What `survey` found.

    Fields:
      row: with its status.
      places: what to read; None unless the status is ok.
      picture: JPEG of thumbnail, mask and places; empty when the slide could not be read.
      levels: for each µm/px that the slide reaches, the level that its patches are read from.
    """

    row: Row
    places: Places | None = None
    picture: bytes = b""
    levels: tuple[Level, ...] = ()


def inspect(task: Task, file: IO[bytes]) -> Iterator[None]:
    """Opens a slide, reads no pixels, and checks the user's region; writes an Inspected."""
    yield None
    pickle.dump(_inspected(task), file)


def _inspected(task: Task) -> Inspected:
    row = task.row
    try:
        with (
            storage.on_disk(task.path) as path,
            reader.open_slide(path, task.mpp) as slide,
        ):
            series = slide.properties.get("dicom.SeriesInstanceUID", "")
            return Inspected(_described(row, slide), _region_error(task, slide), series)
    except NoMppError as error:
        return Inspected(row.ended(NO_MPP, str(error)))
    except InputError:
        raise
    except Exception as error:  # a library that opens slides may raise anything
        return Inspected(row.ended(UNREADABLE, _reason(error)))


def _described(row: Row, slide: Slide) -> Row:
    width, height = slide.dimensions[0]
    return row._replace(
        reader=slide.reader,
        vendor=slide.properties.get("openslide.vendor", ""),
        width=width,
        height=height,
        levels=len(slide.dimensions),
        mpp_x=slide.resolution.x,
        mpp_y=slide.resolution.y,
        mpp_source=slide.resolution.source,
        objective_power=slide.power,
        quickhash=slide.properties.get("openslide.quickhash-1", ""),
    )


def _region_error(task: Task, slide: Slide) -> str:
    if task.region is None:
        return ""
    try:
        regions.read(task.region, slide.dimensions[0], (1, 1))
    except SlideError as error:
        return str(error)
    return ""


def survey(task: Task, file: IO[bytes]) -> Iterator[None]:
    """Finds the tissue, chooses the places, draws the picture of a slide; writes a Surveyed."""
    try:
        with (
            storage.on_disk(task.path) as path,
            reader.open_slide(path, task.mpp) as slide,
        ):
            yield None
            thumbnail = slide.thumbnail(tissue.MPP, max_pixels=tissue.MAX_PIXELS)
            size, resolution = slide.dimensions[0], slide.resolution
            targets = [each for each in task.sampling.targets if slide.reaches(each.mpp)]
            levels = tuple(slide.level(each.mpp) for each in targets)
    except InputError:
        raise
    except Exception as error:  # a library that reads slides may raise anything
        status = UNREADABLE if isinstance(error, SlideError) else FAILED
        pickle.dump(Surveyed(task.row.ended(status, _reason(error))), file)
        return
    yield None
    row, mask = _masked(task, thumbnail, size, resolution)
    yield None
    row, places = _placed(row, task, mask, targets, size, resolution)
    drawn = io.BytesIO()
    picture.draw(thumbnail, mask, places, size, resolution, task.px).save(drawn, "JPEG", quality=85)
    pickle.dump(Surveyed(row, places, drawn.getvalue(), levels), file)


def _masked(
    task: Task, thumbnail: np.ndarray, size: tuple[int, int], resolution: Resolution
) -> tuple[Row, np.ndarray]:
    if task.region is not None:
        region = regions.read(task.region, size, thumbnail.shape[:2])
        row = task.row._replace(mask=task.region.name, tissue=float(region.mask.mean()))
        return row.warned(region.warning), region.mask
    mpp = size[0] * resolution.x / thumbnail.shape[1]
    found = tissue.find(thumbnail, mpp, task.sampling.keep)
    row = task.row._replace(mask="rules", tissue=found.found, **found.removed)
    return row.warned(removal(row)), found.mask


def _placed(
    row: Row,
    task: Task,
    mask: np.ndarray,
    targets: list[Target],
    size: tuple[int, int],
    resolution: Resolution,
) -> tuple[Row, Places]:
    sampling = task.sampling
    too_fine = [f"{each.mpp:g}" for each in sampling.targets if each not in targets]
    if not targets:
        reason = f"every µm/px asked for is finer than its {resolution.x:.4g}"
        return row.ended(FAILED, reason), grid.NO_PLACES
    if too_fine:
        row = row.warned(f"{', '.join(too_fine)} µm/px is finer than its {resolution.x:.4g}")
    finest = min(each.mpp for each in targets)
    grids = [
        grid.lay(mask, size, resolution, each.mpp, task.px, finest, sampling.shared)
        for each in targets
    ]
    places = grid.choose(
        grids,
        targets,
        slide=row.slide,
        count=sampling.count,
        least_tissue=sampling.least_tissue,
        may_overlap=sampling.may_overlap,
        seed=sampling.seed,
    )
    enough = [int(grid.usable(each, sampling.least_tissue).sum()) for each in grids]
    named = zip(targets, enough, strict=True)
    row = row._replace(
        patches=len(places.x),
        candidates=" ".join(f"{each.mpp:g}:{count}" for each, count in named),
    )
    if len(places.x):
        return row.ended(OK, ""), places
    if mask.any():
        reason = f"no place in it has {sampling.least_tissue:.0%} tissue"
    else:
        reason = "all of its tissue was removed" if row.tissue else "no tissue found"
    return row.ended(NO_TISSUE, reason), places


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, SlideError) else f"{type(error).__name__}: {error}"
