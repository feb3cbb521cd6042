"""What became of each slide: one row a slide in slides.csv, whatever happened to it."""

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from histo_simclr.slides.resolution import nominal_magnification

OK, NO_TISSUE, UNREADABLE, NO_MPP, FAILED = STATUSES = (
    "ok",
    "no_tissue",
    "unreadable",
    "no_mpp",
    "failed",
)
# Share of the tissue; more removed than this is more often a wrong rule than a bad slide.
REMOVED_WARNING = 0.8


class Row(NamedTuple):
    """One slide. Numbers are 0 and texts empty where nothing is known.

    Fields:
      wsi: path below the source, with extension: the name to use in an mpp table and in a plan.
      slide, patient, split, stain, organ: as in its records.
      status: ok | no_tissue | unreadable | no_mpp | failed.
      reason: why it is not ok.
      warning: what one should look at although it is ok.
      patches: records written, or planned by --plan-only.
      reader, vendor: the library that opened it, the format it found.
      width, height, levels: level-0 px, number of levels.
      mpp_x, mpp_y, mpp_source: µm/px of level 0 and where it was found.
      objective_power: as the file states it; not computed with.
      quickhash: OpenSlide's fingerprint of the slide.
      mask: "rules", or the user's region file.
      tissue: share of the slide's area that is tissue, before removal.
      border, pen, blur, speck: shares of that tissue removed, see slides.tissue.
      candidates: places with enough tissue at each µm/px, "0.5:120 1:28".
    """

    wsi: str
    slide: str
    patient: str = ""
    split: str = ""
    stain: str = ""
    organ: str = ""
    status: str = ""
    reason: str = ""
    warning: str = ""
    patches: int = 0
    reader: str = ""
    vendor: str = ""
    width: int = 0
    height: int = 0
    levels: int = 0
    mpp_x: float = 0.0
    mpp_y: float = 0.0
    mpp_source: str = ""
    objective_power: float = 0.0
    quickhash: str = ""
    mask: str = ""
    tissue: float = 0.0
    border: float = 0.0
    pen: float = 0.0
    blur: float = 0.0
    speck: float = 0.0
    candidates: str = ""

    def ended(self, status: str, reason: str) -> "Row":
        """The row with the status that ends the slide's way."""
        return self._replace(status=status, reason=reason)

    def warned(self, warning: str) -> "Row":
        """The row with one more warning."""
        return self._replace(warning="; ".join(each for each in (self.warning, warning) if each))


def removal(row: Row) -> str:
    """The warning of a slide that lost most of its tissue to the rules; empty for others."""
    causes = {"border": row.border, "pen": row.pen, "blur": row.blur, "speck": row.speck}
    if sum(causes.values()) <= REMOVED_WARNING:
        return ""
    said = ", ".join(f"{cause} {share:.0%}" for cause, share in causes.items() if share >= 0.005)
    return f"{sum(causes.values()):.0%} of its tissue removed ({said})"


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Writes slides.csv."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        for row in rows:
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])


class Counts:
    """Patches by cohort, µm/px, magnification, stain and split, as they are planned or written."""

    def __init__(self, cohort: str):
        self._cohort = cohort
        self._counts: Counter[tuple[float, str, str]] = Counter()

    def add(self, mpp: float, stain: str, split: str, number: int = 1) -> None:
        """Counts patches."""
        self._counts[mpp, stain, split] += number

    def summary(self, rows: list[Row]) -> dict[str, Any]:
        """What summary.json says: slides by status, patches by each of the above, removals."""
        by: dict[str, Counter[str]] = {
            name: Counter() for name in ("cohort", "mpp", "magnification", "stain", "split")
        }
        for (mpp, stain, split), number in sorted(self._counts.items()):
            by["cohort"][self._cohort] += number
            by["mpp"][f"{mpp:g}"] += number
            by["magnification"][f"{nominal_magnification(mpp):g}x"] += number
            by["stain"][stain or "unknown"] += number
            by["split"][split] += number
        statuses = Counter(row.status for row in rows)
        causes = ("border", "pen", "blur", "speck")
        found = sum(row.tissue * row.width * row.height for row in rows)
        removed = {
            cause: sum(row.tissue * row.width * row.height * getattr(row, cause) for row in rows)
            for cause in causes
        }
        return {
            "slides": {status: statuses[status] for status in STATUSES},
            "patches": {name: dict(counts) for name, counts in by.items()},
            "removed": {
                cause: round(area / found, 6) if found else 0.0 for cause, area in removed.items()
            },
            "warnings": {row.wsi: row.warning for row in rows if row.warning},
        }


def say(summary: dict[str, Any]) -> str:
    """The summary in a few lines for people."""
    lines = ["slides: " + ", ".join(f"{n:,} {name}" for name, n in summary["slides"].items() if n)]
    for name, counts in summary["patches"].items():
        said = ", ".join(f"{key}: {number:,}" for key, number in counts.items())
        lines.append(f"patches by {name}: {said or 'none'}")
    removed = ", ".join(f"{cause} {share:.1%}" for cause, share in summary["removed"].items())
    lines.append(f"tissue removed: {removed}")
    lines += [f"warning: {wsi}: {warning}" for wsi, warning in summary["warnings"].items()]
    return "\n".join(lines)
