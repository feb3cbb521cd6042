"""Results that lie beside an encoder, or in the folder of a suite, as rows of numbers."""

from pathlib import Path
from typing import Any

from histo_simclr import records

FILE = "results.json"


def of_workdir(path: Path) -> list[dict[str, Any]]:
    """Rows of the linear evaluations that a pretraining run left in its workdir."""
    files = sorted((path / "evaluation").glob(f"*/{FILE}"))
    return [row for file in files for row in _rows_of_probe(records.read_json(file, "rows"))]


def of_folder(path: Path) -> dict[str, Any]:
    """Of a linear evaluation or a suite, by its results.json.

    Raises:
      InputError: torn, or results of something else.
    """
    content = records.read_json(path / FILE, "format", "rows")
    found: dict[str, Any] = {"stages": [], "notes": list(content.get("notes", ()))}
    if "encoders" in content:
        found |= {"kind": "results of a suite", "date": content["date"]}
        found |= {"encoders": content["encoders"], "tasks": sorted(content["tasks"])}
        found |= {name: content[name] for name in ("versions", "revision") if name in content}
        return found | {"results": _rows_of_suite(content)}
    kept = {"kind": "results of a linear evaluation", "checkpoint": content.get("checkpoint", {})}
    return found | kept | {"results": _rows_of_probe(content)}


def _rows_of_probe(content: dict[str, Any]) -> list[dict[str, Any]]:
    """macro-F1 of each row: floors, and the encoder as the last."""
    named = content.get("records", {})
    return [
        {
            "set": named.get("name", ""),
            "what": row["name"],
            "protocol": "linear probe",
            "metric": "macro_f1",
            **row["macro_f1"],
        }
        for row in content["rows"]
    ]


def _rows_of_suite(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Main metric of each task, of all its training labels."""
    rows = []
    for row in content["rows"]:
        if row["fraction"] == 1:
            metric = content["tasks"][row["task"]]["metric"]
            kept = {name: row["metrics"][metric][name] for name in ("value", "low", "high")}
            about = {"set": row["task"], "what": row["encoder"], "protocol": row["protocol"]}
            rows.append(about | {"metric": metric} | kept)
    return rows
