"""The cohorts of the paper and more: reads data/datasets.csv and checks it. Fetches nothing.

The paper names few of its 57 datasets; `in_paper` says how each row came to be here. Licenses are
as their publishers state them and have to be checked again before any redistribution; citations and
overlaps are from the literature as known, not looked up again. Counts: NCI's Imaging Data Commons
where the note says so (one DICOM series is one slide), else the publisher's or a public list's.
"""

import csv
import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.prepare.registry_row import UNKNOWN, Cohort, parse

REGISTRY = Path(__file__).parents[2] / "data" / "datasets.csv"
COHORTS = 57  # arXiv 2011.13971 v2, abstract


def folded(name: str) -> str:
    """A name without case and punctuation: the one way to compare spellings of a cohort's name."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def by_spelling(cohorts: Iterable[Cohort]) -> dict[str, Cohort]:
    """Cohorts by the folded form of their names and aliases."""
    return {folded(name): each for each in cohorts for name in (each.name, *each.aliases)}


def identity(name: str, registered: Mapping[str, Cohort]) -> str:
    """What all names of one cohort have in common: its registered name, or its own, folded.

    Args:
      name: a name, or an alias of the registry.
      registered: see `by_spelling`.
    """
    cohort = registered.get(folded(name))
    return folded(cohort.name if cohort else name)


def load(path: str | Path = REGISTRY) -> tuple[Cohort, ...]:
    """Reads and checks a registry.

    Returns:
      The cohorts, in the order of the file; `overlaps` is symmetric.

    Raises:
      InputError: the file is missing or no UTF-8 CSV, its columns are not those of Cohort, a field
        is out of its range, a name or alias stands twice, an overlap names no other cohort, or the
        list core57 has not 57 rows. Names line and column.
    """
    path = Path(path)
    header, lines = _read(path)
    cohorts: dict[str, Cohort] = {}
    line_of: dict[str, int] = {}
    line_of_spelling: dict[str, int] = {}
    for line, values in lines:
        where = f"{path}, line {line}"
        cohort = parse(where, _row(where, header, values))
        _note_names(cohort, line, where, line_of_spelling)
        line_of[cohort.name] = line
        cohorts[cohort.name] = cohort
    core = sum(cohort.list == "core57" for cohort in cohorts.values())
    if core != COHORTS:
        raise InputError(
            f"{core} cohorts in list core57, the paper has {COHORTS}",
            where=path,
            way_out="restore the missing rows, or move those that are too many to list more",
        )
    return _with_overlaps(path, cohorts, line_of)


def find(name: str, cohorts: Iterable[Cohort], where: object = "cohort") -> Cohort:
    """The cohort of that name or alias; case and punctuation do not count.

    Args:
      name: as given by a user, or a folder's name.
      cohorts: where to look.
      where: what the user gave it in, for the error.

    Raises:
      InputError: there is none; suggests the nearest.
    """
    known = by_spelling(cohorts)
    if folded(name) not in known:
        near = difflib.get_close_matches(folded(name), known, 3, cutoff=0.5)
        names = ", ".join(dict.fromkeys(known[each].name for each in near))
        raise InputError(
            f"no cohort {name!r} in the registry",
            where=where,
            way_out=f"did you mean {names}?" if near else "histo-simclr datasets lists them",
        )
    return known[folded(name)]


def resembling(name: str, cohorts: Iterable[Cohort]) -> str:
    """The cohort that a name is probably a slip for; empty when it is one, or is like none."""
    known = by_spelling(cohorts)
    near = difflib.get_close_matches(folded(name), known, 1, cutoff=0.85)
    return "" if folded(name) in known or not near else known[near[0]].name


def _note_names(cohort: Cohort, line: int, where: str, line_of: dict[str, int]) -> None:
    """Notes the line of each name of a cohort; InputError if one stands already."""
    for column, names in (("name", (cohort.name,)), ("aliases", cohort.aliases)):
        for name in names:
            if folded(name) in line_of:
                raise InputError(
                    f"column {column}: {name} stands in line {line_of[folded(name)]} too, "
                    "but for case and punctuation",
                    where=where,
                    way_out="give each cohort one row, and names of its own",
                )
            line_of[folded(name)] = line


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            lines = [(reader.line_num, values) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot be read ({error})",
            where=path,
            way_out="the registry lies in data/datasets.csv of the repository; restore it",
        ) from error
    wanted = [field.name for field in dataclasses.fields(Cohort)]
    if header != wanted:
        absent = [name for name in wanted if name not in header]
        unknown = [name for name in header if name not in wanted]
        found = f"missing columns {absent}, unknown columns {unknown}"
        raise InputError(
            found if absent or unknown else "columns in another order, or twice",
            where=f"{path}, line 1",
            way_out=f"the columns are {','.join(wanted)}",
        )
    return header, lines


def _row(where: str, header: list[str], values: list[str]) -> dict[str, str]:
    if len(values) != len(header):
        raise InputError(
            f"column {header[min(len(values), len(header) - 1)]}: "
            f"{len(values)} fields, the header has {len(header)}",
            where=where,
            way_out="quote fields with a comma inside",
        )
    return {name: value.strip() for name, value in zip(header, values, strict=True)}


def _with_overlaps(
    path: Path, cohorts: Mapping[str, Cohort], line_of: Mapping[str, int]
) -> tuple[Cohort, ...]:
    shared: dict[str, set[str]] = {name: set() for name in cohorts}
    for name, cohort in cohorts.items():
        for given in cohort.overlaps:
            if given == UNKNOWN:
                continue
            others = [other for other in cohorts if _means(given, other) and other != name]
            if not others:
                near = difflib.get_close_matches(given, cohorts, 1)
                raise InputError(
                    f"column overlaps: {given!r} is no other cohort",
                    where=f"{path}, line {line_of[name]}",
                    way_out=f"did you mean {near[0]}?" if near else "give names, or PREFIX*",
                )
            shared[name].update(others)
            for other in others:
                shared[other].add(name)
    found = []
    for name, cohort in cohorts.items():
        overlaps = tuple(other for other in cohorts if other in shared[name])
        is_unknown = UNKNOWN in cohort.overlaps and not overlaps
        found.append(dataclasses.replace(cohort, overlaps=(UNKNOWN,) if is_unknown else overlaps))
    return tuple(found)


def _means(given: str, name: str) -> bool:
    return name.startswith(given[:-1]) if given[1:].endswith("*") else name == given
