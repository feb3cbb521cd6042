"""Cohorts that must not be drawn from because of what the encoder will be judged on."""

import difflib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.prepare import registry
from histo_simclr.prepare.registry import folded

log = logging.getLogger(__name__)


class Known(NamedTuple):
    """What is known of cohorts at large.

    Fields:
      cohorts: rows of the registry, see `registry.by_spelling`.
      overlaps: pairs of folded names of cohorts that share pixels.
    """

    cohorts: dict[str, registry.Cohort]
    overlaps: frozenset[frozenset[str]]

    def identity(self, name: str) -> str:
        """What all names of one cohort have in common."""
        return registry.identity(name, self.cohorts)

    def do_overlap(self, one: str, other: str) -> bool:
        """Whether two cohorts, by any of their names, share pixels."""
        return frozenset((self.identity(one), self.identity(other))) in self.overlaps


def known() -> Known:
    """The registry's cohorts and overlaps; without the file, none and a warning."""
    if not registry.REGISTRY.is_file():
        log.warning("no %s: overlaps between cohorts are not checked", registry.REGISTRY.name)
        return Known({}, frozenset())
    cohorts = registry.load()
    pairs = ((each.name, other) for each in cohorts for other in each.overlaps)
    return Known(registry.by_spelling(cohorts), overlaps(pairs))


def spelled_alike(infos: Sequence[Mapping[str, Any]], known: Known) -> list[dict[str, Any]]:
    """Each info with `cohort` as the first of the same cohort spells it: further on they are one.

    Args:
      infos: content of record_set.json each.
      known: which names are of one cohort.
    """
    spelling: dict[str, str] = {}
    for each in infos:
        spelling.setdefault(known.identity(each["cohort"]), each["cohort"])
    return [{**each, "cohort": spelling[known.identity(each["cohort"])]} for each in infos]


def overlaps(pairs: Iterable[tuple[str, str]]) -> frozenset[frozenset[str]]:
    """Pairs of names in either order and spelling → pairs of folded names."""
    return frozenset(frozenset(map(folded, pair)) for pair in pairs)


def check_names(names: Sequence[str], cohorts: Collection[str], known: Known) -> None:
    """InputError if a name is neither a cohort here nor in the registry: it would guard nothing."""
    spelled = {folded(each): each for each in cohorts}
    spelled |= {each: cohort.name for each, cohort in known.cohorts.items()}
    for name in names:
        if folded(name) not in spelled:
            near = difflib.get_close_matches(folded(name), spelled, 1)
            hint = f"did you mean {spelled[near[0]]}?" if near else "leave it out"
            raise InputError(
                f"{name} is in neither the record sets nor the registry",
                where="--evaluate-on",
                way_out=hint,
            )


def conflicts(
    drawn: Sequence[str],
    evaluate_on: Sequence[str],
    with_held_out: Collection[str],
    known: Known,
) -> list[str]:
    """Why cohorts must not be drawn from, a sentence each; empty when nothing stands against it.

    Args:
      drawn: cohorts of the mix.
      evaluate_on: cohorts to be kept for evaluation.
      with_held_out: those of `drawn` that have a split other than train. Of these themselves
        train may be drawn; of their relatives nothing, as nobody knows which splits they touch.
      known: which names are of one cohort, and which cohorts share pixels.
    """
    found = []
    judged = dict.fromkeys(with_held_out, "has a held-out split")
    evaluated = {known.identity(each): each for each in evaluate_on}
    judged = {each: why for each, why in judged.items() if known.identity(each) not in evaluated}
    judged = dict.fromkeys(evaluated.values(), "is for evaluation") | judged
    for cohort in drawn:
        if name := evaluated.get(known.identity(cohort)):
            same = folded(name) == folded(cohort)
            found.append(f"{cohort} is for evaluation" + ("" if same else f", as {name}"))
        found += [
            f"{cohort} shares pixels with {other}, which {why}"
            for other, why in judged.items()
            if known.do_overlap(cohort, other)
        ]
    return found


def refuse(found: Sequence[str]) -> None:
    """InputError that lists the conflicts, if there are any."""
    if found:
        raise InputError(
            "; ".join(found),
            where="RECORDS",
            way_out="leave these record sets out, or give --allow-overlap if what the encoder is "
            "judged on may have been seen",
        )


def related(drawn: Sequence[str], known: Known) -> list[list[str]]:
    """Pairs of cohorts of a mix that share pixels, in their order."""
    return [
        [first, second]
        for number, first in enumerate(drawn)
        for second in drawn[number + 1 :]
        if known.do_overlap(first, second)
    ]


def unregistered(drawn: Sequence[str], known: Known) -> list[str]:
    """Cohorts of a mix that the registry does not know: what they share with others is unknown."""
    return [name for name in drawn if folded(name) not in known.cohorts]
