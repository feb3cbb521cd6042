"""Montages of clusters: what lies together, and whether it is a class or a cohort."""

from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr.evaluate import clusters, neighbors
from histo_simclr.looks import drawing
from histo_simclr.looks.sample import Sample

_RESTARTS, _ITERATIONS = 4, 100


def look(
    features: np.ndarray, sample: Sample, out: Path, *, count: int, typical: int, seed: int
) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Draws the most typical patches of k-means clusters, and says what clusters agree with.

    Args:
      features: (n, D) of the sample; compared by their directions.
      sample: n patches.
      out: folder of the picture.
      count: k.
      typical: patches shown of each.
      seed: of the starts.

    Returns:
      Pictures and tables (`looks.look`).
    """
    from sklearn.metrics import adjusted_mutual_info_score

    unit = neighbors.unit_length(features)
    found = clusters.kmeans(
        unit,
        count=min(count, len(unit)),
        restarts=_RESTARTS,
        max_iterations=_ITERATIONS,
        seed=seed,
    )
    rows = clusters.typical(unit, found, count=typical)
    sizes = np.bincount(found.assignment, minlength=len(rows))
    shown = [number for number in np.argsort(-sizes, kind="stable").tolist() if sizes[number]]
    drawing.montage(
        [sample.patches[rows[number][rows[number] >= 0]] for number in shown],
        [_composition(sample, found.assignment == number) for number in shown],
        out / "clusters.png",
    )
    family = sample.families()
    compared = {
        f"class, {name}": np.where(family == name, sample.label, "")
        for name in np.unique(family).tolist()
    }
    compared |= {"cohort": sample.cohort, "stain": sample.stain}
    table = []
    for what, labels in compared.items():
        known = labels != ""
        values = np.unique(labels[known])
        if len(values) > 1:
            score = adjusted_mutual_info_score(labels[known], found.assignment[known])
            table.append([what, len(values), f"{known.sum():,}", f"{score:.3f}"])
    picture = drawing.entry(
        out,
        "clusters.png",
        "Clusters and their most typical patches",
        f"k-means (k = {len(rows)}) of unit-length features; of each cluster, the largest first, "
        f"the {typical} patches nearest to its center and what it is made of.",
    )
    return [picture], [
        {
            "title": "What the clusters agree with",
            "columns": ["labels", "values", "patches", "adjusted mutual information"],
            "rows": table,
            "note": "1: clusters are the labels; 0: no more than by chance. Each row is over the "
            "patches that have these labels.",
        }
    ]


def _composition(sample: Sample, members: np.ndarray) -> str:
    """Cohorts and classes of a cluster, the most frequent first, in short lines."""
    lines = [f"{members.sum():,} patches"]
    what = [f"{_short(*pair)}" for pair in zip(sample.cohort, sample.label, strict=True)]
    names, counts = np.unique(np.array(what)[members], return_counts=True)
    ranked = np.argsort(-counts, kind="stable")
    lines += [f"{counts[i] / members.sum():.0%} {names[i]}" for i in ranked[:4]]
    rest = counts[ranked[4:]].sum()
    return "\n".join(lines + ([f"{rest / members.sum():.0%} others"] if rest else []))


def _short(cohort: str, label: str) -> str:
    return f"{cohort} {label or '(no class)'}"[:34]
