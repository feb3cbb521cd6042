"""Was this cohort, slide or patient seen? Yes, no, or unknown, and why.

"No" is by names: it needs every name at hand. Where some are not, or where a cohort is known to
share pixels with one that was seen, the answer is "unknown", so that a script that asks for leaks
stops there too.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from histo_simclr.errors import InputError
from histo_simclr.prepare import relatives
from histo_simclr.prepare.registry import folded, resembling
from histo_simclr.prepare.registry_row import UNKNOWN as UNKNOWN_OVERLAP

YES, NO, UNKNOWN = "yes", "no", "unknown"
# A TCGA slide's name begins with its patient's, and goes on with its sample, slide and a UUID.
_TCGA = re.compile(r"TCGA-\w\w-\w{4}(-.+)?", re.IGNORECASE)
_FAMILY = re.compile("TCGA|CPTAC", re.IGNORECASE)  # of cohorts, none of them called so


class Answer(NamedTuple):
    """yes, no or unknown, and sentences that say why."""

    seen: str
    because: tuple[str, ...]


def answer(name: str, stages: Sequence[Mapping[str, Any]]) -> Answer:
    """Looks for a cohort (by any of its names), a slide or a patient in what was seen.

    Args:
      name: as people write it; of slides and patients exactly as the record sets name them, with
        or without the file's ending.
      stages: see `prepare.stages`.

    Raises:
      InputError: a name that is probably a slip for a cohort's, or an index that cannot be read.
    """
    known = relatives.known()
    blind = [f"what {stage['name']} saw is unknown" for stage in stages if stage["cohorts"] is None]
    named = [stage for stage in stages if stage["cohorts"] is not None]
    if met := [each for stage in named for each in _as_cohort(name, stage, known)]:
        return Answer(YES, tuple(met))
    if folded(name) in known.cohorts or _FAMILY.fullmatch(name):
        met = [each for stage in named for each in _overlapping(name, stage, known)]
        blind += [each for stage in named for each in _unknown_overlaps(stage, known)]
        if met or blind:
            return Answer(UNKNOWN, (*met, *blind))
        return Answer(NO, ("no cohort of that name, nor one known to share pixels with it",))
    return _as_slide(name, named, blind, known)


def _as_cohort(name: str, stage: Mapping[str, Any], known: relatives.Known) -> list[str]:
    wanted = known.identity(name)
    return [
        f"{cohort['patches']:,} patches of {cohort['name']} in {stage['name']}"
        for cohort in stage["cohorts"]
        if known.identity(cohort["name"]) == wanted or _is_of(cohort["name"], name)
    ]


def _is_of(name: str, family: str) -> bool:
    """TCGA-BRCA is of TCGA."""
    return re.match(re.escape(family) + r"[-_ ]", name, re.IGNORECASE) is not None


def _unknown_overlaps(stage: Mapping[str, Any], known: relatives.Known) -> list[str]:
    """Cohorts that may hold anybody's patches: not in the registry, or listed as such there."""
    found = []
    for cohort in stage["cohorts"]:
        registered = known.cohorts.get(folded(cohort["name"]))
        if registered is None:
            reason = "is not in the registry, so what it shares is unknown"
        elif UNKNOWN_OVERLAP in registered.overlaps:
            reason = "shares pixels with others that nobody listed"
        else:
            continue
        found.append(f"{cohort['name']} in {stage['name']} {reason}")
    return found


def _overlapping(name: str, stage: Mapping[str, Any], known: relatives.Known) -> list[str]:
    return [
        f"{cohort['name']} in {stage['name']} shares pixels with it: some may have been seen"
        for cohort in stage["cohorts"]
        if known.do_overlap(name, cohort["name"]) or _is_of(name, cohort["name"])
    ]


def _as_slide(
    name: str, stages: Sequence[Mapping[str, Any]], blind: list[str], known: relatives.Known
) -> Answer:
    met, untold = [], list(blind)
    for stage in stages:
        if stage["index"] is None:
            untold.append(f"the slides of {stage['name']} are not at hand; name it by --mix DIR")
            continue
        counts, nameless = _count(name, Path(stage["index"]))
        met += [
            f"{count:,} patches of {kind} {name} in {stage['name']}"
            for kind, count in counts.items()
            if count
        ]
        if nameless:
            untold.append(f"{', '.join(nameless)} in {stage['name']}: not every slide has a name")
    if met:
        return Answer(YES, tuple(met))
    if near := resembling(name, known.cohorts.values()):
        raise InputError(
            f"{name!r} is no cohort, slide or patient here",
            where="--seen",
            way_out=f"did you mean {near}?",
        )
    if untold:
        return Answer(UNKNOWN, tuple(untold))
    return Answer(NO, ("no cohort, slide or patient of that name; the registry knows none either",))


def _count(name: str, path: Path) -> tuple[dict[str, int], list[str]]:
    """Rows of a slide and of a patient of that name, and cohorts with rows that name neither."""
    counts, nameless = {"slide": 0, "patient": 0}, set()
    wanted = pyarrow.array(dict.fromkeys((name.lower(), Path(name).stem.lower())), pyarrow.string())
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["cohort", "slide", "patient"]):
                slide, patient = (
                    pyarrow.compute.utf8_lower(batch[column].cast(pyarrow.string()))
                    for column in ("slide", "patient")
                )
                is_slide = pyarrow.compute.is_in(slide, value_set=wanted)
                is_patient = pyarrow.compute.is_in(patient, value_set=wanted)
                if barcode := _TCGA.fullmatch(name):
                    # Of the patient, or of one of its slides without what follows the barcode.
                    starts = pyarrow.compute.match_substring_regex(
                        slide, f"^{re.escape(name.lower())}[-.]"
                    )
                    if barcode[1]:
                        is_slide = pyarrow.compute.or_(is_slide, starts)
                    else:
                        is_patient = pyarrow.compute.or_(is_patient, starts)
                for kind, mask in (("slide", is_slide), ("patient", is_patient)):
                    counts[kind] += pyarrow.compute.sum(mask).as_py() or 0
                is_bare = pyarrow.compute.equal(slide, "")
                nameless |= set(batch["cohort"].filter(is_bare).to_pylist())
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise InputError(
            f"cannot be read ({error})", where=path, way_out="make the folder again"
        ) from error
    return counts, sorted(map(str, nameless))
