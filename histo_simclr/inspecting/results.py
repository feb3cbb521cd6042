"""Results that lie beside an encoder, or in the folder of a suite, as rows of numbers."""

from pathlib import Path
from typing import Any

from histo_simclr import records

FILE = "results.json"


def of_workdir(path: Path, step: int) -> list[dict[str, Any]]:
    """Rows of the linear evaluations of a step that a pretraining run left in its workdir."""
    files = sorted((path / "evaluation").glob(f"*/{FILE}"))
    found = [records.read_json(file, "rows", "checkpoint") for file in files]
    ours = [each for each in found if each["checkpoint"].get("step") == step]
    return [row for each in ours for row in _rows_of_probe(each)]


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
