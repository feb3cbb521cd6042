"""What a suite found, as JSON values (results.json) and as text for the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histo_simclr import pictures, provenance, tables, workdir
from histo_simclr.evaluate import leaks, metrics
from histo_simclr.evaluate.results import plain
from histo_simclr.report.differences import verdict
from histo_simclr.suite import comparisons, summary
from histo_simclr.suite.encoders import Candidate
from histo_simclr.suite.summary import Block, Judged
from histo_simclr.suite.tasks import Task

RESULTS = "results.json"
FORMAT = 1
NAMES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "l1": "L1 × 100",
    "r2": "R²",
    "spearman": "Spearman",
    "dice": "Dice",
    "iou": "IoU",
}


def gather(
    judged: Sequence[Judged],
    opened: Sequence[Task],
    found: Sequence[Candidate],
    exposed: dict[str, dict[str, leaks.Report]],
    *,
    robustness: dict[str, list[dict[str, Any]]],
    skipped: Sequence[dict[str, str]],
    settings: dict[str, Any],
    date: str,
    place: Path,
) -> dict[str, Any]:
    """All results as plain JSON values; NaN is null.

    Args:
      judged: blocks, measured.
      opened, found, exposed: tasks, encoders, and what was seen before.
      robustness: encoder → what its features tell of cohort, stain and magnification.
      skipped: what was not computed, and why.
      settings: of the suite: resamples, permutations, margin, seeds, fractions, shots.
      date: of today, ISO.
      place: folder of the suite; pictures of segmentations are drawn into it.
    """
    drawn = draw_segmentations([each.block for each in judged], place)
    rows = [row for each in judged for row in summary.rows(each)]
    for row in rows:
        if row["fraction"] == 1:
            name = drawn.get((row["task"], row["encoder"], row["protocol"]))
            row["pictures"] = [name] if name else []
    return plain(
        {
            "format": FORMAT,
            "date": date,
            "versions": provenance.package_versions(),
            "revision": provenance.git_revision(),
            "settings": settings,
            "tasks": {task.name: _task(task, exposed[task.name]) for task in opened},
            "encoders": {
                # The digest says which checkpoint it was, to whoever attaches the results to it.
                each.name: {"kind": each.kind, "digest": each.digest}
                | {"description": description(each)}
                | each.about
                for each in found
            },
            "rows": rows,
            "differences": comparisons.differences(
                judged,
                found,
                permutations=settings["permutations"],
                margin=settings["margin"],
            ),
            "tuning": comparisons.tuning(
                judged,
                **{key: settings[key] for key in ("resamples", "permutations", "margin")},
            ),
            "averages": comparisons.averages(judged),
            "ranking": comparisons.rankings(judged),
            "robustness": robustness,
            "skipped": list(skipped),
            "notes": notes_of(rows) + _revisions(judged),
        }
    )


def description(candidate: Candidate) -> str:
    """What weights, and what is done to the input, in one line."""
    return f"{candidate.about['weights']}; input: {candidate.about['normalization']}"


def notes_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What rows say of themselves, each sentence once, with the rows that say it."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for note in row["notes"]:
            place = f"{row['task']} · {row['encoder']} · {row['protocol']} · {row['subset']}"
            said.setdefault(note, []).append(place)
    return [
        f"{note} ({', '.join(where[:3])}{f' and {len(where) - 3} more' if where[3:] else ''})"
        for note, where in said.items()
    ]


def draw_segmentations(blocks: Sequence[Block], place: Path) -> dict[tuple[str, str, str], str]:
    """Pictures of the worst and best images of each segmentation, by (task, encoder, protocol).

    Returns:
      Their names below `place`.
    """
    drawn = {}
    for block in blocks:
        if block.task.kind != "segmentation":
            continue
        for encoder, by_seed in block.outcomes.items():
            extra = next(iter(by_seed.values())).extra
            name = f"pictures/{block.task.name}_{encoder}_{block.protocol}.png"
            (place / "pictures").mkdir(exist_ok=True)
            pictures.segmentations(
                extra["images"],
                {"truth": extra["masks"], "prediction": extra["predicted"]},
                [
                    f"{Path(str(key)).name}\nDice {score:.2f}"
                    for key, score in zip(extra["keys"], extra["scores"], strict=True)
                ],
                block.task.classes,
                place / name,
            )
            drawn[block.task.name, encoder, block.protocol] = name
    return drawn


def write(results: dict[str, Any], place: Path) -> None:
    """Leaves results.json in the folder of a suite; encoders and tasks in their order."""
    workdir.write_text(place / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def format_tables(results: dict[str, Any]) -> str:
    """The tables of a suite for the terminal: a table a protocol, then the paired differences."""
    whole = [row for row in results["rows"] if row["fraction"] == 1]
    blocks = []
    for protocol in dict.fromkeys(row["protocol"] for row in whole):
        of_protocol = [row for row in whole if row["protocol"] == protocol]
        named = list(dict.fromkeys(row["task"] for row in of_protocol))
        metrics = {task: results["tasks"][task]["metric"] for task in named}
        head = ["", *(f"{task} ({NAMES[metrics[task]]})" for task in named)]
        lines = [head]
        for encoder in dict.fromkeys(row["encoder"] for row in of_protocol):
            cells = {row["task"]: row for row in of_protocol if row["encoder"] == encoder}
            lines.append(
                [
                    encoder,
                    *(
                        _cell(cells[task], metrics[task]) if task in cells else "-"
                        for task in named
                    ),
                ]
            )
        aligned = tables.aligned(lines, right=range(1, len(head)))
        blocks.append([f"{protocol}, all training labels", *aligned])
    if results["differences"]:
        lines = [["difference", "task", "protocol", "", "Holm p", ""]]
        lines += [
            [
                f"{each['first']} - {each['second']}",
                each["task"],
                each["protocol"],
                _interval(each, each["metric"], sign="+"),
                "-" if each["p_holm"] is None else f"{each['p_holm']:.2g}",
                _verdict(each),
            ]
            for each in results["differences"]
        ]
        blocks.append(tables.aligned(lines))
    for each in results["skipped"]:
        where = " · ".join(filter(None, (each["task"], each["encoder"], each["protocol"])))
        blocks.append([f"left out: {where}: {each['why']}"])
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _revisions(judged: Sequence[Judged]) -> list[str]:
    made_by = sorted(set().union(*(each.block.revisions for each in judged)))
    if len(made_by) < 2:
        return []
    return [f"cells were made by several revisions of the code: {', '.join(made_by)}"]


def _task(task: Task, exposed: dict[str, leaks.Report]) -> dict[str, Any]:
    groups = task.test.groups
    notes = []
    if groups.kind == "example":
        notes.append("patients and slides are unknown: intervals hold for patches, not patients")
    elif groups.count() < metrics.MIN_GROUPS:
        notes.append(
            f"only {groups.count()} test {groups.kind}(s): intervals hold for more patches of these"
        )
    absent = [
        name
        for number, name in enumerate(task.classes)
        if task.kind in ("classification", "slides") and not (task.test.truth == number).any()
    ]
    if absent:
        notes.append(
            f"no test example of {', '.join(absent)}: it counts only where it is predicted wrongly"
        )
    told = {name: report.to_json() for name, report in exposed.items()}
    return task.about | {"notes": notes, "leaks": told, "digest": task.digest}


def _cell(row: dict[str, Any], metric: str) -> str:
    entry = row["metrics"][metric]
    sd = "" if entry["sd"] is None else f" ± {_number(entry['sd'], metric=metric)}"
    return f"{_interval(entry, metric)}{sd}"


def _interval(entry: dict[str, Any], metric: str, sign: str = "") -> str:
    value, low, high = (
        _number(entry[key], sign, metric=metric) for key in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def _number(value: float | None, sign: str = "", metric: str = "") -> str:
    if value is None:
        return "-"
    return f"{value * 100:{sign}.2f}" if metric == "l1" else f"{value:{sign}.3f}"


def _verdict(each: dict[str, Any]) -> str:
    """In words; that a test set is too small comes before what it seems to say."""
    return each["note"].split(":")[0] or verdict(each)
