"""Draw from record sets → a mix: which patches, where they lie, what they are. Copies no pixel.

Holds a few bytes a candidate row in memory; all else passes through by row groups.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import (
    candidates,
    datasheet,
    exclusion,
    index,
    near_report,
    relatives,
    selection,
    stain_statistics,
    terms,
    whole,
    wording,
)
from histo_simclr.prepare.registry import folded
from histo_simclr.prepare.selection import Caps, Fate

# On 3,161 embedded patches: 98.7 % of copies at JPEG quality 50 and 99.6 % of copies at half size
# are within 4 bits, and 20 of 5 million pairs of patches (blank ones and true copies).
NEAR_BITS = 4
# Spread over a cohort, enough for means good to about a tenth of the patches' spread.
STAIN_PATCHES = 256
_FATES = {Fate.AVAILABLE: "not drawn", Fate.NEAR_DUPLICATE: "dropped", Fate.DRAWN: "drawn"}
_FATES |= {Fate.OVER_SLIDE_CAP: "over slide cap"}


class Rules(NamedTuple):
    """What a mix leaves out besides equal pixels.

    Fields:
      mpp: only patches from the first to below the second µm/px; None: any, also unstated.
      max_per_slide, max_per_cohort: upper bounds; None: any number. Patches that name no slide
        are not bounded by the first.
      exclude: CSV of cohorts, patients and slides, see `exclusion.read`.
      allow_unmatched: whether that list may name what no record set holds.
      evaluate_on: cohorts that the encoder will be judged on.
      allow_overlap: draw even from these, and from cohorts that share pixels with them or with a
        cohort that has a held-out split.
      commercial_ok: draw only from cohorts whose terms are known to allow commercial use.
      near: "off", "report" (list near-duplicates) or "drop" (and keep one of each).
      near_bits: bits in which the perceptual hashes of near-duplicates may differ.
    """

    mpp: tuple[float, float] | None = None
    max_per_slide: int | None = None
    max_per_cohort: int | None = None
    exclude: Path | None = None
    allow_unmatched: bool = False
    evaluate_on: tuple[str, ...] = ()
    allow_overlap: bool = False
    commercial_ok: bool = False
    near: str = "off"
    near_bits: int = NEAR_BITS


EQUAL_PIXELS_ONLY = Rules()


def mix(
    record_sets: Sequence[str | Path],
    *,
    out: Path,
    size: int,
    draw: str,
    px: int | None,
    seed: int,
    rules: Rules = EQUAL_PIXELS_ONLY,
    stain_patches: int = 0,
    recipe: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the mix `out` (index.parquet, mix.json and reports) and returns its path.

    Patches whose pixels stand earlier in the cohorts' order, or in a split other than train, are
    left out. The digest names the patches and their order, wherever the record sets lie.

    Args:
      record_sets: folders that prepare wrote; their order is the cohorts' order.
      out: folder to make.
      size: patches to draw.
      draw: even | proportional | tempered:ALPHA, see `draw.quotas`.
      px: side that the patches must have; None: whatever they agree on.
      seed: of the choice within each cohort.
      rules: what else to leave out.
      stain_patches: patches of each cohort to measure for stain_statistics.json; 0: none, and
        no pixel is read.
      recipe: what the settings were read from, to be noted: file, sha256, content.
      choice: of which cohorts the record sets are all, to be noted: `cohort_choice.Choice`.

    Raises:
      InputError: a record set is not there, twice there, of another px, or must not be drawn
        from; fewer patches than `size`; the mix exists or cannot be written. Nothing is left
        behind then.
    """
    out = Path(os.path.abspath(out))
    whole.refuse_existing(out, "the mix")
    exponent = _exponent(draw)
    paths = [records.resolve_record_set(path) for path in record_sets]
    keys = ("px", "cohort", "counts", "license", "commercial_use", "citation", "url")
    infos = [records.read_json(path / "record_set.json", *keys) for path in paths]
    _check_sets(paths, infos, px)
    known = relatives.known()
    infos = relatives.spelled_alike(infos, known)
    infos = [each | terms.settle(each, known.cohorts.get(folded(each["cohort"]))) for each in infos]
    paths, infos, left_out = _allowed(paths, infos, rules.commercial_ok)
    info = {"format": 1, "name": out.name, "px": infos[0]["px"], "size": size}
    info |= {"draw": draw, "seed": seed, "rules": _as_json(rules), "left_out": left_out}
    info |= {"recipe": recipe, "choice": choice}
    info |= _overlaps(infos, rules, known)
    exclusions = (
        exclusion.read(rules.exclude, known.identity) if rules.exclude else exclusion.Exclusions()
    )
    perceptual = rules.near != "off"
    found = candidates.read(paths, infos, exclusions, perceptual=perceptual, mpp=rules.mpp)
    if not rules.allow_unmatched:
        exclusions.refuse_unmet()
    info |= {"exclude_sha256": exclusions.sha256, "unmatched_exclusions": exclusions.unmet()}
    selected = selection.choose(
        found,
        size,
        exponent,
        seed,
        caps=Caps(rules.max_per_slide, rules.max_per_cohort),
        near_bits=0 if rules.near == "off" else rules.near_bits,
        drop_near=rules.near == "drop",
        asked=f" {wording.between(rules.mpp)} µm/px" if rules.mpp else "",
    )
    with whole.new_folder(out, beside=out.parent) as folder:
        info |= index.write(folder / "index.parquet", out, found, selected.rows)
        info |= _summary(info["record_sets"], selected)
        if selected.near is not None:
            fates = np.array([_FATES.get(each, "") for each in Fate], object)[selected.fate]
            info["near_duplicates"] = near_report.write(
                folder / "near_duplicates.csv", selected.near, found, fates
            )
            info["near_duplicates_are_all"] = selected.near.is_whole
        if stain_patches:
            stains = stain_statistics.measure(found, selected.rows, stain_patches, seed)
            records.write_json(folder / "stain_statistics.json", stains)
        records.write_json(folder / "mix.json", info)
        names = choice["offered"] if choice else [path.parent.name for path in paths]
        datasheet.of_mix(folder, wording.mix_command(names, info, stain_patches))
    return out


