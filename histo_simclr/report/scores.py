"""Results → the paper's tables, differences and floors, as parts of a page."""

from collections.abc import Iterable, Sequence
from typing import Any

from histo_simclr.report import differences as report_differences
from histo_simclr.report import page, published, words

# Shown side by side for each task; of other kinds macro-F1, and the task's metric if it is another.
SHOWN = {"regression": ("l1", "r2", "spearman"), "segmentation": ("dice", "iou")}
HOW_TO_READ = (
    "Each cell: the value, below it the 95 % interval over resampled test units, and ± the "
    "standard deviation over seeds where there were several. Bold: the best of its column, which "
    "need not be a difference that was shown. Shaded rows are floors, encoders that learned "
    "nothing; a badge names the floors that an encoder is not shown to be better than. "
    f"{words.NONE} stands for what is not defined or was not measured."
)


def protocols_of(results: dict[str, Any], kind: str) -> list[str]:
    """Protocols with a score at full labels on tasks of a kind, in the order they are shown."""
    tasks = results["tasks"]
    return words.ordered(
        [
            row["protocol"]
            for row in results["rows"]
            if row["subset"] == report_differences.WHOLE and tasks[row["task"]]["kind"] == kind
        ]
    )


def by_task(results: dict[str, Any], kind: str, protocol: str, *, title: str) -> page.Table:
    """Encoders down, tasks across, the average on the right: the form of the paper's tables."""
    rows = report_differences.whole_rows(results, protocol)
    tasks = [
        name
        for name, task in results["tasks"].items()
        if task["kind"] == kind and any(each == name for each, _ in rows)
    ]
    columns = [
        (task, name)
        for task in tasks
        for name in SHOWN.get(kind, dict.fromkeys(("macro_f1", results["tasks"][task]["metric"])))
    ]
    encoders = [name for name in results["encoders"] if any(name == each for _, each in rows)]
    means = _averages(results, kind, protocol)
    values = {
        column: [
            report_differences.value_of(rows.get((column[0], name)), column[1]) for name in encoders
        ]
        for column in columns
    }
    table = []
    for place, name in enumerate(encoders):
        cells = [
            score(
                rows.get((task, name)),
                metric,
                floors=_floors(results, rows.get((task, name)), metric),
                is_best=_is_best(values[task, metric], place, metric),
            )
            for task, metric in columns
        ]
        cells += [_average(results, entries, name, metric) for metric, entries in means.items()]
        table.append(page.row(name, *cells, tone=_tone(results, name)))
    heads = [f"{task}: {words.metric(name).title}" for task, name in columns]
    heads += [f"average: {words.metric(name).title}" for name in means]
    return page.Table(title, ("encoder", *heads), tuple(table), note=_about_averages(means, tasks))


def all_metrics(results: dict[str, Any], kind: str, protocol: str) -> page.Table:
    """Every metric of a protocol, what it was fitted on and what was chosen; folded."""
    rows = [
        row
        for (task, _), row in report_differences.whole_rows(results, protocol).items()
        if results["tasks"][task]["kind"] == kind
    ]
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    is_noted = any(row["notes"] for row in rows)
    table = [
        page.row(
            row["task"],
            row["encoder"],
            words.count(row["examples"]),
            words.plain(row["chosen"]),
            *(score(row, name) for name in names),
            *(["; ".join(row["notes"] or ()) or words.NONE] if is_noted else []),
            tone=_tone(results, row["encoder"]),
        )
        for row in rows
    ]
    heads = (
        "task",
        "encoder",
        "examples fitted",
        "chosen (first seed)",
        *(_head(results, kind, n) for n in names),
        *(["notes"] if is_noted else []),
    )
    title = f"All metrics: {words.protocol(protocol)}"
    return page.Table(title, heads, tuple(table), heads=2, folded=True)


