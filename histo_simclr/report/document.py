"""The report of a suite: results.json and looks → one HTML file and two CSV files.

The page asks for nothing but itself, so that it can be kept, sent and opened from disk. Equal
results give equal bytes.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from histo_simclr import workdir as workdirs
from histo_simclr.errors import InputError
from histo_simclr.report import about as report_about
from histo_simclr.report import details as report_details
from histo_simclr.report import differences as report_differences
from histo_simclr.report import figures, page, published, results_csv, words
from histo_simclr.report import looks as report_looks
from histo_simclr.report import scores as report_scores

FORMAT = 1
RESULTS, LOOKS, REPORT = "results.json", "looks", "report.html"
SCORES, DIFFERENCES = "results.csv", "differences.csv"
# What the parts of results.json must hold to be shown; the rest is left to the parts themselves.
_TOP = (
    "date versions revision settings tasks encoders rows differences tuning averages ranking"
    " skipped notes"
)
_KEYS = {
    "tasks": "kind metric about cohort licence citation split_rule prepare classes train test notes"
    " leaks",
    "encoders": "kind description",
    "rows": "task encoder protocol subset fraction shots examples seeds metrics chosen",
    "differences": "task protocol subset metric first second value low high p p_holm exact swaps"
    " units unit note",
    "averages": "protocol kind metric encoder value tasks",
    "ranking": "encoders ranks p critical_difference alike tasks",
    "skipped": "task encoder protocol why",
}
_LOOK = "pictures tables robustness"


def write(workdir: Path) -> Path:
    """Writes report.html, results.csv and differences.csv beside results.json, each atomically.

    Args:
      workdir: folder of a suite: results.json of format 1, looks/*.json if features were looked
        at, and the pictures that both name. A picture that is missing is named in its place.

    Returns:
      Path of report.html.

    Raises:
      InputError: results.json or a look is missing, torn or of another format, or the folder
        cannot be written.
    """
    workdir = Path(workdir)
    results = read(workdir)
    looks = _read_looks(workdir, list(results["encoders"]))
    html = _page(results, looks, workdir)
    files = {
        SCORES: results_csv.scores(results),
        DIFFERENCES: results_csv.differences(results),
        REPORT: html,
    }
    with workdirs.naming_disk_trouble(workdir):
        for name, content in files.items():
            workdirs.write_text(workdir / name, content)
    return workdir / REPORT


def read(workdir: Path) -> dict[str, Any]:
    """results.json, checked.

    Raises:
      InputError: missing, torn, of another format, or without something the report shows.
    """
    file = Path(workdir) / RESULTS
    results = _json(file)
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        found = results.get("format") if isinstance(results, dict) else None
        raise _unusable(file, f"is no results of format {FORMAT} (found: {found!r})")
    _check(file, "", results, _TOP)
    for part, keys in _KEYS.items():
        entries = results[part]
        named = entries.items() if isinstance(entries, dict) else enumerate(entries)
        for name, entry in named:
            _check(file, f"{part}[{name!r}]", entry, keys)
    for number, entry in enumerate(results["rows"]):
        for part, name in (("tasks", entry["task"]), ("encoders", entry["encoder"])):
            if name not in results[part]:
                raise _unusable(file, f"rows[{number}] is of {name!r}, which is not in {part!r}")
        # They are there at full labels only, or when there is something to say.
        for key in ("per_class", "confusion", "calibration", "pictures", "notes"):
            entry.setdefault(key, None)
    return results


def _read_looks(workdir: Path, encoders: list[str]) -> dict[str, dict[str, Any]]:
    """Encoder → look, in the order of the encoders; what is left of others is not shown."""
    found = {}
    for file in sorted((workdir / LOOKS).glob("*.json")):
        look = _json(file)
        _check(file, "", look, f"encoder {_LOOK}")
        found[look["encoder"]] = look
    return {name: found[name] for name in encoders if name in found}


def _page(results: dict[str, Any], looks: dict[str, Any], workdir: Path) -> str:
    about: list[page.Block] = [report_about.encoders(results), report_about.tasks(results)]
    about.append(report_about.task_details(results))
    floors = [name for name in results["encoders"] if report_differences.is_floor(results, name)]
    styles = figures.styles(list(results["encoders"]), floors)
    frozen = [name for name in words.PROTOCOLS if name != "finetune"]
    parts = {
        "Frozen encoders (as in the paper's Table 2)": _scores(
            results, "classification", lambda name: name in frozen, published.FROZEN
        ),
        "Fine-tuned encoders (as in the paper's Table 1)": _scores(
            results, "classification", lambda name: name not in frozen, published.FINE_TUNED
        ),
        "Regression": _scores(results, "regression", lambda _: True, published.REGRESSION),
        "Segmentation": _scores(results, "segmentation", lambda _: True, published.SEGMENTATION),
        "Slides": _scores(results, "slides", lambda _: True, None),
        "Differences between encoders": report_differences.differences(results),
        "Fine-tuned against frozen": report_differences.tuning(results),
        "Ranks over tasks": report_differences.ranks(results, styles),
        "Few labels": report_details.few_labels(results, styles),
        "Confusion matrices, classes": report_details.classes(results),
        "Calibration": report_details.calibration(results),
        "Segmentation pictures": report_looks.segmentations(results, workdir),
        "A look at the features": report_looks.looks(looks, workdir),
    }
    tables = [title for title in list(parts)[:5] if parts[title]]
    if tables:
        parts[tables[0]].insert(0, page.Text(report_scores.HOW_TO_READ))
    missing = [_uncapital(title.split(" (")[0]) for title, blocks in parts.items() if not blocks]
    whole = {
        "What was evaluated": about,
        "Leak checks": report_about.leaks(results),
        **parts,
        "Skipped, notes": report_about.left_out(results, missing),
        "How to reproduce": report_about.reproduce(results),
    }
    sections = [
        page.Section(title, f"part-{number}", tuple(blocks))
        for number, (title, blocks) in enumerate(whole.items(), 1)
    ]
    return page.render("Evaluation of histopathology encoders", _lead(results), sections)


def _lead(results: dict[str, Any]) -> list[page.Text]:
    judged = [
        name for name in results["encoders"] if not report_differences.is_floor(results, name)
    ]
    floors = len(results["encoders"]) - len(judged)
    sizes = [words.count(len(judged), "encoder"), words.count(floors, "floor")]
    sizes.append(words.count(len(results["tasks"]), "task"))
    lead = [
        page.Text(
            f"{', '.join(sizes)}; {results['date']}. Higher is better for every score but L1 and "
            "the errors of calibration. Research software: nothing here says that an encoder is "
            "fit for diagnosis."
        )
    ]
    if leaks := report_about.count_leaks(results):
        lead.append(page.Text(f"{words.count(leaks, 'leak')} found: see Leak checks.", "bad"))
    return lead


def _scores(
    results: dict[str, Any],
    kind: str,
    is_chosen: Callable[[str], bool],
    paper: published.Scale | None,
) -> list[page.Block]:
    """The tables of one kind of task; the paper's numbers stand below the first."""
    protocols = [name for name in report_scores.protocols_of(results, kind) if is_chosen(name)]
    blocks: list[page.Block] = []
    for number, protocol in enumerate(protocols):
        title = words.capital(words.protocol(protocol))
        blocks.append(report_scores.by_task(results, kind, protocol, title=title))
        if said := report_differences.against_floors(results, kind, protocol):
            blocks.append(said)
        if paper and not number:
            blocks.append(report_scores.paper(paper))
    return blocks + [report_scores.all_metrics(results, kind, name) for name in protocols]


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _unusable(file, "does not exist") from error
    except (OSError, ValueError) as error:
        raise _unusable(file, f"cannot be read ({error})") from error


def _check(file: Path, part: str, entry: Any, keys: str) -> None:
    missing = keys.split()[0] if not isinstance(entry, dict) else None
    missing = missing or next((key for key in keys.split() if key not in entry), None)
    if missing:
        raise _unusable(file, f"{part}{' ' if part else ''}lacks {missing!r}")


def _unusable(file: Path, what: str) -> InputError:
    return InputError(
        what,
        where=file,
        way_out="run the suite again with the same --workdir: it goes on from what is whole",
    )


def _uncapital(text: str) -> str:
    return text[:1].lower() + text[1:]
