"""Points → what a person reads: a table beside the paper's numbers, a picture, JSON and CSV."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histo_simclr import pictures, tables, workdir
from histo_simclr.experiment.collect import MEAN, PRETRAINED, Collected, Point
from histo_simclr.experiment.declared import Claim, Experiment

NOT_RECOVERED = "not recovered"
CAUTION = (
    "Data, scale and tasks differ from the paper's: its numbers stand beside ours for orientation "
    "and must not be compared as equals."
)
_COLUMNS = ("series", "value", "protocol", "task", "macro_f1", "low", "high", "sd", "seeds")


def write(experiment: Experiment, collected: Collected, out: Path) -> list[Path]:
    """Writes experiment.json, experiment.csv and experiment.png into `out`; returns their paths."""
    content = {
        "format": 1,
        "experiment": experiment.name,
        "preset": experiment.preset,
        "title": experiment.title,
        "question": experiment.question,
        "variable": experiment.variable,
        "note": experiment.note,
        "caution": CAUTION,
        "points": [_plain(point) for point in collected.points],
        "paper": [
            {**claim._asdict(), "ours": _ours(claim, collected.points)}
            for claim in experiment.paper
        ],
        "missing": [f"{run}, seed {seed}" for run, seed in collected.missing],
        "differences": collected.differences,
    }
    paths = [out / f"experiment.{kind}" for kind in ("json", "csv", "png")]
    with workdir.naming_disk_trouble(out):
        workdir.write_json(paths[0], content)
        workdir.write_text(paths[1], _csv(collected.points))
        _draw(experiment, collected.points, paths[2])
    return paths


def text(experiment: Experiment, collected: Collected) -> str:
    """Tables for the terminal: our points, then what the paper says beside ours."""
    lines = [experiment.title, f"  {experiment.question}", f"  {experiment.note}", ""]
    for protocol in dict.fromkeys(point.protocol for point in collected.points):
        lines += _table(experiment, [p for p in collected.points if p.protocol == protocol])
        lines.append("")
    lines += ["What the paper says, beside ours (macro-F1 x 100):", *_claims(experiment, collected)]
    lines += ["", CAUTION]
    if collected.missing:
        names = ", ".join(f"{run} (seed {seed})" for run, seed in collected.missing)
        lines.append(f"not evaluated yet, so left out: {names}")
    return "\n".join(lines)


def _table(experiment: Experiment, points: Sequence[Point]) -> list[str]:
    tasks = [task for task in dict.fromkeys(p.task for p in points) if task != MEAN]
    rows: dict[tuple[str, Any], dict[str, Point]] = {}
    for point in points:
        rows.setdefault((point.series, point.value), {})[point.task] = point
    head = ("encoder", experiment.variable, MEAN, "95 %", "sd (seeds)", *tasks, "paper's curve")
    cells = [head]
    for (series, value), by_task in rows.items():
        mean = by_task.get(MEAN, None)
        shown = ("-", "-", "-")
        if mean:
            bounds = f"[{_percent(mean.low)}, {_percent(mean.high)}]"
            shown = (_percent(mean.score), bounds, f"{_percent(mean.sd)} ({len(mean.seeds)})")
        each = (_percent(by_task[task].score) if task in by_task else "-" for task in tasks)
        cells.append((series, _shown(value), *shown, *each, NOT_RECOVERED))
    title = f"{points[0].protocol}: macro-F1 x 100; mean over tasks, then each"
    return [title, *tables.aligned(cells, right=range(1, len(head) - 1))]


def _claims(experiment: Experiment, collected: Collected) -> list[str]:
    cells = [("paper", "ours", "what")]
    for claim in experiment.paper:
        ours = _ours(claim, collected.points)
        of = f"{claim.task}: {_reference(claim.of)}"
        if claim.minus:
            of += f" - {_reference(claim.minus)}"
        for protocol, value in ours.items() or [(claim.protocol or "", None)]:
            number = "no such point here" if value is None else f"{value:{_sign(claim)}.1f}"
            cells.append((claim.number, number, f"{claim.says} | ours: {protocol}, {of}"))
    return tables.aligned(cells)


def _sign(claim: Claim) -> str:
    return "+" if claim.minus else ""


def _ours(claim: Claim, points: Sequence[Point]) -> dict[str, float]:
    """Protocol → our number for what the paper says, macro-F1 x 100; empty where we have none."""
    found = {
        (point.protocol, point.series, point.value): point.score
        for point in points
        if point.task == claim.task
    }
    ours = {}
    for protocol in dict.fromkeys(protocol for protocol, _, _ in found):
        of, minus = (protocol, *claim.of), (protocol, *(claim.minus or claim.of))
        if claim.protocol in (None, protocol) and of in found and minus in found:
            ours[protocol] = 100 * (found[of] - (found[minus] if claim.minus else 0))
    return ours


def _reference(reference: tuple[str, Any]) -> str:
    series, value = reference
    return f"{series} {_shown(value)}" if value is not None else series


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0%}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _plain(point: Point) -> dict[str, Any]:
    """As JSON knows it: no NaN."""
    content = point._asdict() | {"seeds": {str(seed): each for seed, each in point.seeds.items()}}
    return {
        name: None if isinstance(each, float) and math.isnan(each) else each
        for name, each in content.items()
    }


def _csv(points: Sequence[Point]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for point in points:
        numbers = (point.score, point.low, point.high, point.sd)
        cells = ("" if math.isnan(number) else f"{number:.6f}" for number in numbers)
        value = "" if point.value is None else point.value
        writer.writerow([point.series, value, point.protocol, point.task, *cells, len(point.seeds)])
    return file.getvalue()


def _draw(experiment: Experiment, points: Sequence[Point], path: Path) -> None:
    """One panel a protocol: of the runs a line a task and the mean; of other encoders the mean."""
    panels: dict[str, dict[str, list[tuple[Any, float, float, float, float]]]] = {}
    # Tasks, then their mean, then other encoders: so the lines are told apart.
    for point in sorted(points, key=lambda p: (p.series != PRETRAINED, p.task == MEAN)):
        lines = panels.setdefault(point.protocol, {})
        if point.series != PRETRAINED and point.task != MEAN:
            continue
        name = point.task if point.series == PRETRAINED else f"{point.series}, mean"
        drawn = (point.value, point.score, point.low, point.high, point.sd)
        lines.setdefault(name, []).append(drawn)
    pictures.against_variable(
        panels,
        path,
        variable=experiment.variable,
        measure="macro-F1",
        title=f"{experiment.title} ({experiment.preset})",
        bold=MEAN,
    )
