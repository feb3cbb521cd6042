"""Results → few labels, classes and calibration, as figures with their tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from histo_simclr.report import differences as report_differences
from histo_simclr.report import figures, page, words
from histo_simclr.report import scores as report_scores

# Whose classes and probabilities are shown; of a task without these, its first protocol's.
MAIN = ("linear", "finetune", "unet_frozen", "unet_finetuned", "mean_pool", "attention")
_X = {"fraction": "labels of the training split, %", "shots": "labels a class"}


def few_labels(results: dict[str, Any], styles: Mapping[str, figures.Style]) -> list[page.Block]:
    """Of each task and protocol: the metric against the number of labels."""
    blocks: list[page.Block] = []
    for task, about in results["tasks"].items():
        own = [row for row in results["rows"] if row["task"] == task]
        for protocol in words.ordered([row["protocol"] for row in own]):
            rows = [row for row in own if row["protocol"] == protocol]
            panels = {
                axis: curves
                for key, axis in _X.items()
                if (curves := _curves(results, rows, key, about["metric"]))
            }
            if not panels:
                continue
            metric = words.metric(about["metric"])
            title = f"{task}: {metric.title} of few labels, {words.protocol(protocol)}"
            picture = figures.learning_curves(panels, metric=metric.title, drawn_as=styles)
            alt = (
                f"Curves of {metric.title} against the number of labels for "
                f"{', '.join(dict.fromkeys(row['encoder'] for row in rows))}; the numbers are in "
                "the table below."
            )
            better = "Higher" if metric.is_larger_better else "Lower"
            caption = (
                f"{better} is better. Further left, fewer labels were used: the earlier a line is "
                "near its right end, the fewer labels its features need. Shaded: 95 % intervals."
            )
            blocks.append(page.drawing(title, alt, caption, picture))
            blocks.append(_subset_table(results, rows, about["metric"], title))
    return blocks


def classes(results: dict[str, Any]) -> list[page.Block]:
    """Of each task: confusion matrices, and how well each class is told."""
    blocks: list[page.Block] = []
    for task, protocol, rows in _main(results, "confusion"):
        names = results["tasks"][task]["classes"]
        title = f"{task}: confusion matrices, {words.protocol(protocol)}"
        matrices = {row["encoder"]: np.array(row["confusion"]) for row in rows}
        alt = "Confusion matrices. Right of all: " + ", ".join(
            f"{name} {np.trace(matrix):,} of {matrix.sum():,}" for name, matrix in matrices.items()
        )
        caption = (
            "Of the first seed. Rows: what it is. Columns: what was predicted. Each field: number "
            "of test examples and share of its row; dark on the diagonal is right, dark beside it "
            "names the mistake."
        )
        blocks.append(page.drawing(title, f"{alt}.", caption, figures.confusions(matrices, names)))
        if rows := [row for row in rows if row["per_class"]]:
            blocks.append(_class_table(task, protocol, rows, ("f1", "precision", "recall")))
    for task, protocol, rows in _main(results, "per_class"):
        if results["tasks"][task]["kind"] == "segmentation":
            shown = [
                name for name in ("dice", "iou", "object_f1") if name in rows[0]["per_class"][0]
            ]
            blocks.append(_class_table(task, protocol, rows, tuple(shown)))
    return blocks


def calibration(results: dict[str, Any]) -> list[page.Block]:
    """Of each task: whether probabilities mean what they say."""
    blocks: list[page.Block] = []
    for task, protocol, rows in _main(results, "calibration"):
        bins = {
            row["encoder"]: figures.Bins(
                *(
                    np.array(row["calibration"][key], float)
                    for key in ("edges", "count", "confidence", "accuracy")
                )
            )
            for row in rows
        }
        errors = {row["encoder"]: row["calibration"] for row in rows}
        title = f"{task}: calibration, {words.protocol(protocol)}"
        alt = "Reliability diagrams. Expected calibration error: " + ", ".join(
            f"{name} {words.number(each['error'])}" for name, each in errors.items()
        )
        caption = (
            "Of the first seed. Of predictions made with a confidence of 0.8, 80 % should be "
            "right: on the dashed line. Below it the encoder's probe is too sure of itself, above "
            "it not sure enough. "
            "Gray bars: share of the predictions with that confidence."
        )
        blocks.append(page.drawing(title, f"{alt}.", caption, figures.reliability(bins)))
        table = [
            page.row(name, words.number(each["error"]), words.number(each["brier"]))
            for name, each in errors.items()
        ]
        heads = ("encoder", "calibration error (ECE)", "Brier score")
        note = (
            "ECE: mean distance from the dashed line. Brier: from 0 (sure and right) to 2 (sure "
            "and wrong). Less is better for both."
        )
        blocks.append(page.Table(title, heads, tuple(table), note=note))
    return blocks


def _curves(
    results: dict[str, Any], rows: Sequence[dict[str, Any]], key: str, metric: str
) -> dict[str, figures.Curve]:
    """Encoder → curve over the rows that have `key`; nothing unless there are two places."""
    scale = 100 if key == "fraction" else 1
    found = {}
    for name in results["encoders"]:
        points = sorted(
            (
                (row[key] * scale, row["metrics"][metric])
                for row in rows
                if row["encoder"] == name and row[key] is not None and metric in row["metrics"]
            ),
            key=lambda point: point[0],
        )
        if points:
            factor = words.metric(metric).scale
            columns = [
                np.array([words.real(entry[each]) * factor for _, entry in points])
                for each in ("value", "low", "high")
            ]
            found[name] = figures.Curve(np.array([place for place, _ in points]), *columns)
    places = {place for curve in found.values() for place in curve.place}
    return found if len(places) > 1 else {}


def _subset_table(
    results: dict[str, Any], rows: Sequence[dict[str, Any]], metric: str, title: str
) -> page.Table:
    subsets = {row["subset"]: row for row in rows}
    ordered = sorted(
        subsets, key=lambda name: (subsets[name]["fraction"] is None, _amount(subsets[name]))
    )
    scores = {(row["encoder"], row["subset"]): row for row in rows}
    table = []
    for name in dict.fromkeys(row["encoder"] for row in rows):
        cells = (report_scores.score(scores.get((name, each)), metric) for each in ordered)
        tone = "floor" if report_differences.is_floor(results, name) else ""
        table.append(page.row(name, *cells, tone=tone))
    heads = [f"{each} ({words.count(subsets[each]['examples'])})" for each in ordered]
    note = "In brackets: training examples used."
    return page.Table(title, ("encoder", *heads), tuple(table), note=note)


def _class_table(
    task: str, protocol: str, rows: Sequence[dict[str, Any]], shown: tuple[str, ...]
) -> page.Table:
    """`shown`: the first of these stands above, the others below it."""
    first, *others = shown
    lines = []
    for entries in zip(*(row["per_class"] for row in rows), strict=True):
        cells = (
            page.Cell(
                words.number(entry[first]),
                " / ".join(words.number(entry[name]) for name in others),
            )
            for entry in entries
        )
        support = entries[0].get("support")
        counts = [] if support is None else [words.count(support)]
        lines.append(page.row(entries[0]["class"], *counts, *cells))
    titles = [words.metric(name).title for name in shown]
    heads = ["class", *(["test examples"] if "support" in rows[0]["per_class"][0] else [])]
    return page.Table(
        f"{task}: {titles[0]} by class, {words.protocol(protocol)}",
        (*heads, *(row["encoder"] for row in rows)),
        tuple(lines),
        note=f"{titles[0]}, below it {' / '.join(titles[1:])}.",
    )


def _main(results: dict[str, Any], key: str) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(task, protocol, rows at full labels that have `key`), of the main protocols."""
    found = []
    for task in results["tasks"]:
        by_protocol: dict[str, list[dict[str, Any]]] = {}
        for row in results["rows"]:
            if (row["task"], row["subset"]) == (task, report_differences.WHOLE) and row[key]:
                by_protocol.setdefault(row["protocol"], []).append(row)
        known = words.ordered(list(by_protocol))
        shown = [name for name in known if name in MAIN] or known[:1]
        found += [(task, name, by_protocol[name]) for name in shown]
    return found


def _amount(row: dict[str, Any]) -> float:
    return row["fraction"] if row["fraction"] is not None else row["shots"] or 0
