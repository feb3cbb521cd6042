"""results.json → tables for spreadsheets and other programs: one number a line, unrounded."""

import csv
import io
import json
from typing import Any

_ROW = ["task", "encoder", "protocol", "subset", "fraction", "shots", "examples", "seeds"]
_VALUE = ["value", "low", "high", "sd"]
_DIFFERENCE = ["task", "protocol", "subset", "metric", "first", "second", "value", "low", "high"]
_DIFFERENCE += ["p", "p_holm", "exact", "swaps", "units", "unit", "note"]


def scores(results: dict[str, Any]) -> str:
    """A line for each metric of each row; of seeds, all values, by semicolons."""
    lines = [
        [row[key] for key in _ROW]
        + [name]
        + [entry[key] for key in _VALUE]
        + [";".join("" if each is None else repr(each) for each in entry["per_seed"])]
        + [json.dumps(row["chosen"], sort_keys=True)]
        for row in results["rows"]
        for name, entry in row["metrics"].items()
    ]
    return _csv([*_ROW, "metric", *_VALUE, "per_seed", "chosen"], lines)


def differences(results: dict[str, Any]) -> str:
    """A line for each paired difference."""
    return _csv(
        _DIFFERENCE, [[each[key] for key in _DIFFERENCE] for each in results["differences"]]
    )


def _csv(heads: list[str], lines: list[list[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([heads, *lines])
    return file.getvalue()
