"""embed.csv: how each slide ended, kept while the job runs, read again when it goes on."""

import contextlib
import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

from histo_simclr.embed.feature_file import TEMPORARY, writing
from histo_simclr.embed.shares import ALL, Share
from histo_simclr.prepare.slide_table import NO_TISSUE, OK


class End(NamedTuple):
    """One slide; texts are empty and numbers 0 where nothing is known.

    Fields:
      wsi: path below the source, with extension.
      slide: its id, the name of its files.
      status: ok | no_tissue | unreadable | no_mpp | failed.
      reason: why it is not ok.
      warning: what one should look at although it is ok.
      patches: features written.
      seconds: from the first look at it to its last feature; other slides' were computed meanwhile.
      mpp_x, mpp_y, mpp_source: µm/px of level 0 and where it was found.
      level, downsample: of the slide, that its patches were read from.
      mask: "rules", or the user's region file.
      tissue: share of the slide's area that is tissue.
      settings: digest of all that decided the places.
      series: digest of DICOM's SeriesInstanceUID, which the files of a slide share.
    """

    wsi: str
    slide: str
    status: str
    reason: str = ""
    warning: str = ""
    patches: int = 0
    seconds: float = 0.0
    mpp_x: float = 0.0
    mpp_y: float = 0.0
    mpp_source: str = ""
    level: int = 0
    downsample: float = 0.0
    mask: str = ""
    tissue: float = 0.0
    settings: str = ""
    series: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether there is something to mend: a slide without tissue has nothing to give."""
        return self.status not in (OK, NO_TISSUE)


def file_of(out: Path, share: Share) -> Path:
    """The table of a share: embed.csv, or of several embed.3of8.csv."""
    return out / ("embed.csv" if share == ALL else f"embed.{share.number}of{share.count}.csv")


def earlier(out: Path) -> dict[str, End]:
    """How slides ended in earlier runs, by name, whatever their shares; the newest file counts."""
    found: dict[str, End] = {}
    files = [*out.glob("embed.csv"), *out.glob("embed.*of*.csv")]
    for path in sorted(files, key=lambda each: each.stat().st_mtime_ns):
        found |= read(path)
    return found


def read(path: Path) -> dict[str, End]:
    """The rows of a table by name; none when there is no table, none that a kill has torn."""
    kinds = End.__annotations__
    found: dict[str, End] = {}
    if not path.exists():
        return found
    suppressed = contextlib.suppress(csv.Error)
    with open(path, newline="", encoding="utf-8", errors="replace") as file, suppressed:
        for row in csv.DictReader(file):
            if row.keys() != kinds.keys() or None in row.values():
                continue
            with contextlib.suppress(ValueError):
                end = End(**{name: kinds[name](text) for name, text in row.items()})
                found[end.wsi] = end
    return found


def status_of(count: int) -> str:
    """The status of a complete file of so many features."""
    return OK if count else NO_TISSUE


class Ends:
    """The table of a running job: each slide is in it as soon as it has ended.

    Args:
      path: of the table.
      kept: slides that had ended before.

    Raises:
      InputError: the place cannot be written; as all methods do.
    """

    def __init__(self, path: Path, kept: Iterable[End]):
        self._path, self._temporary = path, path.with_name(path.name + TEMPORARY)
        self.rows = {end.wsi: end for end in kept}
        self._write_all()
        with writing(path, self._temporary):
            # Open for as long as the job runs: closed by `close`.
            self._file: IO[str] = path.open("a", newline="", encoding="utf-8")

    def add(self, end: End) -> None:
        """Notes how a slide ended."""
        self.rows[end.wsi] = end
        with writing(self._path, self._temporary):
            csv.writer(self._file, lineterminator="\n").writerow(_cells(end))
            self._file.flush()

    def close(self) -> None:
        """Writes the table anew, in the order of the names."""
        with writing(self._path, self._temporary):
            self._file.close()
        self._write_all()

    def _write_all(self) -> None:
        with writing(self._path, self._temporary):
            with open(self._temporary, "w", newline="", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(End._fields)
                table.writerows(_cells(self.rows[wsi]) for wsi in sorted(self.rows))
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._temporary, self._path)


def _cells(end: End) -> list[str | int]:
    return [f"{value:.6g}" if isinstance(value, float) else value for value in end]
