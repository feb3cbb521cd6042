"""Words and tables of a datasheet's README.md: values in, Markdown out."""

import collections
import csv
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histo_simclr.prepare import near_report

UNREGISTERED = "not in the registry, overlaps unknown"


def command(name: str, positional: Sequence[str], flags: Mapping[str, Any]) -> str:
    """A command line of ours, without the flags that are empty, None or False.

    Args:
      name: of the subcommand.
      positional: what comes after it.
      flags: value of each; True: the flag alone; a list: several values.
    """
    words = ["histo-simclr", name, *positional]
    for flag, value in flags.items():
        if value is None or value is False or value in ("", []):
            continue
        words.append(flag)
        if value is not True:
            words += [str(each) for each in (value if isinstance(value, list) else [value])]
    return shlex.join(words)


def mix_command(record_sets: Sequence[str], info: Mapping[str, Any], stain_patches: int) -> str:
    """The command that makes a mix again, without folders of this machine.

    What the recipe says is left to it; the rest is spelled out.

    Args:
      record_sets: names of their folders.
      info: mix.json.
      stain_patches: see `mix.mix`.
    """
    recipe, choice = info["recipe"] or {"file": "", "content": {}}, info["choice"] or {}
    settings = {name: info[name] for name in ("size", "draw", "px", "seed")}
    settings |= {name: choice.get(name) for name in ("cohorts", "without", "cohort_count")}
    settings |= {"skip_missing": bool(choice.get("missing")), "stain_patches": stain_patches}
    rules = dict(info["rules"])
    settings |= {"near_duplicates": rules.pop("near")} | rules
    flags = {"--recipe": recipe["file"], "--out": info["name"]}
    for name, value in settings.items():
        value = list(value) if isinstance(value, tuple) else value
        said = recipe["content"].get(name)
        if value is False and said:
            flags[f"--no-{name.replace('_', '-')}"] = True
        elif value != said:
            flags[f"--{name.replace('_', '-')}"] = value
    return command("mix", _placed(record_sets), flags)


def _placed(names: Sequence[str]) -> list[str]:
    """Folders in RECORDS; those of one name in RECORDS1, RECORDS2, …, as they cannot lie in one."""
    seen: collections.Counter[str] = collections.Counter()
    placed = []
    for name in names:
        seen[name] += 1
        placed.append(f"RECORDS{seen[name] if names.count(name) > 1 else ''}/{name}")
    return placed


def between(bounds: Sequence[float] | None) -> str:
    """Lower and upper bound of µm/px, the upper one not within."""
    return f"from {bounds[0]:g} to below {bounds[1]:g}" if bounds else "any"


def drawn(info: Mapping[str, Any]) -> str:
    """How the patches of a mix were shared out among its cohorts, given mix.json."""
    cohorts = info["cohorts"].values()
    largest = max(each["rows"] for each in cohorts)
    short = [each for each in cohorts if each["rows"] == each["available"] < largest]
    if info["draw"] != "even" or not short:
        return info["draw"]
    return (
        f"even: {largest:,} of each cohort that has as many; {len(short)} of {len(cohorts)} have "
        "fewer and give all"
    )


def near_duplicates(info: Mapping[str, Any]) -> str:
    """How many pairs were found and are listed, given mix.json."""
    pairs = sum(info["near_duplicates"].values())
    text = f"{pairs:,} pairs of near-duplicates"
    if not info["near_duplicates_are_all"]:
        text += ", and more that were not looked for, so many are alike"
    if pairs > near_report.MOST_LISTED:
        text += f" (listed: the first {near_report.MOST_LISTED:,})"
    return text


def counted(values: Mapping[str, int]) -> str:
    """Values with their counts; "" and "0.0" mean that nobody said."""
    unknown = ("", "0.0")
    words = {value: "not stated" if value in unknown else value for value in values}
    return ", ".join(f"{words[value]} {count:,}" for value, count in values.items())