def _exponent(draw: str) -> float:
    kind, _, value = draw.partition(":")
    try:
        exponent = {"even": 0.0, "proportional": 1.0}[draw] if not value else float(value)
    except (KeyError, ValueError):
        exponent = -1.0
    if (value and kind != "tempered") or not 0 <= exponent <= 1:
        raise InputError(
            f"no draw {draw!r}",
            where="--draw",
            way_out="use even, proportional or tempered:ALPHA with ALPHA from 0 to 1",
        )
    return exponent


def _check_sets(paths: list[Path], infos: list[dict[str, Any]], px: int | None) -> None:
    real = [path.resolve() for path in paths]
    wanted = infos[0]["px"] if px is None else px
    for number, (path, info) in enumerate(zip(paths, infos, strict=True)):
        if real[number] in real[:number]:
            raise InputError("named twice", where=path, way_out="name it once")
        if info["px"] != wanted:
            source = "--px" if px is not None else str(paths[0])
            raise InputError(
                f"patches of {info['px']} px, but {wanted} px in {source}",
                where=path,
                way_out=f"prepare it again with --px {wanted}, or leave it out",
            )


def _allowed(
    paths: list[Path], infos: list[dict[str, Any]], commercial_ok: bool
) -> tuple[list[Path], list[dict[str, Any]], list[dict[str, str]]]:
    """The record sets whose terms allow what is asked, and what is to be said of the others."""
    if not commercial_ok:
        return paths, infos, []
    is_allowed = [info["commercial_use"] == "yes" for info in infos]
    facts = ("cohort", "license", "commercial_use")
    left_out = [
        {name: info[name] for name in facts}
        for info, allowed in zip(infos, is_allowed, strict=True)
        if not allowed
    ]
    if not any(is_allowed):
        raise InputError(
            "no record set is known to allow commercial use",
            where="--commercial-ok",
            way_out="add such sets, or say so when preparing: --commercial-use yes",
        )
    return (
        list(itertools.compress(paths, is_allowed)),
        list(itertools.compress(infos, is_allowed)),
        left_out,
    )


def _overlaps(
    infos: list[dict[str, Any]], rules: Rules, known: relatives.Known
) -> dict[str, list[Any]]:
    """Refuses evaluation cohorts and their relatives, or says which of them are in the mix."""
    drawn = list(dict.fromkeys(info["cohort"] for info in infos))
    with_held_out = [info["cohort"] for info in infos if set(info["counts"]) - {candidates.SPLIT}]
    relatives.check_names(rules.evaluate_on, drawn, known)
    conflicts = relatives.conflicts(drawn, rules.evaluate_on, with_held_out, known)
    if not rules.allow_overlap:
        relatives.refuse(conflicts)
    return {
        "evaluation_overlaps": conflicts,
        "related_cohorts": relatives.related(drawn, known),
        "unregistered_cohorts": relatives.unregistered(drawn, known),
    }


def _summary(sets: list[dict[str, Any]], selected: selection.Selection) -> dict[str, Any]:
    cohorts = {
        name: counts | index.describe([each for each in sets if each["cohort"] == name])
        for name, counts in selected.cohorts.items()
    }
    info = {"cohorts": cohorts}
    info |= terms.roll_up([each for each in sets if cohorts[each["cohort"]]["rows"]])
    info["duplicates_dropped"] = sum(each["duplicates"] for each in cohorts.values())
    return info


def _as_json(rules: Rules) -> dict[str, Any]:
    """The rules without a path of this machine."""
    exclude = rules.exclude and rules.exclude.name
    return rules._asdict() | {"exclude": exclude, "evaluate_on": list(rules.evaluate_on)}
