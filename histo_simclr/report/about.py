"""What was evaluated, whether it was seen before, what was left out, how to do it again."""

import shlex
from typing import Any

from histo_simclr.report import page, words

# Of an encoder: those with a column of their own, and what its description says already.
_KNOWN = ("kind", "description", "arch", "px", "mean", "std", "step", "weights", "normalization")
_LEAKS = {
    "patient": "patients that occur in both",
    "slide": "slides that occur in both",
    "pixels": "the same pixels",
    "near": "pictures that look alike",
    "cohort": "a cohort of that name, or one that shares pixels with it",
}


def encoders(results: dict[str, Any]) -> page.Table:
    """Which encoders: weights, and the normalization that they expect."""
    rows, more = [], False
    for name, about in results["encoders"].items():
        others = {key: about[key] for key in sorted(about) if key not in _KNOWN}
        more = more or bool(others)
        cells = (
            words.ENCODERS.get(about["kind"], about["kind"]),
            about["description"] or words.NONE,
            *(words.plain(about.get(key)) for key in ("arch", "px")),
            _normalization(about),
            words.plain(about.get("step")),
            words.plain(others),
        )
        rows.append((name, cells, "floor" if about["kind"] in words.FLOORS else ""))
    heads = ("encoder", "what", "weights and input", "architecture", "px", "normalization", "step")
    width = len(heads) - 1 + more
    return page.Table(
        "Encoders",
        (*heads, "more")[: width + 1],
        tuple(page.row(name, *cells[:width], tone=tone) for name, cells, tone in rows),
        note="Shaded: floors. They learned nothing, so that an encoder that is not better than "
        "they are has not been shown to have learned anything that the task needs.",
    )


def tasks(results: dict[str, Any]) -> page.Table:
    """Which tasks, and how large they are."""
    rows = [
        page.row(
            name,
            task["kind"],
            words.plainly(task["metric"]),
            words.plain(task["cohort"]),
            f"{len(task['classes'])}: {', '.join(task['classes'])}"
            if task["classes"]
            else words.NONE,
            _size(task["train"]),
            _size(task["test"]),
            words.plain(task["licence"]),
        )
        for name, task in results["tasks"].items()
    ]
    heads = ("task", "kind", "metric", "cohort", "classes", "train", "test", "licence")
    return page.Table("Tasks", heads, tuple(rows))


def task_details(results: dict[str, Any]) -> page.Table:
    """Where each task comes from, how it is split, what is to be said of it."""
    heads = ("task", "about", "split", "prepared by", "source", "notes")
    rows = [
        page.row(
            name,
            *(words.plain(task[key]) for key in ("about", "split_rule")),
            page.Cell(words.plain(task["prepare"]), code=True),
            words.plain(task["citation"]),
            " ".join(f"{note}." if note[-1:] not in ".!?" else note for note in task["notes"])
            or words.NONE,
        )
        for name, task in results["tasks"].items()
    ]
    return page.Table("Tasks: sources and split rules", heads, tuple(rows))


def leaks(results: dict[str, Any]) -> list[page.Block]:
    """What of the test splits was seen elsewhere, and what could not be looked at."""
    found, notes, unchecked = [], {}, []
    for name, task in results["tasks"].items():
        if not task["leaks"]:
            unchecked.append(name)
        for against, report in task["leaks"].items():
            for note in report["notes"]:
                notes.setdefault(note, []).append(f"{name} / {against}")
            found += [
                page.row(
                    name,
                    against,
                    _LEAKS.get(leak["kind"], leak["kind"]),
                    leak["where"],
                    f"{leak['patches']:,} of {leak['of']:,}",
                    words.plain(list(leak["examples"])),
                    tone="bad",
                )
                for leak in report["leaks"]
            ]
    blocks: list[page.Block] = []
    if found:
        blocks += [
            page.Text(
                f"{words.count(len(found), 'leak')} found: scores of these tasks may be too good.",
                "bad",
            ),
            page.Table(
                "Leaks",
                ("task", "looked at", "what", "found in", "test patches", "examples"),
                tuple(found),
                heads=2,
            ),
        ]
    elif len(unchecked) < len(results["tasks"]):
        blocks.append(
            page.Text("No test patient, slide or picture was found where it should not be.", "good")
        )
    if unchecked:
        blocks.append(page.Text(f"Not checked: {', '.join(unchecked)}.", "open"))
    if notes:
        blocks.append(page.Text("What could not be looked at:"))
        blocks.append(
            page.Items(tuple(f"{note} ({', '.join(where)})" for note, where in notes.items()))
        )
    return blocks


def count_leaks(results: dict[str, Any]) -> int:
    """How many leaks there are."""
    return sum(
        len(report["leaks"])
        for task in results["tasks"].values()
        for report in task["leaks"].values()
    )


def left_out(results: dict[str, Any], missing: list[str]) -> list[page.Block]:
    """What is not here and why, and the suite's notes.

    Args:
      results: of `report.read`.
      missing: parts of the report that have nothing to show.
    """
    blocks: list[page.Block] = []
    if missing:
        blocks.append(page.Text(f"Not part of this suite: {', '.join(missing)}."))
    if results["skipped"]:
        rows = [
            page.row(
                each["task"] or words.NONE,
                each["encoder"] or "all",
                words.protocol(each["protocol"]) if each["protocol"] else "all",
                each["why"],
            )
            for each in results["skipped"]
        ]
        heads = ("task", "encoder", "protocol", "why")
        blocks.append(page.Table("Skipped", heads, tuple(rows), heads=3))
    if results["notes"]:
        blocks += [page.Heading("Notes"), page.Items(tuple(results["notes"]))]
    return blocks


def reproduce(results: dict[str, Any]) -> list[page.Block]:
    """The command and everything that its results depend on."""
    judged = [
        shlex.quote(f"{name}={'features:DIR' if about['kind'] == 'features' else 'PATH'}")
        for name, about in results["encoders"].items()
        if about["kind"] not in words.FLOORS
    ]
    command = (
        "python main.py --config=configs/evaluate.py[:preset] "
        f"--config.checkpoints={','.join(judged)} --workdir=DIR"
    )
    facts = {"date": results["date"], "revision": results["revision"]}
    facts |= {f"version of {name}": each for name, each in results["versions"].items()}
    facts |= results["settings"]
    rows = [page.row(name.replace("_", " "), words.plain(each)) for name, each in facts.items()]
    return [
        page.Text(
            "In a checkout of the revision below, with the paths of the checkpoints, and the "
            "preset and the settings below; config.json in the suite's folder holds all of them. "
            "The same command in the same folder goes on where it stopped, and draws this page "
            "again from results.json:"
        ),
        page.Code(command),
        page.Table("Versions and settings", ("what", "value"), tuple(rows)),
        page.Text(
            "The numbers of this page, unrounded: results.csv and differences.csv beside it; "
            "results.json holds everything."
        ),
    ]


def _normalization(about: dict[str, Any]) -> str:
    if about.get("mean") is None and about.get("std") is None:
        return words.NONE
    return f"mean {words.plain(about.get('mean'))}; std {words.plain(about.get('std'))}"


def _size(part: dict[str, Any]) -> page.Cell:
    groups = words.count(part["groups"], part["unit"]) if part["groups"] is not None else ""
    patches = words.count(part["patches"], "patch")
    return page.Cell(patches, "" if groups == patches else groups)
