"""What encoders are judged on: tasks of a suite, opened and checked by manifests; no pixel is read.

A task is a labelled record set with a kind (classes, targets, masks, or slides that have one class
each), its two splits, and the metric by which encoders are compared first.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import (
    bags,
    labelled,
    measured,
    metrics,
    overlap_metrics,
    regression_metrics,
    splits,
)
from histo_simclr.prepare import registry, relatives

# Kind → what its predictions are measured by, and the names that a task may be compared by.
MEASURES: dict[str, tuple[metrics.Metric, tuple[str, ...]]] = {
    "classification": (metrics.values, metrics.METRICS),
    "regression": (regression_metrics.values, regression_metrics.METRICS),
    "segmentation": (overlap_metrics.values, ("dice", "iou")),
    "slides": (metrics.values, metrics.METRICS),
}
SMALLER_IS_BETTER = ("l1",)


class Part(NamedTuple):
    """One split.

    Fields:
      rows: n patches.
      columns: of the manifest, (n,) each.
      truth: (n,) int64 classes or float64 targets; of masks, which are read late, empty.
      groups: patients or slides.
    """

    rows: records.Rows
    columns: dict[str, np.ndarray]
    truth: np.ndarray
    groups: splits.Groups


class Task(NamedTuple):
    """A task, checked.

    Fields:
      name: as the suite calls it.
      kind: a key of MEASURES.
      metric: compares encoders first.
      classes: K names; of a regression none.
      bounds: lowest and highest possible target.
      path: the record set.
      splits: names of the two splits.
      train, test: of no common patient or slide.
      about: JSON values: what it is, source, licence, how to prepare it, counts.
      digest: changes with any key, pixel, class, target, slide, patient or bound.
    """

    name: str
    kind: str
    metric: str
    classes: list[str]
    bounds: tuple[float, float]
    path: Path
    splits: tuple[str, str]
    train: Part
    test: Part
    about: dict[str, Any]
    digest: str


def missing(settings: Mapping[str, Any], data: Path) -> str:
    """Why there is no record set for a task, with the command that makes it; empty if there is.

    Args:
      settings: of one task (configs/task.py).
      data: folder that `settings["records"]` is relative to.
    """
    try:
        records.resolve_record_set(data / settings["records"])
    except InputError as error:
        return f"{error.what} ({data / settings['records']}); to make it: {settings['prepare']}"
    return ""


def open_task(name: str, settings: Mapping[str, Any], data: Path) -> Task:
    """Opens both splits of a task's record set and refuses what would make results untrue.

    Args:
      name: of the task.
      settings: of one task (configs/task.py).
      data: folder that `settings["records"]` is relative to.

    Raises:
      InputError: no record set, no such split, labels, targets or masks that cannot be used, a
        patient or slide on both sides, or a metric that the kind does not have.
    """
    kind, metric = settings["kind"], settings["metric"]
    _check_kind(name, kind, metric)
    path = data / settings["records"]
    pair = settings["train_split"], settings["test_split"]
    classes: list[str] = []
    bounds = _bounds(name, settings["bounds"])
    if kind == "regression":
        opened = measured.open_targets(path, *pair, bounds=bounds)
        sets, groups, truths = opened.record_sets, opened.groups, opened.targets
    elif kind == "segmentation":
        sets, groups, classes = _open_masks(path, pair)
        truths = tuple(np.empty(0) for _ in sets)
    else:
        found = labelled.open_splits(path, *pair)
        sets, groups, truths, classes = found.record_sets, found.groups, found.labels, found.classes
    parts = [
        Part(each.rows, each.columns, truth, group)
        for each, truth, group in zip(sets, truths, groups, strict=True)
    ]
    if kind == "slides":
        for part in parts:
            _check_slides(path, part, classes)
        _check_enough_slides(path, parts[0], classes)
    digest = _digest(kind, pair, bounds, parts)
    about = _about(settings, sets[0].path, parts, classes)
    return Task(name, kind, metric, classes, bounds, sets[0].path, pair, *parts, about, digest)


def slide_names(part: Part) -> np.ndarray:
    """(n,) the slide of each patch."""
    return np.array([value or "" for value in part.columns["slide"]], dtype=str)


def is_larger_better(metric: str) -> bool:
    """Whether more of a metric is better: not so of errors."""
    return metric not in SMALLER_IS_BETTER


def _check_kind(name: str, kind: str, metric: str) -> None:
    if kind not in MEASURES:
        raise InputError(
            f"cannot be {kind!r}", where=f"tasks.{name}.kind", way_out=f"choose from {[*MEASURES]}"
        )
    if metric not in MEASURES[kind][1]:
        raise InputError(
            f"{metric!r} is not measured of a {kind}",
            where=f"tasks.{name}.metric",
            way_out=f"choose from {', '.join(MEASURES[kind][1])}",
        )


def _bounds(name: str, given: Sequence[float]) -> tuple[float, float]:
    if len(given) != 2 or not given[0] < given[1]:
        raise InputError(
            f"cannot be {tuple(given)}",
            where=f"tasks.{name}.bounds",
            way_out="give the lowest and the highest possible target",
        )
    return float(given[0]), float(given[1])


def _open_masks(path: Path, pair: tuple[str, str]):
    sets = [records.load_record_set(path, split) for split in pair]
    if sets[0].mask_class_names is None:
        raise InputError(
            "record set without masks",
            where=path,
            way_out="prepare it with --masks and --mask-classes, or choose one that has them",
        )
    groups = [splits.groups_of(each.columns) for each in sets]
    splits.check_disjoint(*groups, where=path)
    return sets, groups, sets[0].mask_class_names


def _check_slides(path: Path, part: Part, classes: list[str]) -> None:
    slides = slide_names(part)
    if not (slides != "").all():
        raise InputError(
            f"{int((slides == '').sum())} of {len(slides)} patches have no slide",
            where=path,
            way_out="prepare it with --slides or a column slide, or judge patches",
        )
    bags.one_label(np.array(classes)[part.truth], slides)


def _check_enough_slides(path: Path, part: Part, classes: list[str]) -> None:
    labels, _ = bags.one_label(part.truth, slide_names(part))
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2:
        raise InputError(
            f"class {classes[int(counts.argmin())]!r} has one slide in the training split; it "
            "cannot be both fitted and validated",
            where=path,
            way_out="add slides of this class, or leave it out",
        )


def _digest(
    kind: str, pair: tuple[str, str], bounds: tuple[float, float], parts: list[Part]
) -> str:
    digest = hashlib.sha256(json.dumps([kind, *pair, *bounds]).encode())
    for part in parts:
        columns = [part.columns[name] for name in ("key", "pixels_sha256", "slide")]
        columns += [part.truth] if len(part.truth) else [part.rows.crc]
        columns += [part.groups.names]
        for row in zip(*columns, strict=True):
            digest.update("\0".join(map(str, row)).encode() + b"\n")
    return digest.hexdigest()


def _about(
    settings: Mapping[str, Any], path: Path, parts: list[Part], classes: list[str]
) -> dict[str, Any]:
    info = records.read_json(path / "record_set.json", "px")
    cohort = relatives.known().cohorts.get(registry.folded(settings["cohort"]))
    told = {"licence": info.get("license") or "not stated", "citation": info.get("citation") or ""}
    if cohort is not None:
        told = {"licence": cohort.license or told["licence"], "citation": cohort.citation}
    counts = {
        side: {
            "split": split,
            "patches": len(part.rows),
            "groups": part.groups.count(),
            "unit": part.groups.unit,
            "classes": np.bincount(part.truth, minlength=len(classes)).tolist()
            if len(part.truth) and classes
            else None,
        }
        for side, split, part in zip(
            ("train", "test"), (settings["train_split"], settings["test_split"]), parts, strict=True
        )
    }
    kept = ("about", "kind", "cohort", "metric", "split_rule", "prepare")
    return {key: settings[key] for key in kept} | told | counts | {"classes": classes}