def statistics(statistics: Mapping[str, Sequence[float]]) -> str:
    """Mean, then std, of three channels."""
    return ", ".join(
        " ".join(f"{value:.4f}" for value in statistics[name]) for name in ("mean", "std")
    )


def terms(each: Mapping[str, str]) -> str:
    """Licence and commercial use of a cohort."""
    return f"{each['license'] or 'not stated'}; commercial use: {each['commercial_use']}"


def collection(sets: Sequence[Mapping[str, str]]) -> str:
    """How the images were collected, as far as anybody said.

    Args:
      sets: cohort and citation of each record set.
    """
    says = "Patches of published images; see citeAs for how these were collected."
    unsaid = list(dict.fromkeys(each["cohort"] for each in sets if not each["citation"]))
    if len(unsaid) == len({each["cohort"] for each in sets}):
        return "Patches of images of which no publication was named."
    return says + (f" Of {', '.join(unsaid)} no publication was named." if unsaid else "")


def table(facts: Mapping[str, str]) -> str:
    """A table of two columns."""
    cells = {name: (value or "not stated").replace("|", "\\|") for name, value in facts.items()}
    return "| | |\n|---|---|\n" + "\n".join(
        f"| {name} | {value} |" for name, value in cells.items()
    )


def cohorts(info: dict[str, Any]) -> str:
    """The cohorts of a mix, given mix.json."""
    head = ("cohort", "drawn", "available", "slides", "patients", "organ", "stain", "licence")
    lines = ["## Cohorts", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, each in info["cohorts"].items():
        numbers = (f"{each[key]:,}" for key in ("rows", "available", "slides", "patients"))
        words = (each["organ"] or "?", each["stain"] or "?", terms(each))
        lines.append(f"| {' | '.join((name, *numbers, *words))} |")
    return "\n".join(lines)


def exclusions(info: dict[str, Any]) -> str:
    """What a mix left out and why, and what it drew in spite of an overlap, given mix.json."""
    reasons = {
        "duplicates": "same pixels as a patch before",
        "held_out": "same pixels as a patch of a split other than train",
        "excluded": f"named in {info['rules']['exclude']}, or same pixels as such a patch",
        "near_duplicates": "near-duplicate of a patch before (near_duplicates.csv)",
        "over_slide_cap": f"more than {info['rules']['max_per_slide']} of one slide",
        "other_mpp": f"no µm/px stated, or not {between(info['rules']['mpp'])}",
    }
    lines = [
        f"- {name}: {each[key]:,} ({says})"
        for name, each in info["cohorts"].items()
        for key, says in reasons.items()
        if each[key]
    ]
    lines += [
        f"- {each['cohort']}: the whole cohort ({each['license'] or 'no licence stated'}; "
        f"commercial use: {each['commercial_use']})"
        for each in info["left_out"]
    ]
    lines += [f"- not found, so not left out: {each}" for each in info["unmatched_exclusions"]]
    choice = info["choice"] or {"missing": (), "not_named": ()}
    lines += [f"- {each}: asked for, but in none of the record sets" for each in choice["missing"]]
    lines += [f"- {each}: not asked for" for each in choice["not_named"]]
    text = "## Left out\n\n" + ("\n".join(lines) or "Nothing.")
    warned = [f"- {each}" for each in info["evaluation_overlaps"]]
    warned += [f"- {one} and {other} share pixels" for one, other in info["related_cohorts"]]
    if names := info["unregistered_cohorts"]:
        warned.append(f"- {UNREGISTERED}: {', '.join(names)}")
    return text + ("\n\n## Overlaps\n\n" + "\n".join(warned) if warned else "")


def rejected(file: Path) -> str:
    """Why source images of a record set were left out, given rejected.csv."""
    with open(file, newline="", encoding="utf-8") as lines:
        reasons = collections.Counter(row["reason"] for row in csv.DictReader(lines))
    listed = "\n".join(f"- {count:,}: {reason}" for reason, count in reasons.most_common())
    return "## Left out\n\n" + (
        f"{listed}\n\nEach with its reason: rejected.csv" if listed else "Nothing."
    )
