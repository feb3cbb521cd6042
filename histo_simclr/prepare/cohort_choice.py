"""Which cohorts a mix is made of: named, by selectors, so many of them; and who holds them."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from histo_simclr import records, tables
from histo_simclr.errors import InputError
from histo_simclr.prepare import registry
from histo_simclr.prepare.record_set import slug
from histo_simclr.prepare.registry import folded
from histo_simclr.prepare.registry_row import Cohort

_COLUMNS = ("list", "organ", "stain")


class Choice(NamedTuple):
    """What was asked for and what became of it; mix.json keeps it.

    Fields:
      cohorts, without, cohort_count: as given; no cohorts: all that there are.
      named: the cohorts that these mean, in the order of the mix.
      missing: those of `named` that no record set holds.
      not_named: cohorts of record sets that are not among `named`.
      offered: folders of all record sets there were to choose from, by name.
    """

    cohorts: list[str]
    without: list[str]
    cohort_count: int | None
    named: list[str]
    missing: list[str]
    not_named: list[str]
    offered: list[str]


def choose(
    paths: Sequence[Path],
    cohorts: Sequence[str] | None,
    without: Sequence[str],
    count: int | None,
    *,
    seed: int,
    skip_missing: bool,
    registered: Mapping[str, Cohort],
    where: Mapping[str, str],
) -> tuple[list[Path], Choice]:
    """The record sets of the cohorts that are asked for, in the order in which these are named.

    The order does not depend on where record sets lie: it decides who keeps an equal patch.

    Args:
      paths: version folders of record sets.
      cohorts: names, of the registry or not, or selectors, see `named`; None: all of `paths`.
      without: cohorts to leave out of these.
      count: how many of these, see `some`; None: all.
      seed: of that.
      skip_missing: whether cohorts that no record set holds are passed over.
      registered: cohorts of the registry, see `registry.by_spelling`.
      where: what the settings cohorts, without and cohort_count were given in.

    Raises:
      InputError: a cohort is missing, with how to obtain each; a selector or a name fits nothing;
        fewer cohorts than `count`; a record set cannot be read.
    """
    held = [
        (path, records.read_json(path / "record_set.json", "cohort")["cohort"]) for path in paths
    ]

    def identity(name: str) -> str:
        return registry.identity(name, registered)

    if cohorts is None:
        wanted = list({identity(name): name for _, name in held}.values())
    else:
        wanted = named(cohorts, registered, where["cohorts"])
    wanted = _less(wanted, without, registered, where["without"])
    if count is not None:
        wanted = some(wanted, count, seed, where["cohort_count"])
    known = {identity(cohort) for _, cohort in held}
    missing = [name for name in wanted if identity(name) not in known]
    if missing and (not skip_missing or len(missing) == len(wanted)):
        raise _absent(missing, len(wanted), registered, [name for _, name in held], where)
    order = {identity(name): number for number, name in enumerate(wanted)}
    chosen = [(order[identity(name)], path) for path, name in held if identity(name) in order]
    not_named = dict.fromkeys(name for _, name in held if identity(name) not in order)
    offered = [path.parent.name for path in paths]
    choice = Choice([*(cohorts or [])], [*without], count, wanted, missing, [*not_named], offered)
    return [path for _, path in sorted(chosen, key=lambda pair: pair[0])], choice


def named(given: Sequence[str], registered: Mapping[str, Cohort], where: str) -> list[str]:
    """Names and selectors → names, each once, in their order; a selector's in the registry's.

    Args:
      given: a name, spelled in any way; or list:, organ: or stain: with a value of the registry's
        column, of which a comma joins several that have to hold together.
      registered: cohorts of the registry, see `registry.by_spelling`.
      where: for errors.

    Raises:
      InputError: a selector fits no cohort.
    """
    names: dict[str, str] = {}
    for each in given:
        if ":" in each:
            found = _selected(each, registered, where)
        else:
            found = [registered[folded(each)].name if folded(each) in registered else each]
        for name in found:
            names.setdefault(registry.identity(name, registered), name)
    return list(names.values())


def some(names: Sequence[str], count: int, seed: int, where: str) -> list[str]:
    """`count` of the names, in their order; of one seed, the fewer are always among the more.

    Each name has its rank from a hash, so that another name among them displaces at most one.

    Raises:
      InputError: there are fewer.
    """
    if count > len(names):
        raise InputError(
            f"{count} of {len(names)} cohorts wanted",
            where=where,
            way_out=f"ask for 1 to {len(names)}",
        )

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{slug(name)}".encode()).digest()

    chosen = set(sorted(names, key=rank)[:count])
    return [name for name in names if name in chosen]


def _less(
    names: list[str], without: Sequence[str], registered: Mapping[str, Cohort], where: str
) -> list[str]:
    """The names less those of `without`; each of it has to mean one, or it is misspelt."""
    for each in without:
        dropped = {registry.identity(name, registered) for name in named([each], registered, where)}
        left = [name for name in names if registry.identity(name, registered) not in dropped]
        if len(left) == len(names):
            raise InputError(
                f"{each} is not among the cohorts",
                where=where,
                way_out=_nearest(each, names) or "leave it out",
            )
        names = left
    if not names:
        raise InputError("no cohort left", where=where, way_out="leave out fewer")
    return names


def _selected(selector: str, registered: Mapping[str, Cohort], where: str) -> list[str]:
    found = list(registered.values())
    for term in selector.split(","):
        column, _, value = (part.strip().lower() for part in term.partition(":"))
        if column not in _COLUMNS or not value:
            raise InputError(
                f"no selector {term!r}",
                where=where,
                way_out="give list:, organ: or stain: and a value, or a cohort's name",
            )
        known = sorted({each for cohort in registered.values() for each in _values(cohort, column)})
        if value not in map(str.lower, known):
            raise InputError(
                f"no cohort of the registry has {column} {value!r}",
                where=where,
                way_out=_nearest(value, known) or f"there is {', '.join(known) or 'none'}",
            )
        found = [each for each in found if value in map(str.lower, _values(each, column))]
    if not found:
        raise InputError(
            f"no cohort of the registry is {selector}", where=where, way_out="select more widely"
        )
    return [each.name for each in found]


def _values(cohort: Cohort, column: str) -> tuple[str, ...]:
    value = getattr(cohort, column)
    return (value,) if isinstance(value, str) else value


def _nearest(name: str, names: Sequence[str]) -> str:
    spelled = {folded(each): each for each in names}
    near = difflib.get_close_matches(folded(name), spelled, 1)
    return f"did you mean {spelled[near[0]]}?" if near else ""


def _absent(
    missing: Sequence[str],
    wanted: int,
    registered: Mapping[str, Cohort],
    held: Sequence[str],
    where: Mapping[str, str],
) -> InputError:
    rows = []
    for name in missing:
        cohort = registered.get(folded(name))
        if cohort is None:
            hint = _nearest(name, [*held, *(each.name for each in registered.values())])
            rows.append((name, "not in the registry", hint, ""))
        else:
            source = " ".join(cohort.download) or cohort.form or cohort.url
            rows.append((name, cohort.obtain, source, f"histo-simclr datasets {name}"))
    or_skip = ", or go on without by --skip-missing" if len(missing) < wanted else ""
    return InputError(
        f"{len(missing)} of {wanted} cohorts are in none of the record sets",
        where=where["cohorts"],
        way_out=f"obtain and prepare them{or_skip}:",
        listed=tables.aligned(rows),
    )