def paper(scale: published.Scale) -> page.Table:
    """What the paper reports in that place, as another scale."""
    names = [
        name
        for name in published.ARCHITECTURES
        if any(name in line.numbers for line in scale.lines)
    ]
    rows = [
        page.row(
            line.setting,
            *(f"{line.numbers[n]:.1f}" if n in line.numbers else words.NONE for n in names),
        )
        for line in scale.lines
    ]
    return page.Table(
        "The paper's numbers, not comparable",
        ("in the paper", *names),
        tuple(rows),
        note="Other data and another scale, for orientation only: "
        f"{scale.about}. The paper's splits and how it trained are not known, so that the order "
        "of these lines, not the size of a number, may be held against the table above. "
        f"{published.SOURCE}; {words.NONE} was not recovered.",
    )


def score(
    row: dict[str, Any] | None,
    metric: str,
    *,
    floors: tuple[Sequence[str], Sequence[str]] = ((), ()),
    is_best: bool = False,
) -> page.Cell:
    """A row's metric with its interval and its spread over seeds.

    Args:
      row: None: was not measured.
      metric: name.
      floors: of `report_differences.not_better`.
      is_best: of its column.
    """
    if row is None or metric not in row["metrics"]:
        return page.Cell(words.NONE)
    entry, scale = row["metrics"][metric], words.metric(metric).scale
    detail = words.interval(entry["low"], entry["high"], scale=scale)
    if entry["sd"] is not None:
        spread = words.number(entry["sd"], scale=scale)
        detail = f"{detail}\n± {spread} ({words.count(row['seeds'], 'seed')})".strip()
    text = words.number(entry["value"], scale=scale)
    return page.Cell(text, detail, _badge(*floors), "bad" if floors[1] else "open", is_best)


def _floors(
    results: dict[str, Any], row: dict[str, Any] | None, metric: str
) -> tuple[Sequence[str], Sequence[str]]:
    """Differences are of the task's own metric: other metrics carry no badge."""
    if row is None or metric != results["tasks"][row["task"]]["metric"]:
        return (), ()
    return report_differences.not_better(results, row)


def _badge(level: Sequence[str], worse: Sequence[str]) -> str:
    said = [f"worse than {', '.join(worse)}"] if worse else []
    return "; ".join([*said, *([f"not better than {', '.join(level)}"] if level else [])])


def _is_best(values: Iterable[float | None], place: int, metric: str) -> bool:
    values = list(values)
    defined = [value for value in values if value is not None]
    if values[place] is None or len(defined) < 2:
        return False
    best = max(defined) if words.metric(metric).is_larger_better else min(defined)
    return values[place] == best


def _averages(results: dict[str, Any], kind: str, protocol: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in results["averages"]:
        if (each["protocol"], each["kind"]) == (protocol, kind):
            found.setdefault(each["metric"], []).append(each)
    return found


def _average(
    results: dict[str, Any], entries: Sequence[dict[str, Any]], encoder: str, metric: str
) -> page.Cell:
    values = {each["encoder"]: each["value"] for each in entries}
    names, own = list(values), values.get(encoder)
    if own is None:
        return page.Cell(words.NONE)
    floors = [
        name
        for name in names
        if report_differences.is_floor(results, name)
        and not report_differences.is_floor(results, encoder)
        and not report_differences.is_better(own, values[name], metric)
    ]
    is_best = _is_best(values.values(), names.index(encoder), metric)
    text = words.number(own, scale=words.metric(metric).scale)
    return page.Cell(text, "", _badge(floors, ()), "open", is_best)


def _about_averages(means: dict[str, list[dict[str, Any]]], tasks: Sequence[str]) -> str:
    covered = list(
        dict.fromkeys(task for each in means.values() for e in each for task in e["tasks"])
    )
    if not means or set(covered) >= set(tasks):
        return ""
    return f"Average over the tasks that every encoder has: {', '.join(covered)}."


def _head(results: dict[str, Any], kind: str, metric: str) -> str:
    """dice_1 is the Dice of class 1: by its name, where all tasks call it so."""
    stem, _, digits = metric.rpartition("_")
    if not digits.isdigit() or not stem:
        return words.metric(metric).title
    named = {
        task["classes"][int(digits)]
        for task in results["tasks"].values()
        if task["kind"] == kind and int(digits) < len(task["classes"])
    }
    name = named.pop() if len(named) == 1 else f"class {digits}"
    return f"{words.metric(stem).title} of {name}"


def _tone(results: dict[str, Any], encoder: str) -> str:
    return "floor" if report_differences.is_floor(results, encoder) else ""
