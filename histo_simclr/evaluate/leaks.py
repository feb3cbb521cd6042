"""Was the test set seen before? Patients, slides and pixels of a test split, looked for elsewhere.

By manifests alone: names, exact fingerprints of pixels, and perceptual ones. No pixel is read.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute

from histo_simclr.errors import InputError
from histo_simclr.prepare import near
from histo_simclr.prepare.candidates import hash64
from histo_simclr.prepare.registry import folded
from histo_simclr.records import MOMENT_FIELDS, PERCEPTUAL_FIELD

# Shown of each kind.
EXAMPLES = 5
# Standard deviation of pixels in [0, 1]. Below it, pictures are blank but for a speck and their
# hashes look alike: so were all 3 pairs within 8 bits between the embedded labelled sets' test
# patches and other cases. 1 % of the test patches of PCam and 2.5 % of osteosarcoma lie below.
MIN_CONTRAST = 0.05
_WORDS = {
    "patient": "of patients that occur in",
    "slide": "of slides that occur in",
    "pixels": "with the same pixels as patches of",
    "near": "that look like patches of",
    "cohort": "of cohorts that are, or share pixels with, cohorts of",
}


class Patches(NamedTuple):
    """What is known of n patches.

    Fields:
      key: n names, a column of Arrow.
      cohort, slide, patient: (n,) strings, empty where unknown.
      pixels: (n,) uint64, the first 64 bits of pixels_sha256.
      perceptual: (n,) uint64, image_hash.perceptual; 0 where unknown, and of pictures known to
        have less than MIN_CONTRAST.
    """

    key: pyarrow.ChunkedArray
    cohort: np.ndarray
    slide: np.ndarray
    patient: np.ndarray
    pixels: np.ndarray
    perceptual: np.ndarray


class Leak(NamedTuple):
    """Test patches that should not be where they were found.

    Fields:
      kind: patient, slide, pixels, near (look alike, other pixels) or cohort (the name alone).
      where: what they were found in, e.g. "the training split".
      patches: how many of them; of: how many test patches there are.
      examples: up to EXAMPLES, a phrase each.
    """

    kind: str
    where: str
    patches: int
    of: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        found = f"{self.patches:,} of {self.of:,} test patches {_WORDS[self.kind]} {self.where}"
        return f"{found}: {', '.join(self.examples)}"


class Report(NamedTuple):
    """What was found, and what could not be looked at (sentences)."""

    leaks: tuple[Leak, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Report") -> "Report":  # type: ignore[override]
        return Report(self.leaks + other.leaks, tuple(dict.fromkeys(self.notes + other.notes)))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"leaks": [leak._asdict() for leak in self.leaks], "notes": list(self.notes)}


def patches_of(columns: Mapping[str, Any]) -> Patches:
    """Patches of a manifest, or of one split of it (`records.RecordSet.columns`).

    Args:
      columns: numpy's or Arrow's, (n,) each; moments are needed beside perceptual hashes only, to
        tell contrast.
    """
    names = ("key", "cohort", "slide", "patient", "pixels_sha256")
    table = pyarrow.table({name: columns[name] for name in names})
    perceptual = np.zeros(len(table), np.uint64)
    if PERCEPTUAL_FIELD in columns:
        perceptual = np.where(_has_contrast(columns), columns[PERCEPTUAL_FIELD], perceptual)
    return Patches(
        table["key"],
        *(_strings(table[name]) for name in ("cohort", "slide", "patient")),
        hash64(table["pixels_sha256"]),
        perceptual,
    )


def compare(
    test: Patches,
    other: Patches,
    *,
    where: str,
    distance: int,
    overlaps: Collection[frozenset[str]],
) -> Report:
    """Looks for test patches, and for what they come from, among other patches.

    Slides and patients are the same when their names are and their cohorts are, or are known to
    share pixels; "slide 1" of two strangers is not. Pixels are compared whatever the names.

    Args:
      test: the split that encoders are judged on.
      other: patches that must have nothing to do with it.
      where: what these are, for sentences.
      distance: bits in which perceptual hashes of pictures that look alike may differ, 1 to
        `near.MAX_DISTANCE`. Pictures without contrast, which all look alike, are left out.
      overlaps: pairs of folded names of cohorts that share pixels, `relatives.Known.overlaps`.
    """
    leaks = [_by_name(kind, test, other, where, overlaps) for kind in ("patient", "slide")]
    is_equal = np.isin(test.pixels, other.pixels)
    leaks.append(_by_pixels(test, other, is_equal, where))
    leaks.append(_by_likeness(test, other, is_equal, where, distance))
    return Report(tuple(leak for leak in leaks if leak.patches), tuple(_blind(test, other, where)))


def by_cohort(
    test: Patches, cohorts: Iterable[str], *, where: str, overlaps: Collection[frozenset[str]]
) -> Report:
    """The same where nothing but the names of cohorts is known: any patch may have been seen.

    Args:
      test, where, overlaps: see `compare`.
      cohorts: names.
    """
    cohorts = list(cohorts)
    pairs = [
        (name, met)
        for name in np.unique(test.cohort).tolist()
        if (met := _relatives(name, cohorts, overlaps))
    ]
    count = int(np.isin(test.cohort, [name for name, _ in pairs]).sum())
    examples = tuple(
        name if set(map(folded, met)) == {folded(name)} else f"{name} ({', '.join(met)})"
        for name, met in pairs
    )
    leak = Leak("cohort", where, count, len(test.pixels), examples[:EXAMPLES])
    note = f"slides and pixels could not be compared with {where}: only its cohorts are known"
    return Report((leak,) if count else (), (note,))


def refuse(report: Report, *, where: object, way_out: str) -> None:
    """InputError that lists the leaks, if there are any.

    Args:
      report: of `compare`, `by_cohort`, or their sum.
      where: the task.
      way_out: how to let them pass.
    """
    if report.leaks:
        raise InputError(
            f"the test split was seen before ({len(report.leaks)} kind(s) of leak)",
            where=where,
            way_out=f"leave these patches out, or {way_out}",
            listed=[str(leak) for leak in report.leaks],
        )


def _by_name(
    kind: str, test: Patches, other: Patches, where: str, overlaps: Collection[frozenset[str]]
) -> Leak:
    names, others = getattr(test, kind), getattr(other, kind)
    cohorts = np.unique(other.cohort).tolist()
    shared = np.zeros(len(names), bool)
    for cohort in np.unique(test.cohort).tolist():
        met = _relatives(cohort, cohorts, overlaps)
        known = np.setdiff1d(others[np.isin(other.cohort, met)], [""])
        shared |= (test.cohort == cohort) & np.isin(names, known)
    examples = np.unique(names[shared])[:EXAMPLES]
    return Leak(kind, where, int(shared.sum()), len(names), tuple(examples.tolist()))


def _by_pixels(test: Patches, other: Patches, is_equal: np.ndarray, where: str) -> Leak:
    shown = np.flatnonzero(is_equal)[:EXAMPLES]
    examples = tuple(
        _pair(test, row, other, int(np.argmax(other.pixels == test.pixels[row]))) for row in shown
    )
    return Leak("pixels", where, int(is_equal.sum()), len(is_equal), examples)


def _by_likeness(
    test: Patches, other: Patches, is_equal: np.ndarray, where: str, distance: int
) -> Leak:
    rows = np.flatnonzero(~is_equal & (test.perceptual != 0))
    hashes, first = np.unique(other.perceptual, return_index=True)
    first, hashes = first[hashes != 0], hashes[hashes != 0]
    pairs, bits = near.across(test.perceptual[rows], hashes, distance)
    nearest = np.lexsort((bits, pairs[:, 0]))
    _, start = np.unique(pairs[nearest, 0], return_index=True)
    best = nearest[start]
    examples = tuple(
        f"{_pair(test, rows[pairs[each, 0]], other, first[pairs[each, 1]])} ({bits[each]} bits)"
        for each in best[np.argsort(bits[best], kind="stable")][:EXAMPLES]
    )
    return Leak("near", where, len(best), len(is_equal), examples)


def _blind(test: Patches, other: Patches, where: str) -> list[str]:
    said = []
    for side, name in ((test, "the test split"), (other, where)):
        if not (np.any(side.slide != "") or np.any(side.patient != "")):
            said.append(f"slides and patients of {name} are unknown: only pixels were compared")
        if len(side.perceptual) and not side.perceptual.any():
            said.append(f"{name} has no perceptual hashes: only equal pixels were looked for")
    return said


def _relatives(
    cohort: str, cohorts: Iterable[str], overlaps: Collection[frozenset[str]]
) -> list[str]:
    name = folded(cohort)
    return [
        each
        for each in cohorts
        if folded(each) == name or frozenset((name, folded(each))) in overlaps
    ]


def _pair(test: Patches, row: int, other: Patches, place: int) -> str:
    return f"{test.key[int(row)]} = {other.key[int(place)]}"


def _has_contrast(columns: Mapping[str, Any]) -> np.ndarray:
    """Booleans; of patches whose moments are unknown, True."""
    if not set(MOMENT_FIELDS) <= columns.keys():
        return np.ones(len(columns["key"]), bool)
    mean, square = (
        np.stack([columns[f"{name}_{channel}"] for channel in "rgb"]) for name in ("mean", "square")
    )
    return np.mean(square - mean**2, axis=0) >= MIN_CONTRAST**2


def _strings(column: pyarrow.ChunkedArray) -> np.ndarray:
    """(n,) strings; equal ones share their memory."""
    column = column.cast(pyarrow.string()).fill_null("").combine_chunks()
    encoded = column.dictionary_encode()
    names = np.array([*encoded.dictionary.to_pylist(), ""], object)
    return names[encoded.indices.to_numpy()]
