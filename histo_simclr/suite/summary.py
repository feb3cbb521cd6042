"""Cells → values with intervals over groups and spread over seeds.

A metric is averaged over seeds within each resample, so that intervals are of the mean over seeds;
how much seeds scatter stands beside it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.evaluate import calibration, metrics, statistics
from histo_simclr.suite import cells
from histo_simclr.suite.cells import Cell, Outcome, Subset
from histo_simclr.suite.tasks import MEASURES, Task

BINS = 15  # of confidence: Guo et al. 2017
# Of resamples and permutations, the same for all, so that a suite's numbers are its cells'.
SEED = 0


class Block(NamedTuple):
    """All that one protocol says of one task at one subset.

    Fields:
      task, protocol, subset: which.
      outcomes: encoder → seed → outcome.
      revisions: of the code that made them.
    """

    task: Task
    protocol: str
    subset: Subset
    outcomes: dict[str, dict[int, Outcome]]
    revisions: set[str]

    @property
    def one(self) -> Outcome:
        """Any outcome: truth and groups are the same in all."""
        return next(iter(next(iter(self.outcomes.values())).values()))


class Judged(NamedTuple):
    """A block measured: values, replicates, and what was resampled (unit, how many)."""

    block: Block
    measured: statistics.Measured
    predictions: dict[str, np.ndarray]
    groups: np.ndarray | None
    unit: str
    units: int


def blocks(planned: Iterable[Cell], place: Path) -> list[Block]:
    """The cells of a suite as they are kept, brought together; in the order of the plan."""
    found: dict[tuple[str, str, Subset], Block] = {}
    for cell in planned:
        key = cell.task.name, cell.protocol, cell.subset
        block = found.setdefault(key, Block(cell.task, cell.protocol, cell.subset, {}, set()))
        by_seed = block.outcomes.setdefault(cell.candidate.name, {})
        by_seed[cell.seed], revision = cells.load(cell.path(place))
        block.revisions.add(revision)
    return list(found.values())


def judge(block: Block, *, resamples: int) -> Judged:
    """Measures all encoders of a block on the same resamples."""
    one = block.one
    predictions = {
        name: np.stack([by_seed[seed].predictions for seed in by_seed], axis=1)
        for name, by_seed in block.outcomes.items()
    }
    count = len(np.unique(one.groups))
    grouped = one.grouping != "example" and count >= metrics.MIN_GROUPS
    groups = one.groups if grouped else None
    unit, units = (one.grouping, count) if grouped else ("patch", len(one.truth))
    if not grouped and block.task.kind in ("segmentation", "slides"):
        unit = "image" if block.task.kind == "segmentation" else "slide"
    measured = statistics.measure(
        over_seeds(MEASURES[block.task.kind][0]),
        one.truth,
        predictions,
        groups,
        resamples=resamples,
        seed=SEED,
    )
    return Judged(block, measured, predictions, groups, unit, units)


def over_seeds(metric: metrics.Metric) -> metrics.Metric:
    """The mean of a metric over seeds: predictions are (m, seeds, …)."""

    def mean(
        truth: np.ndarray, predictions: np.ndarray, /, *, weights: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        found = [metric(truth, each, weights=weights) for each in np.moveaxis(predictions, 1, 0)]
        return {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}

    return mean


def rows(judged: Judged) -> list[dict[str, Any]]:
    """One row an encoder, as results.json has them."""
    block = judged.block
    task, subset = block.task, block.subset
    names = MEASURES[task.kind][1] + (("object_f1",) if task.kind == "segmentation" else ())
    found = []
    for encoder, by_seed in block.outcomes.items():
        first = next(iter(by_seed.values()))
        found.append(
            {
                "task": task.name,
                "encoder": encoder,
                "protocol": block.protocol,
                "subset": str(subset),
                "fraction": subset.fraction,
                "shots": subset.shots,
                "examples": first.examples,
                "seeds": len(by_seed),
                "resampled": {"unit": judged.unit, "units": judged.units},
                "metrics": {
                    name: _value(judged, encoder, name)
                    for name in names
                    if name in judged.measured.values[encoder]
                },
                "chosen": first.chosen,
                "notes": list(dict.fromkeys(n for each in by_seed.values() for n in each.notes)),
            }
            | (_details(task, judged, encoder) if subset.is_whole else {})
        )
    return found


def _value(judged: Judged, encoder: str, name: str) -> dict[str, Any]:
    estimate = judged.measured.estimate(encoder, name)
    metric = MEASURES[judged.block.task.kind][0]
    tables = np.moveaxis(judged.predictions[encoder], 1, 0)
    each = [float(metric(judged.block.one.truth, table)[name]) for table in tables]
    told = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return told | {"sd": statistics.spread(each).sd, "per_seed": each}


def _details(task: Task, judged: Judged, encoder: str) -> dict[str, Any]:
    truth, predictions = judged.block.one.truth, judged.predictions[encoder][:, 0]
    if task.kind == "segmentation":
        values = MEASURES[task.kind][0](truth, predictions)
        names = ("dice", "iou", "object_f1")
        by_class = [
            {"class": label} | {name: float(values[f"{name}_{number}"]) for name in names}
            for number, label in enumerate(task.classes)
        ]
        return {"per_class": by_class, "confusion": None, "calibration": None}
    if task.kind == "regression":
        return {"per_class": None, "confusion": None, "calibration": None}
    matrix = metrics.confusion(truth, predictions.argmax(1), num_classes=len(task.classes))
    by_class = {key: column.tolist() for key, column in metrics.per_class(matrix).items()}
    reliability = calibration.reliability(truth, predictions, bins=BINS)
    return {
        "per_class": [
            {"class": label} | {key: column[number] for key, column in by_class.items()}
            for number, label in enumerate(task.classes)
        ],
        "confusion": matrix.astype(int).tolist(),
        "calibration": {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in reliability._asdict().items()
        }
        | {"brier": calibration.brier(truth, predictions)},
    }
