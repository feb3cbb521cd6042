"""The settings of a mix, each once: a flag of `histo-simclr mix` and a key of its recipes."""

import argparse
import math
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.prepare import mix, near


class Setting(NamedTuple):
    """One setting.

    Fields:
      kind: int, float, str, bool or Path.
      help: what it is.
      default: where neither the command line nor a recipe gives it.
      count: values it takes: None: one, "+": one or more, or so many.
      low, high: bounds of a number; None: none.
      choices: of a word; empty: any.
      metavar: how help names the value.
    """

    kind: type
    help: str
    default: Any = None
    count: str | int | None = None
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    metavar: str | tuple[str, ...] | None = None


_COHORTS = {"count": "+", "metavar": "COHORT"}
GROUPS: dict[str, dict[str, Setting]] = {
    "how many": {
        "size": Setting(int, "patches to draw", low=1),
        "draw": Setting(str, "even | proportional | tempered:ALPHA", "even"),
        "px": Setting(int, "side that the patches must have", low=1),
        "seed": Setting(int, "of the choice within each cohort, and of cohorts", 0, low=0),
        "stain_patches": Setting(int, "a cohort, measured; 0: none", mix.STAIN_PATCHES, low=0),
    },
    "which cohorts": {
        "cohorts": Setting(
            str, "names, or list:core57, organ:breast, stain:IHC; comma: and", **_COHORTS
        ),
        "without": Setting(str, "of these, leave out; written alike", (), **_COHORTS),
        "cohort_count": Setting(int, "so many of these; fewer are among more", low=1),
        "skip_missing": Setting(bool, "go on without cohorts that no record set holds", False),
    },
    "what to leave out": {
        "mpp": Setting(
            float, "draw LOW <= µm/px < HIGH alone", count=2, low=0, metavar=("LOW", "HIGH")
        ),
        "max_per_slide": Setting(int, "patches of one slide at most", low=1),
        "max_per_cohort": Setting(int, "patches of one cohort at most", low=1),
        "exclude": Setting(Path, "columns kind (cohort|patient|slide), name", metavar="CSV"),
        "allow_unmatched": Setting(bool, "names in that list that are nowhere", False),
        "evaluate_on": Setting(str, "keep these, and their kin", (), **_COHORTS),
        "allow_overlap": Setting(bool, "draw even from cohorts evaluated on", False),
        "commercial_ok": Setting(bool, "only cohorts whose terms allow it", False),
        "near_duplicates": Setting(
            str, "what to do with them", "report", choices=("off", "report", "drop")
        ),
        "near_bits": Setting(
            int,
            "of 64, in which these may differ",
            mix.NEAR_BITS,
            low=1,
            high=near.MAX_DISTANCE,
        ),
    },
}
SETTINGS = {name: each for group in GROUPS.values() for name, each in group.items()}
_TOO_LARGE = 2**63  # what neither a count nor a resolution comes to, and Python may not print
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "text",
    bool: "true or false",
}


def flag(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of each setting; what is not given leaves no trace in the namespace."""
    for title, group in GROUPS.items():
        add = parser.add_argument_group(title).add_argument
        for name, each in group.items():
            is_shown = each.kind is not bool and each.default not in (None, ())
            says = each.help + (f" (default: {each.default})" if is_shown else "")
            given = {"default": argparse.SUPPRESS, "help": says}
            if each.kind is bool:
                given |= {"action": argparse.BooleanOptionalAction}
            else:
                given |= {"type": each.kind, "nargs": each.count, "metavar": each.metavar}
                given |= {"choices": each.choices or None}
            add(flag(name), **given)


def typed(name: str, value: Any, where: str) -> Any:
    """A value read from a file, as its flag would give it; several come as a tuple.

    Args:
      name: of the setting.
      value: plain value: a number, text, true or false, or a list of these.
      where: file and line, for the error.

    Raises:
      InputError: another type, or not within its bounds.
    """
    each = SETTINGS[name]
    if each.count is None:
        settled = _one(each, value, where)
    else:
        values = [value] if each.count == "+" and isinstance(value, str) else value
        fits = isinstance(values, list) and values and each.count in ("+", len(values))
        if not fits:
            wanted = "a list" if each.count == "+" else f"a list of {each.count}"
            raise _wrong(reprlib.repr(value), f"{wanted}, each {_WORDS[each.kind]}", where)
        settled = tuple(_one(each, one, where) for one in values)
    check(name, settled, where)
    return settled


def check(name: str, value: Any, where: str) -> None:
    """InputError if a value of the right type is not within its bounds.

    Args:
      name: of the setting.
      value: as `typed` or a flag gives it.
      where: file and line, or flag.
    """
    each = SETTINGS[name]
    if each.choices and value not in each.choices:
        raise InputError(f"no {value!r}", where=where, way_out=f"one of {', '.join(each.choices)}")
    if each.kind is int and not _is_within(value, each.low, each.high):
        top = "or more" if each.high is None else f"to {each.high}"
        raise InputError(f"{value}", where=where, way_out=f"give {each.low} {top}")
    if each.kind is float:
        low, high = value
        if not 0 <= low < high < math.inf:
            raise InputError(
                f"{low:g} to {high:g}", where=where, way_out="give 0 or more, then a larger number"
            )


def _is_within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _one(each: Setting, value: Any, where: str) -> Any:
    # By type(), as True is an int to isinstance.
    kinds = {float: (int, float), Path: (str,)}.get(each.kind, (each.kind,))
    if type(value) not in kinds or value == "":
        raise _wrong(reprlib.repr(value), _WORDS[each.kind], where)
    if type(value) in (int, float) and abs(value) >= _TOO_LARGE:
        raise _wrong("too large", _WORDS[each.kind], where)
    return each.kind(value)


def _wrong(what: str, wanted: str, where: str) -> InputError:
    return InputError(what, where=where, way_out=f"give {wanted}")
