"""Whose patches lie nearest to whose: panels of queries and neighbors, and shares of all."""

from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr.evaluate import neighbors
from histo_simclr.looks import drawing
from histo_simclr.looks.sample import Sample, spread

# Of a line below a patch.
_LETTERS = 16


def look(
    features: np.ndarray, sample: Sample, out: Path, *, queries: int, near: int, seed: int
) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Draws some test patches with their neighbors, and counts the neighbors of all.

    Args:
      features: (n, D) of the sample.
      sample: n patches.
      out: folder of the picture.
      queries: test patches shown, spread over tasks and classes.
      near: neighbors of each.
      seed: of the choice.

    Returns:
      Pictures and tables (`looks.look`).
    """
    found, _ = neighbors.nearest(
        features, features, count=near, query_groups=sample.group, gallery_groups=sample.group
    )
    family = sample.families()
    compares = (family[found] == family[:, None]) & (sample.label != "")[:, None] & (found >= 0)
    same = compares & (sample.label[found] == sample.label[:, None])
    verdicts = np.where(same, "same", np.where(compares, "other", ""))
    tested = np.flatnonzero(sample.split == "test")
    cells = np.char.add(np.char.add(sample.task, " "), sample.label)
    shown = tested[spread(cells[tested], sample.group[tested], queries, seed=seed)]
    sheets = [[row, *found[row]] for row in shown.tolist()]
    captions = [["" if row < 0 else _caption(sample, row) for row in sheet] for sheet in sheets]
    drawing.neighbor_panels(
        sample.patches[np.array(sheets)], captions, verdicts[shown], out / "neighbors.png"
    )
    picture = drawing.entry(
        out,
        "neighbors.png",
        "Nearest neighbors",
        f"{len(shown)} test patches (left) and the {near} drawn patches nearest to each by cosine, "
        "of other patients or slides only. Green with ✓: same class; orange with ✗: another class; "
        "gray with –: of a task whose classes do not compare.",
    )
    return [picture], [_table(sample, found, verdicts, near)]


def _table(sample: Sample, found: np.ndarray, verdicts: np.ndarray, near: int) -> dict[str, Any]:
    there = found >= 0
    of_cohort = there & (sample.cohort[found] == sample.cohort[:, None])
    rows = []
    for task in np.unique(sample.task).tolist():
        mine = sample.task == task
        total = max(int(there[mine].sum()), 1)
        values = (verdicts[mine] == "same", verdicts[mine] == "other", of_cohort[mine])
        shares = [f"{each.sum() / total:.1%}" for each in values]
        rows.append([task, f"{mine.sum():,}", *shares])
    return {
        "title": f"The {near} nearest neighbors of all drawn patches",
        "columns": ["task", "patches", "same class", "another class", "same cohort"],
        "rows": rows,
        "note": "Neighbors of other patients or slides only. What lacks to 100 % of the classes is "
        "of tasks whose classes do not compare.",
    }


def _caption(sample: Sample, row: int) -> str:
    """Cohort and class, as long as the patch is wide."""
    words = sample.cohort[row] or sample.task[row], sample.label[row] or "no class"
    return "\n".join(
        word if len(word) <= _LETTERS else word[: _LETTERS - 1] + "…" for word in words
    )
