"""What becomes of each candidate row of a mix: left out, and why, or drawn."""

import enum
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.prepare import draw, near_report
from histo_simclr.prepare.candidates import Candidates
from histo_simclr.prepare.near_report import Near


class Fate(enum.IntEnum):
    """Each row has one; where several reasons hold, the first of this order."""

    AVAILABLE = 0
    EXCLUDED = 1
    OTHER_MPP = 2
    HELD_OUT = 3
    DUPLICATE = 4
    NEAR_DUPLICATE = 5
    OVER_SLIDE_CAP = 6
    DRAWN = 7


# As mix.json counts them for each cohort.
COUNTED = {
    "duplicates": Fate.DUPLICATE,
    "held_out": Fate.HELD_OUT,
    "excluded": Fate.EXCLUDED,
    "other_mpp": Fate.OTHER_MPP,
    "near_duplicates": Fate.NEAR_DUPLICATE,
    "over_slide_cap": Fate.OVER_SLIDE_CAP,
}


class Caps(NamedTuple):
    """At most so many rows of each slide and of each cohort; None: any number."""

    slide: int | None
    cohort: int | None


class Selection(NamedTuple):
    """The outcome of `choose`.

    Fields:
      rows: manifest rows drawn of each record set, ascending.
      cohorts: by cohort: rows drawn, rows available, and rows left out by reason.
      fate: (n,) uint8 of Fate, of all candidates, one record set after the other.
      near: near-duplicates; None when not looked for.
    """

    rows: list[np.ndarray]
    cohorts: dict[str, dict[str, Any]]
    fate: np.ndarray
    near: Near | None


def choose(
    candidates: list[Candidates],
    size: int,
    exponent: float,
    seed: int,
    *,
    caps: Caps,
    near_bits: int,
    drop_near: bool,
    asked: str = "",
) -> Selection:
    """Draws among the different patches of all record sets.

    Patches whose pixels are those of an excluded or held-out one are left out like it. Of equal
    patches, and of near ones when these are dropped, the first in the cohorts' order stays.

    Args:
      candidates: in the order of the cohorts.
      size, exponent, seed: see `draw`.
      caps: upper bounds.
      near_bits: bits by which near-duplicates may differ; 0: they are not looked for.
      drop_near: whether they are left out.
      asked: which rows could be candidates at all, for the error.

    Raises:
      InputError: size is not from 1 to the number of patches that can be drawn.
    """
    names = list(dict.fromkeys(each.info["cohort"] for each in candidates))
    lengths = [len(each.row) for each in candidates]
    number_of_set = [names.index(each.info["cohort"]) for each in candidates]
    cohort = np.repeat(np.array(number_of_set), lengths)
    fate = _by_pixels(candidates)
    near = None
    if near_bits:
        near = near_report.find(
            np.concatenate([each.held_out_perceptual for each in candidates]),
            np.concatenate([each.perceptual for each in candidates]),
            fate == Fate.AVAILABLE,
            near_bits,
        )
        if drop_near:
            fate[near.is_later] = Fate.NEAR_DUPLICATE
    if caps.slide is not None:
        slide = np.concatenate([each.slide for each in candidates])
        _cap_slides(fate, cohort, slide, names, caps.slide, seed)
    free = [np.flatnonzero((fate == Fate.AVAILABLE) & (cohort == c)) for c in range(len(names))]
    quota = _quotas(np.array([len(rows) for rows in free]), caps, size, exponent, asked)
    for name, rows, count in zip(names, free, quota.tolist(), strict=True):
        fate[rows[draw.choose(len(rows), count, seed=seed, cohort=name)]] = Fate.DRAWN
    bounds = np.cumsum([0, *lengths])
    rows = [
        each.row[fate[start:end] == Fate.DRAWN]
        for each, start, end in zip(candidates, bounds[:-1], bounds[1:], strict=True)
    ]
    return Selection(rows, _count(names, cohort, fate), fate, near)


def _by_pixels(candidates: list[Candidates]) -> np.ndarray:
    hashes = np.concatenate([each.hashes for each in candidates])
    fate = np.full(len(hashes), Fate.AVAILABLE, np.uint8)
    is_other_mpp = np.concatenate([each.is_other_mpp for each in candidates])
    # Equal pixels of which only the later ones are of the mpp asked for: these stay.
    rows = np.flatnonzero(~is_other_mpp)
    fate[rows[~draw.first_of_each(hashes[rows])]] = Fate.DUPLICATE
    held_out = np.concatenate([each.held_out_hashes for each in candidates])
    fate[np.isin(hashes, held_out)] = Fate.HELD_OUT
    fate[is_other_mpp] = Fate.OTHER_MPP
    is_excluded = np.concatenate([each.is_excluded for each in candidates])
    if is_excluded.any():
        fate[np.isin(hashes, hashes[is_excluded])] = Fate.EXCLUDED
    return fate


def _cap_slides(
    fate: np.ndarray, cohort: np.ndarray, slide: np.ndarray, names: list[str], cap: int, seed: int
) -> None:
    for number, name in enumerate(names):
        rows = np.flatnonzero((fate == Fate.AVAILABLE) & (cohort == number))
        is_within = draw.within_cap(slide[rows], cap, seed=seed, cohort=name)
        fate[rows[~is_within]] = Fate.OVER_SLIDE_CAP


def _quotas(
    available: np.ndarray, caps: Caps, size: int, exponent: float, asked: str
) -> np.ndarray:
    drawable = available if caps.cohort is None else np.minimum(available, caps.cohort)
    if not 0 < size <= drawable.sum():
        capped = "" if caps.cohort is None else f" at {caps.cohort:,} a cohort"
        fewer = f"ask for 1 to {drawable.sum():,}, or " if drawable.any() else ""
        raise InputError(
            f"{size:,} patches wanted, {drawable.sum():,} different ones there{asked}{capped}",
            where="--size",
            way_out=f"{fewer}add record sets{', or widen --mpp' if asked else ''}",
        )
    return draw.quotas(available, size, exponent, caps.cohort)


def _count(names: list[str], cohort: np.ndarray, fate: np.ndarray) -> dict[str, dict[str, Any]]:
    counts = np.zeros((len(names), len(Fate)), np.int64)
    np.add.at(counts, (cohort, fate), 1)
    return {
        name: {
            "rows": int(row[Fate.DRAWN]),
            "available": int(row[Fate.DRAWN] + row[Fate.AVAILABLE]),
            **{word: int(row[reason]) for word, reason in COUNTED.items()},
        }
        for name, row in zip(names, counts, strict=True)
    }
