"""What evaluations found of a checkpoint, for its model card: files of results → rows.

The workdir's own linear evaluations are found beside the checkpoint; a suite's results are named.
Only rows that were measured with this very checkpoint count, and its floors beside it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from histo_simclr import checkpoint, records
from histo_simclr.errors import InputError

RESULTS = "results.json"
# metric in the files → its title here, and the Hub's name of it
METRICS = {
    "macro_f1": ("macro-F1", "f1"),
    "balanced_accuracy": ("balanced accuracy", "balanced_accuracy"),
    "auroc": ("AUROC", "roc_auc"),
    "r2": ("R²", "r_squared"),
    "dice": ("Dice", "dice"),
}


_LINEAR = ("checkpoint", "records", "bootstrap", "rows", "notes")


class Result(NamedTuple):
    """One row of the card's table.

    Fields:
      task: labelled set, as evaluated.
      protocol: what was fitted on the features, in words.
      encoder: "this encoder", or the name of a floor.
      is_this: whether it is this encoder's.
      metrics: name of METRICS → value, low and high of the 95 % interval.
      test: of how many patches, and what was resampled.
      notes: what the evaluation says beside the numbers, e.g. that the mix holds such patches too.
    """

    task: str
    protocol: str
    encoder: str
    is_this: bool
    metrics: dict[str, tuple[float, float | None, float | None]]
    test: str
    notes: tuple[str, ...]


THIS = "this encoder"


def find(step_dir: Path, suites: Sequence[Path] = ()) -> tuple[Result, ...]:
    """Rows of the workdir's evaluations of this step, then of suites.

    Args:
      step_dir: folder of the checkpoint, as `checkpoint.resolve` gives it.
      suites: workdirs of `configs/evaluate.py`, or their results.json.

    Raises:
      InputError: a suite that cannot be read, or did not judge this checkpoint.
    """
    rows: list[Result] = []
    if step_dir.parent.name == checkpoint.FOLDER:
        for file in sorted((step_dir.parents[1] / "evaluation").glob(f"*/{RESULTS}")):
            content = records.read_json(file, *_LINEAR)
            if str(content["checkpoint"]["step"]) == step_dir.name:
                rows += _linear(content)
    for place in suites:
        rows += _suite(place, checkpoint.digest(step_dir))
    return tuple(rows)


def _linear(content: dict[str, Any]) -> Iterable[Result]:
    # The last row of a linear evaluation is the encoder's, the others are its floors.
    last = len(content["rows"]) - 1
    records_of, resampled = content["records"], content["bootstrap"]["unit"]
    for number, row in enumerate(content["rows"]):
        yield Result(
            records_of["name"],
            "linear probe, frozen",
            THIS if number == last else row["name"],
            number == last,
            _metrics(row),
            f"{records_of['test']['patches']:,} patches, intervals by {resampled}",
            tuple(content["notes"]) if number == last else (),
        )


def _suite(place: Path, digest: str) -> Iterable[Result]:
    file = place / RESULTS if place.is_dir() else place
    content = records.read_json(file, "encoders", "tasks", "rows")
    encoders = content["encoders"]
    judged = [name for name, each in encoders.items() if each.get("digest") == digest]
    if not judged:
        raise InputError(
            f"did not judge this checkpoint, but {', '.join(encoders) or 'nothing'}",
            where=file,
            way_out="run the suite on it (README, Are the features good?), or leave this one out",
        )
    floors = [name for name, each in encoders.items() if each["kind"] in ("random", "histogram")]
    for row in content["rows"]:
        is_this = row["encoder"] == judged[0]
        if row["fraction"] == 1 and (is_this or row["encoder"] in floors):
            unit, notes = row["resampled"], content["tasks"][row["task"]]["notes"]
            yield Result(
                row["task"],
                row["protocol"],
                THIS if is_this else row["encoder"],
                is_this,
                _metrics(row["metrics"]),
                f"intervals by {unit['unit']} ({unit['units']:,})",
                (*row["notes"], *notes) if is_this else (),
            )


def _metrics(values: dict[str, Any]) -> dict[str, tuple[float, float | None, float | None]]:
    return {
        name: tuple(values[name][key] for key in ("value", "low", "high"))
        for name in METRICS
        if values.get(name) and values[name]["value"] is not None
    }
