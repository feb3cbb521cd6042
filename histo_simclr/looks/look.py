"""What an encoder's features look like: neighbors, projection, clusters, robustness, drift.

Features of drawn patches in; PNG files and the tables of a report out. Knows no encoder, but takes
a function that encodes patches where it has to see them enlarged.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks, neighbors
from histo_simclr.looks import drawing, magnify, montage, nearest, robustness
from histo_simclr.looks.sample import Sample

# t-SNE needs more points than this to be worth a look; its perplexity is at most a third of them.
_MIN_POINTS = 10

# Pictures and tables, as `look` returns them.
Found = tuple[list[dict[str, str]], list[dict[str, Any]]]


def look(
    name: str,
    features: np.ndarray,
    sample: Sample,
    *,
    out: Path,
    encode: Callable[[np.ndarray], np.ndarray] | None,
    queries: int,
    near: int,
    perplexity: float,
    cluster_count: int,
    typical: int,
    folds: int,
    strength: float,
    resamples: int,
    places: int,
    batch_size: int,
    seed: int,
) -> dict[str, Any]:
    """Draws and measures all looks at one encoder.

    Args:
      name: of the encoder.
      features: (n, D) float32 of the sample's patches, `sample.features(…)`.
      sample: n patches, the same for all encoders that are compared.
      out: folder of the pictures, made here; its name and its parent's are in what is returned.
      encode: (batch_size, s, s, 3) uint8 → (batch_size, D), for the drift; None: it is left out.
      queries: test patches shown with their neighbors.
      near: neighbors of each.
      perplexity: of t-SNE; at most a third of the patches is used.
      cluster_count: k of k-means.
      typical: patches shown of each cluster.
      folds, strength, resamples: see `batch_effect.separability`.
      places: patches that are enlarged.
      batch_size: patches encoded at a time.
      seed: of everything drawn.

    Returns:
      JSON values: encoder; pictures (title, caption, file); tables (title, columns, rows, note);
      robustness (`robustness.numbers`).

    Raises:
      InputError: features with NaN, or not one row a patch.
    """
    _check(name, features, sample)
    out.mkdir(parents=True, exist_ok=True)
    effects = robustness.effects(
        features,
        sample,
        neighbors=near,
        folds=folds,
        strength=strength,
        resamples=resamples,
        seed=seed,
    )
    made = [
        nearest.look(features, sample, out, queries=queries, near=near, seed=seed),
        _projection(features, sample, out, perplexity=perplexity, seed=seed),
        montage.look(features, sample, out, count=cluster_count, typical=typical, seed=seed),
        ([], [robustness.table(effects)]),
        _drift(sample, out, encode, places=places, batch_size=batch_size, seed=seed),
    ]
    return {
        "encoder": name,
        "pictures": [picture for pictures, _ in made for picture in pictures],
        "tables": [table for _, tables in made for table in tables],
        "robustness": {"effects": robustness.numbers(effects)},
    }


def project(features: np.ndarray, *, perplexity: float, seed: int) -> np.ndarray:
    """(n, 2) t-SNE by cosine, from the two main components; equal arguments give equal points."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(perplexity, (len(features) - 1) / 3)
    # Of unit vectors the squared distance is twice the cosine distance.
    unit = neighbors.unit_length(features)
    # One thread: several wait for each other by spinning, which on cores that other work keeps
    # busy took five times as long; and the points do not depend on their number.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit)


def _check(name: str, features: np.ndarray, sample: Sample) -> None:
    checks.check_features(features, features, where=name)
    if len(features) != len(sample.row):
        raise InputError(
            f"{len(features)} features for {len(sample.row)} patches",
            where=name,
            way_out="take the features of the sample's rows: sample.features(…)",
        )


def _projection(
    features: np.ndarray, sample: Sample, out: Path, *, perplexity: float, seed: int
) -> Found:
    if len(sample.row) < _MIN_POINTS:
        return [], []
    points = project(features, perplexity=perplexity, seed=seed)
    panels = {"cohort": sample.cohort, "stain": sample.stain}
    alike = [name for name, labels in panels.items() if len(np.unique(labels)) < 2]
    family = sample.families()
    for name in np.unique(family).tolist():
        labels = np.where(family == name, sample.label, "")
        if (labels != "").any():
            panels[f"class: {name}"] = labels
    shown = {name: labels for name, labels in panels.items() if name not in alike}
    drawing.scatter_panels(points, shown or panels, out / "projection.png")
    caption = (
        f"t-SNE of {len(points):,} drawn patches by cosine (perplexity "
        f"{min(perplexity, (len(points) - 1) / 3):g}, seed {seed}), once colored by each. Only "
        "who lies beside whom means something, not how far clusters are apart or how large. "
        "Clusters by cohort or stain rather than by class: the features tell the lab."
    )
    if alike:
        caption += f" No panel where all patches are alike: {', '.join(alike)}."
    return [drawing.entry(out, "projection.png", "Projection of the features", caption)], []


def _drift(
    sample: Sample,
    out: Path,
    encode: Callable[[np.ndarray], np.ndarray] | None,
    *,
    places: int,
    batch_size: int,
    seed: int,
) -> Found:
    title = "Drift against magnification"
    if encode is None:
        note = "Left out: these features come without an encoder that could see patches enlarged."
        return [], [{"title": title, "columns": [], "rows": [], "note": note}]
    found = magnify.drifts(sample, encode, places=places, batch_size=batch_size, seed=seed)
    # Ascending µm/px is descending magnification; the last is the whole patch.
    magnification = 1 / next(iter(found.values())).drift.mpp[::-1]
    distances = {task: each.drift.distance[-1][::-1] for task, each in found.items()}
    moved = {task: each.moved[::-1] for task, each in found.items()}
    spreads = {task: each.drift.spread[::-1] for task, each in found.items()}
    drawing.drift_curves(magnification, distances, moved, spreads, out / "drift.png")
    caption = (
        f"Cosine distance between features of {sum(map(_places, found.values())):,} patches and of "
        "their enlarged centers, all resized to one side so that they are equally sharp. The "
        "center also shows less of the tissue. Where a curve reaches the dotted line, the "
        "magnification matters as much as the place."
    )
    rows = []
    for task, each in found.items():
        spread = each.drift.spread[-1]
        ratio = distances[task][-1] / spread if spread > 0 else float("nan")
        numbers = map(_number, (*distances[task][1:], moved[task][-1], spread, ratio))
        rows.append([task, _places(each), *numbers])
    columns = [
        "task",
        "places",
        *(f"distance at {value:.2f}x" for value in magnification[1:]),
        f"moved at {magnification[-1]:.2f}x",
        "between places",
        f"ratio at {magnification[-1]:.2f}x",
    ]
    note = (
        "Distance: to the whole patch. Moved: between center and corner, enlarged alike; a "
        "distance no larger may be due to what is cut off. Ratio: distance over that between "
        "different places of the task."
    )
    table = {"title": title, "columns": columns, "rows": rows, "note": note}
    return [drawing.entry(out, "drift.png", title, caption)], [table]


def _places(found: magnify.Enlarged) -> int:
    return int(found.drift.places[-1, -1])


def _number(value: float) -> str:
    return "cannot be told" if np.isnan(value) else f"{value:.3f}"
