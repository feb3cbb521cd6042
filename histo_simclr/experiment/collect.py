"""Results of the evaluation suite → points: one a value of the variable, task and protocol.

A point's value is the mean over the seeds' runs of macro-F1. Its interval is the mean of the runs'
own, so it says how far another test set might lie; `sd` says how far another seed might.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.experiment.declared import Experiment

METRIC = "macro_f1"
MEAN = "mean"
PRETRAINED = "pretrained"
_KEYS = ("format", "rows", "encoders", "tasks")


class Point(NamedTuple):
    """One number of a curve.

    Fields:
      series: "pretrained", or the name of an encoder beside the runs.
      value: of the variable; None for an encoder that is the same whatever it is.
      protocol, task: of the evaluation; task "mean" is the mean over the cohorts of the tasks that
        all have.
      score, low, high: macro-F1 from 0 to 1 with its 95 % interval; NaN where unknown.
      sd: over seeds; NaN for one.
      seeds: by seed; of runs, or of the evaluation's subsets where there is one run.
    """

    series: str
    value: Any
    protocol: str
    task: str
    score: float
    low: float
    high: float
    sd: float
    seeds: dict[int, float]


class Collected(NamedTuple):
    """What the results hold of an experiment.

    Fields:
      points: by protocol, then series, then the runs' order, then task.
      missing: (run, seed) of which there is nothing yet.
      differences: the suite's paired differences between runs of one seed.
    """

    points: list[Point]
    missing: list[tuple[str, int]]
    differences: list[dict[str, Any]]


def read(
    experiment: Experiment, encoders: Mapping[tuple[str, int], str], results: Path
) -> Collected:
    """Points of an experiment.

    Args:
      encoders: (run, seed) → name among the results' encoders.
      results: results.json of the suite.

    Raises:
      InputError: there are none, or of another format, or of none of the runs.
    """
    if not results.is_file():
        raise InputError(
            "no results yet", where=results, way_out="run the experiment first: --run, or --print"
        )
    content = records.read_json(results, *_KEYS)
    if content["format"] != 1:
        raise InputError(
            f"format {content['format']!r}, this version reads 1",
            where=results,
            way_out="evaluate again",
        )
    missing = [key for key, name in encoders.items() if name not in content["encoders"]]
    if len(missing) == len(encoders):
        raise InputError(
            "none of the experiment's runs is in it", where=results, way_out="give another --out"
        )
    try:
        found = _gather(experiment, encoders, content["rows"])
        differences = _between(encoders, content.get("differences", []))
    except (KeyError, TypeError) as error:
        raise InputError(
            f"rows of another form ({error!r})", where=results, way_out="evaluate again"
        ) from error
    cohorts = {name: task["cohort"] for name, task in content["tasks"].items()}
    return Collected(_points(experiment, found, cohorts), missing, differences)


# (protocol, series, value) → task → run's seed (None: no run) → row of the results
_Found = dict[tuple[str, str, Any], dict[str, dict[int | None, dict[str, Any]]]]


def _gather(
    experiment: Experiment,
    encoders: Mapping[tuple[str, int], str],
    rows: Sequence[dict[str, Any]],
) -> _Found:
    by_fraction = any(run.value is None for run in experiment.runs)
    runs = defaultdict(list)
    for run in experiment.runs:
        for seed in experiment.seeds:
            runs[encoders[run.name, seed]].append((run.value, seed))
    found: _Found = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if METRIC not in row["metrics"] or row["metrics"][METRIC]["value"] is None:
            continue
        if row["fraction"] is None or (not by_fraction and row["fraction"] != 1):
            continue
        is_run = row["encoder"] in runs
        for value, seed in runs[row["encoder"]] if is_run else [(None, None)]:
            series = PRETRAINED if is_run else row["encoder"]
            place = row["fraction"] if by_fraction else value
            found[row["protocol"], series, place][row["task"]][seed] = row
    return found


def _points(experiment: Experiment, found: _Found, cohorts: Mapping[str, str]) -> list[Point]:
    protocols = list(dict.fromkeys(protocol for protocol, _, _ in found))
    order = {run.value: number for number, run in enumerate(experiment.runs)}
    points = []
    for protocol in protocols:
        keys = [key for key in found if key[0] == protocol]
        keys.sort(key=lambda key: (key[1] != PRETRAINED, key[1], _rank(key[2], order)))
        shared = [
            task for task in found[keys[0]] if all(task in found[key] for key in keys)
        ]  # else a mean would move with the tasks that it is of
        for key in keys:
            of_tasks = {task: _point(key, task, by_seed) for task, by_seed in found[key].items()}
            points += of_tasks.values()
            if shared:
                points.append(_mean(key, _by_cohort(key, of_tasks, shared, cohorts)))
    return points


def _by_cohort(
    key: tuple[str, str, Any],
    of_tasks: Mapping[str, Point],
    shared: Sequence[str],
    cohorts: Mapping[str, str],
) -> list[Point]:
    """A point a cohort: BreakHis at four magnifications is one of the paper's five sets."""
    members: dict[str, list[Point]] = {}
    for task in shared:
        members.setdefault(cohorts[task], []).append(of_tasks[task])
    return [_mean(key, each) if len(each) > 1 else each[0] for each in members.values()]


def _rank(value: Any, order: Mapping[Any, int]) -> float:
    if value is None:
        return math.inf
    return order.get(value, value)


def _point(
    key: tuple[str, str, Any], task: str, by_seed: Mapping[int | None, dict[str, Any]]
) -> Point:
    measured = {seed: row["metrics"][METRIC] for seed, row in by_seed.items()}
    values = {name: [_number(each[name]) for each in measured.values()] for name in _BOUNDS}
    if len(measured) > 1:
        seeds = {seed: _number(each["value"]) for seed, each in measured.items()}
    else:
        (only,) = measured.values()
        per_seed = only.get("per_seed", [])
        seeds = {n: _number(each) for n, each in enumerate(per_seed or [only["value"]])}
    protocol, series, value = key
    score, low, high = (float(np.mean(values[name])) for name in _BOUNDS)
    return Point(series, value, protocol, task, score, low, high, _sd(seeds), seeds)


_BOUNDS = ("value", "low", "high")


def _mean(key: tuple[str, str, Any], points: Sequence[Point]) -> Point:
    """Mean over tasks or cohorts; its interval takes their test sets for independent."""
    score = float(np.mean([point.score for point in points]))
    below, above = (
        float(np.sqrt(np.sum(np.square(side))) / len(points))
        for side in (
            [point.score - point.low for point in points],
            [point.high - point.score for point in points],
        )
    )
    common = set.intersection(*({*point.seeds} for point in points))
    seeds = {
        seed: float(np.mean([point.seeds[seed] for point in points])) for seed in sorted(common)
    }
    protocol, series, value = key
    return Point(
        series, value, protocol, MEAN, score, score - below, score + above, _sd(seeds), seeds
    )


def _sd(seeds: Mapping[int, float]) -> float:
    return float(np.std([*seeds.values()], ddof=1)) if len(seeds) > 1 else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _between(
    encoders: Mapping[tuple[str, int], str], differences: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    seed_of = {name: seed for (_, seed), name in encoders.items()}
    return [
        each
        for each in differences
        if each["metric"] == METRIC
        and each["first"] in seed_of
        and each["second"] in seed_of
        and seed_of[each["first"]] == seed_of[each["second"]]
    ]
