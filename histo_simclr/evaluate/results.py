"""Results of probes: measured with intervals, as JSON values, and as text for the terminal."""

from typing import Any

import numpy as np

from histo_simclr import tables
from histo_simclr.evaluate import metrics
from histo_simclr.evaluate.probe import Probed

# Significant digits kept: beyond them lies the rounding of float32 features.
DIGITS = 6
TITLES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
}


def measure(
    rows: dict[str, Probed],
    labels: np.ndarray,
    groups: np.ndarray | None,
    *,
    classes: list[str],
    resamples: int,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Metrics of each row, and how much the last row is above each of the others.

    Args:
      rows: name → probe; the last is the one in question, the others are floors.
      labels: (n,) integers of the test split.
      groups: (n,) names to resample by, or None to resample patches within each class.
      classes: K names.
      resamples, seed: of the bootstrap; all rows share its resamples.

    Returns:
      rows: per row its metrics (value, low, high: 95 % interval), table by class, confusion.
      differences: per floor the paired difference in macro-F1 (value, low, high).
    """
    tables = {name: row.probabilities for name, row in rows.items()}
    drawn = metrics.bootstrap(labels, tables, groups, resamples=resamples, seed=seed)
    values = {name: metrics.values(labels, table) for name, table in tables.items()}
    described = []
    for name, row in rows.items():
        matrix = metrics.confusion(
            labels, row.probabilities.argmax(1), num_classes=len(classes)
        ).astype(int)
        by_class = {key: column.tolist() for key, column in metrics.per_class(matrix).items()}
        described.append(
            {
                "name": name,
                "features": row.num_features,
                "strength": row.strength,
                "validation_cross_entropy": row.validation,
                "per_class": [
                    {"class": label} | {key: column[index] for key, column in by_class.items()}
                    for index, label in enumerate(classes)
                ],
                "confusion": matrix.tolist(),
            }
            | {key: _with_interval(values[name][key], drawn[name][key]) for key in TITLES}
        )
    *floors, judged = rows
    differences = [
        {
            "floor": floor,
            "macro_f1": _with_interval(
                values[judged]["macro_f1"] - values[floor]["macro_f1"],
                drawn[judged]["macro_f1"] - drawn[floor]["macro_f1"],
            ),
        }
        for floor in floors
    ]
    return {"rows": described, "differences": differences}


def plain(value: Any) -> Any:
    """JSON values: floats to DIGITS significant digits, NaN as null, tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(f"{value:.{DIGITS}g}")
    return value


def format_table(results: dict[str, Any]) -> str:
    """The table of a linear evaluation: rows, differences, classes, how to read it.

    Args:
      results: of `linear_eval.evaluate`, or read from results.json.

    Returns:
      Several lines without a final line break.
    """
    train, test = results["records"]["train"], results["records"]["test"]
    judged = results["rows"][-1]
    head = (
        f"linear evaluation on {results['records']['name']}: {train['patches']:,} training and "
        f"{test['patches']:,} test patches of {results['records']['px']} px, "
        f"{len(results['records']['classes'])} classes"
    )
    rows = [["", *TITLES.values(), "C"]] + [
        [row["name"], *(_value(row[metric]) for metric in TITLES), f"{row['strength']:g}"]
        for row in results["rows"]
    ]
    differences = [
        [
            f"{judged['name']} - {difference['floor']}",
            _value(difference["macro_f1"], sign="+"),
            _verdict(difference["macro_f1"]),
        ]
        for difference in results["differences"]
    ]
    classes = [[f"{judged['name']}, by class", "precision", "recall", "F1", "patches"]]
    for entry in judged["per_class"]:
        shares = (_number(entry[key]) for key in ("precision", "recall", "f1"))
        classes.append([f"  {entry['class']}", *shares, f"{entry['support']:,}"])
    figures = range(1, len(rows[0]))
    parts = [tables.aligned(each, right=figures) for each in (rows, differences, classes)]
    blocks = [[head], *parts, _foot(results)]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _foot(results: dict[str, Any]) -> list[str]:
    bootstrap, validation = results["bootstrap"], results["validation"]
    whole = "" if validation["unit"] == "patch" else f" (whole {validation['unit']}s)"
    plural = "patches" if bootstrap["unit"] == "patch" else f"{bootstrap['unit']}s"
    return [
        f"[low, high]: 95 % interval of {bootstrap['resamples']:,} bootstrap resamples of "
        f"{bootstrap['units']:,} test {plural}; differences are of macro-F1, paired",
        f"C: inverse penalty, chosen on {validation['patches']:,} training patches{whole}",
        *(f"note: {note}" for note in results["notes"]),
    ]


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _value(entry: dict[str, float | None], sign: str = "") -> str:
    value, low, high = (_number(entry[key], sign) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _verdict(entry: dict[str, float | None]) -> str:
    if entry["low"] is None or entry["low"] <= 0 <= entry["high"]:
        return "no difference shown"
    return "better" if entry["low"] > 0 else "worse"


def _with_interval(value: float, replicates: np.ndarray) -> dict[str, float]:
    low, high = metrics.interval(replicates)
    return {"value": value, "low": low, "high": high}
