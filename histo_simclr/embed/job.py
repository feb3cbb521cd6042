"""Slides in flight: from what was found of each to its finished files and its line in embed.csv."""

import contextlib
import hashlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from histo_simclr.embed import also, feature_file, layouts
from histo_simclr.embed.feature_file import FeatureFile
from histo_simclr.embed.layouts import Job, Places
from histo_simclr.embed.reading import Found
from histo_simclr.embed.slide_ends import End, Ends
from histo_simclr.prepare.slide_table import NO_TISSUE, OK
from histo_simclr.slides.grid import NO_PLACES


class Slides:
    """Takes what is found, read and encoded, and writes it.

    Args:
      job: what the slides have in common.
      places: where the files go.
      ends: the table to note ends in.
      settings: digest of all that decides a slide's places, by name.
      series: DICOM series (digests) of slides that are done.
      dimensions, dtype: of the features.
      copies: further formats.

    Attributes:
      patches: features that have been written.
      begun, ended: slides.
      expected: patches of the slides that have begun.
      writing: seconds spent on files.
    """

    def __init__(
        self,
        job: Job,
        places: Places,
        ends: Ends,
        settings: dict[str, str],
        *,
        series: Collection[str],
        dimensions: int,
        dtype: str,
        copies: Sequence[str],
    ):
        self._job, self._places, self._ends, self._settings = job, places, ends, settings
        self._dimensions, self._dtype, self._copies = dimensions, dtype, copies
        self._open: dict[str, tuple[Found, FeatureFile]] = {}
        self._started: dict[str, float] = {}
        self._series = set(series)
        self.patches = self.begun = self.ended = self.expected = 0
        self.writing = 0.0

    def start(self, wsi: str) -> None:
        """Notes that a slide is being looked at."""
        self._started[wsi] = time.monotonic()

    def begin(self, found: Found) -> bool:
        """Takes what was found of a slide; whether its pixels are wanted."""
        row = found.row
        self.begun += 1
        if found.series:
            if _digest(found.series) in self._series:
                self.ended += 1  # another file of a DICOM slide that is there already
                return False
            self._series.add(_digest(found.series))
        if row.status not in (OK, NO_TISSUE):
            self._discard(row.slide)
            self._end(found, row.status, row.reason)
            return False
        with self._timed():
            path = self._places.feature_file(row.slide)
            if self._is_there(path, found):
                also.write(path, self._copies)
                self._end(found, row.status, row.reason)
                return False
            also.remove(path, self._copies)
            content, coords = layouts.content(self._job, found, self._settings[row.wsi])
            feature_file.write_coords(self._places.coords_file(row.slide), coords)
            self._write_picture(found)
            file = FeatureFile(path, content, self._dimensions, self._dtype)
            self._open[row.wsi] = found, file
            if not len(found.places.x):
                self._finish(row.wsi)
                return False
        self.expected += len(found.places.x)
        return True

    def write(self, wsi: str, features: np.ndarray) -> None:
        """Takes the next features of a slide; those of one that has failed are let go."""
        if wsi not in self._open:
            return
        with self._timed():
            self.patches += len(features)
            if self._open[wsi][1].append(features):
                self._finish(wsi)

    def fail(self, wsi: str, status: str, reason: str) -> None:
        """Sets a slide aside whose pixels cannot be read."""
        found, file = self._open.pop(wsi)
        file.abandon()
        self._discard(found.row.slide)
        self.expected -= len(found.places.x)
        self._end(found._replace(places=NO_PLACES), status, reason)

    def guess(self, count: int) -> int:
        """Patches of `count` slides, if those to come have as many as those that have begun."""
        return round(self.expected * count / max(1, self.begun))

    def abandon(self) -> None:
        """Lets go what is unfinished."""
        for _, file in self._open.values():
            file.abandon()
        self._open.clear()

    def _finish(self, wsi: str) -> None:
        found, file = self._open.pop(wsi)
        file.finish()
        also.write(self._places.feature_file(found.row.slide), self._copies)
        self._end(found, found.row.status, found.row.reason)

    def _end(self, found: Found, status: str, reason: str) -> None:
        row, level = found.row, found.level
        self.ended += 1
        self._ends.add(
            End(
                wsi=row.wsi,
                slide=row.slide,
                status=status,
                reason=reason,
                warning=row.warning,
                patches=len(found.places.x),
                seconds=time.monotonic() - self._started.pop(row.wsi, time.monotonic()),
                mpp_x=row.mpp_x,
                mpp_y=row.mpp_y,
                mpp_source=row.mpp_source,
                level=level.number if level else 0,
                downsample=level.downsample if level else 0.0,
                mask=row.mask,
                tissue=row.tissue,
                settings=self._settings[row.wsi],
                series=_digest(found.series),
            )
        )

    def _discard(self, slide: str) -> None:
        """Features of what the slide was before must not be taken for those of what it is."""
        path = self._places.feature_file(slide)
        for old in (path, self._places.coords_file(slide)):
            old.unlink(missing_ok=True)
        also.remove(path, self._copies)

    def _is_there(self, path: Path, found: Found) -> bool:
        """Whether the file is this very slide's, which only the table had forgotten."""
        stored = feature_file.stored(path)
        coords = np.stack([found.places.x, found.places.y], axis=1)
        return (
            stored is not None
            and (stored.dimensions, stored.dtype) == (self._dimensions, self._dtype)
            and stored.encoder == feature_file.encoder_of(self._job.features_attributes)
            and stored.settings == self._settings[found.row.wsi]
            and np.array_equal(stored.coords, coords)
        )

    def _write_picture(self, found: Found) -> None:
        if not found.picture:
            return
        path = self._places.picture(found.row.slide)
        temporary = path.with_name(path.name + feature_file.TEMPORARY)
        with feature_file.writing(path, temporary):
            temporary.write_bytes(found.picture)
            os.replace(temporary, path)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.writing += time.monotonic() - start


def _digest(series: str) -> str:
    # The UID itself leads to the patient's other images.
    return hashlib.sha256(series.encode()).hexdigest()[:16] if series else ""
