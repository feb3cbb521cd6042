"""`histo-simclr datasets`: lists, filters and shows the registry, and checks a data directory."""

import argparse
import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histo_simclr import tables
from histo_simclr.errors import InputError
from histo_simclr.prepare import acquire, holdings, registry
from histo_simclr.prepare.registry import Cohort

DATA, RECORDS = Path("raw"), Path("records")  # in the commands shown; relative


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `histo-simclr datasets`."""
    add = parser.add_argument
    add("name", nargs="?", help="show this cohort alone, with the commands that bring it here")
    add("--organ", help="only cohorts of this organ, e.g. breast")
    add("--stain", help="only cohorts with this stain, e.g. H&E")
    add("--commercial", action="store_true", help="only cohorts whose terms allow commercial use")
    add("--core", action="store_true", help="only the 57 of the core list")
    add("--check", type=Path, metavar="DIR", help="which of them DIR holds, one folder a cohort")
    add("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace) -> None:
    """`histo-simclr datasets` with parsed arguments; prints to stdout."""
    cohorts = registry.load()
    filters = [f"--{each}" for each in ("organ", "stain", "commercial", "core") if vars(args)[each]]
    if args.name and filters:
        raise InputError(
            "a cohort and a filter", where=filters[0], way_out="give the name or filters"
        )
    if args.name:
        chosen = [registry.find(args.name, cohorts, where="NAME")]
    else:
        chosen = select(
            cohorts,
            organ=args.organ,
            stain=args.stain,
            commercial=args.commercial,
            core=args.core,
        )
    if args.check:
        text = _checked(args.check, cohorts, chosen, as_json=args.json)
    elif args.json:
        text = json.dumps([_as_dict(each) for each in chosen], indent=2, ensure_ascii=False)
    else:
        text = shown(chosen[0]) if args.name else listed(chosen)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has read enough; the rest of the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def select(
    cohorts: Sequence[Cohort], *, organ: str | None, stain: str | None, commercial: bool, core: bool
) -> list[Cohort]:
    """The cohorts that all filters let through, in their order.

    Args:
      cohorts: of the registry.
      organ, stain: one of those that a cohort lists, in any case; None: all.
      commercial: only those with commercial_use "yes"; "unknown" is no permission.
      core: only the list core57.

    Raises:
      InputError: no cohort at all has this organ or stain (the nearest are suggested), or none is
        left.
    """
    chosen = list(cohorts)
    for column, wanted in (("organ", organ), ("stain", stain)):
        if wanted is not None:
            known = {each.lower(): each for cohort in cohorts for each in getattr(cohort, column)}
            if wanted.lower() not in known:
                near = difflib.get_close_matches(wanted.lower(), known, 3) or sorted(known)
                raise InputError(
                    f"no cohort has {wanted!r}",
                    where=f"--{column}",
                    way_out=f"there is {', '.join(known[each] for each in near)}",
                )
            chosen = [c for c in chosen if known[wanted.lower()] in getattr(c, column)]
    if commercial:
        chosen = [cohort for cohort in chosen if cohort.commercial_use == "yes"]
    if core:
        chosen = [cohort for cohort in chosen if cohort.list == "core57"]
    if not chosen:
        raise InputError("no cohort left", where="the filters", way_out="leave one of them out")
    return chosen


def listed(cohorts: Sequence[Cohort]) -> str:
    """An aligned table, one row a cohort, and a line of totals."""
    rows = [["name", "list", "organ", "stain", "µm/px", "kind", "slides", "patches"]]
    rows[0] += ["license", "commercial", "obtain"]
    for each in cohorts:
        row = [each.name, each.list, ";".join(each.organ), ";".join(each.stain), _mpp(each)]
        row += [each.kind, _count(each.slides), _count(each.patches)]
        rows.append([*row, each.license, each.commercial_use, _obtain(each)])
    # Figures stand at the right.
    table = "\n".join(tables.aligned(rows, right={6, 7}))
    slides = sum(each.slides or 0 for each in cohorts if each.kind != "patch")
    patches = sum(each.patches or 0 for each in cohorts)
    return (
        f"{table}\n\n{len(cohorts)} cohorts; where it is known (not: -), {slides:,} slides "
        f"and {patches:,} patches. More of one: histo-simclr datasets {cohorts[0].name}"
    )


def shown(cohort: Cohort) -> str:
    """All that is known of one cohort, and the commands that bring it here."""
    fields = {
        "also named": ", ".join(cohort.aliases) or "-",
        "list": cohort.list,
        "organ": "; ".join(cohort.organ),
        "stain": "; ".join(cohort.stain),
        "µm/px": _mpp(cohort),
        "magnification": ", ".join(f"{each:g}x" for each in cohort.magnification) or "-",
        "kind": cohort.kind,
        "task": "; ".join(cohort.task),
        "slides": _count(cohort.slides),
        "patches": _count(cohort.patches),
        "url": " ".join(filter(None, (cohort.url, cohort.mirror))),
        "obtain": _obtain(cohort),
        "license": f"{cohort.license}{cohort.license_note and f' ({cohort.license_note})'}",
        "commercial use": cohort.commercial_use,
        "overlaps": ", ".join(cohort.overlaps) or "none known",
        "citation": cohort.citation,
        "in the paper": cohort.in_paper,
        "note": cohort.note or "-",
    }
    lines = [cohort.name, *(f"  {name:<15} {text}" for name, text in fields.items())]
    return "\n".join([*lines, "", *acquire.commands(cohort, DATA, RECORDS)])


def _checked(
    folder: Path, cohorts: Sequence[Cohort], chosen: Sequence[Cohort], *, as_json: bool
) -> str:
    # All are looked for, so that a folder outside the filters is not called foreign.
    held, foreign = holdings.check(folder, cohorts)
    names = {cohort.name: cohort for cohort in chosen}
    held = [each for each in held if each.cohort in names]
    missing = [cohort for cohort in chosen if cohort.name not in {each.cohort for each in held}]
    if as_json:
        found = [each._asdict() | {"folder": str(each.folder)} for each in held]
        report = {"held": found, "foreign": foreign}
        report["missing"] = [_as_dict(each, folder) for each in missing]
        return json.dumps(report, indent=2, ensure_ascii=False)
    rows = [["folder", "cohort", "holds", "state", "slides", "patches", "detail"]]
    for each in held:
        of = names[each.cohort]
        row = [each.folder.name, each.cohort, each.holds, each.state]
        row += [_of(each.slides, of.slides), _of(each.patches, of.patches), each.detail]
        rows.append(row)
    absent = [["missing", "obtain", "from"]]
    absent += [[each.name, _obtain(each), each.url] for each in missing]
    blocks = ["\n".join(tables.aligned(each)) for each in (rows, absent) if len(each) > 1]
    if foreign:
        blocks.append(f"not in the registry: {', '.join(foreign)}")
    states = [each.state for each in held]
    counts = [f"{states.count(each)} {each}" for each in dict.fromkeys(sorted(states))]
    counts += [f"{len(missing)} of {len(chosen)} cohorts missing"]
    hint = f"; how to get one: histo-simclr datasets {missing[0].name}" if missing else ""
    return "\n\n".join([*blocks, f"{folder}: {', '.join(counts)}{hint}"])


def _as_dict(cohort: Cohort, folder: Path = DATA) -> dict[str, Any]:
    return dataclasses.asdict(cohort) | {"commands": acquire.commands(cohort, folder, RECORDS)}


def _mpp(cohort: Cohort) -> str:
    if cohort.mpp_min is None:
        return "-"
    return "-".join(f"{each:g}" for each in dict.fromkeys((cohort.mpp_min, cohort.mpp_max)))


def _obtain(cohort: Cohort) -> str:
    return " ".join([cohort.obtain, *cohort.download])


def _count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _of(found: int | None, wanted: int | None) -> str:
    return "-" if found is None else f"{found:,} of {'?' if wanted is None else f'{wanted:,}'}"
