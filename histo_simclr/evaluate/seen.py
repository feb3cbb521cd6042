"""What a checkpoint was trained on, as far as it can be told: its mix, or the names of cohorts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import leaks
from histo_simclr.prepare import candidates
from histo_simclr.prepare.registry import folded
from histo_simclr.provenance import Provenance

_STARTED = "the weights it started from"


class Seen(NamedTuple):
    """What an encoder saw.

    Fields:
      name: of the mix, for sentences.
      cohorts: names; None when not even these are known.
      patches: of the mix; None when it is not at hand.
      unhashed: how many of these have no perceptual hash at hand.
      before: what the weights saw that it started from, the last first; () when from scratch.
    """

    name: str
    cohorts: tuple[str, ...] | None
    patches: leaks.Patches | None
    unhashed: int
    before: tuple["Seen", ...] = ()


def seen_by(provenance: Provenance, mix: Path | None) -> Seen:
    """What the encoder saw, by its checkpoint and, where it is at hand, the folder of its mix.

    Args:
      provenance: of the checkpoint.
      mix: folder of the mix; None, or one without a mix: only cohorts are known.

    Raises:
      InputError: the folder holds another mix, or cannot be read.
    """
    known, *earlier = (each.mix for each in provenance.lineage())
    before = tuple(
        Seen(f"{_name(each)} of {_STARTED}" if each else _STARTED, _cohorts(each), None, 0)
        for each in earlier
    )
    name, cohorts = _name(known), _cohorts(known)
    if mix is None or not (mix / "mix.json").is_file():
        return Seen(name, cohorts, None, 0, before)
    info = records.read_json(mix / "mix.json", "digest", "cohorts", "record_sets")
    if info["digest"] != known.get("digest"):
        raise InputError(
            "is another mix than the checkpoint was trained on",
            where=mix,
            way_out="name the one that it was trained on, or none: then cohorts are compared",
        )
    sets = [mix / each["path"] for each in info["record_sets"]]
    patches = leaks.patches_of(_index(mix / "index.parquet"))
    perceptual, is_hashed = _perceptual(patches.pixels, sets)
    patches = patches._replace(perceptual=perceptual)
    return Seen(name, tuple(info["cohorts"]), patches, int((~is_hashed).sum()), before)


def check(
    test: leaks.Patches,
    seen: Seen,
    *,
    distance: int,
    overlaps: frozenset[frozenset[str]],
) -> leaks.Report:
    """What of a test split an encoder saw; arguments: `leaks.compare`."""
    if seen.before:
        options = {"distance": distance, "overlaps": overlaps}
        stages = (seen._replace(before=()), *seen.before)
        return sum((check(test, each, **options) for each in stages), leaks.Report())
    where = seen.name
    if seen.patches is not None:
        found = leaks.compare(test, seen.patches, where=where, distance=distance, overlaps=overlaps)
        # Of none hashed, `compare` says so.
        if 0 < seen.unhashed < len(seen.patches.pixels):
            note = f"{seen.unhashed:,} patches of {where} were not compared by likeness: their"
            found += leaks.Report((), (f"{note} record sets are not at hand, or were made before",))
        if not test.slide.astype(bool).any():
            # Other pixels of the same slides cannot be told by any of this: then names must.
            own = {folded(each) for each in np.unique(test.cohort).tolist()}
            others = [each for each in seen.cohorts or () if folded(each) not in own]
            related = leaks.by_cohort(test, others, where=where, overlaps=overlaps)
            found += leaks.Report(related.leaks)
        return found
    if seen.cohorts is None:
        what = f"{_STARTED} were" if _STARTED in where else "the encoder was"
        return leaks.Report((), (f"what {what} trained on is unknown: leaks are possible",))
    return leaks.by_cohort(test, seen.cohorts, where=where, overlaps=overlaps)


def _name(mix: Mapping[str, Any]) -> str:
    return f"the pretraining mix {mix['name']}" if mix.get("name") else "the pretraining mix"


def _cohorts(mix: Mapping[str, Any]) -> tuple[str, ...] | None:
    return tuple(mix["cohorts"]) if "cohorts" in mix else None


def _index(path: Path) -> dict[str, pyarrow.ChunkedArray]:
    names = ["key", "cohort", "slide", "patient", "pixels_sha256"]
    try:
        # As Arrow's columns: as Python strings, those of a mix of millions take gigabytes.
        table = pyarrow.parquet.read_table(path, columns=names)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"cannot be read ({error})", where=path, way_out="make the mix again"
        ) from error
    return dict(zip(table.column_names, table.columns, strict=True))


def _perceptual(pixels: np.ndarray, sets: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Perceptual hashes from the manifests that are there, and whether one was found, by pixels.

    A mix's index does not hold them.
    """
    perceptual, is_hashed = np.zeros(len(pixels), np.uint64), np.zeros(len(pixels), bool)
    columns = ["pixels_sha256", records.PERCEPTUAL_FIELD]
    for path in sets:
        manifest = path / "manifest.parquet"
        if not manifest.is_file():
            continue
        with candidates.open_manifest(manifest) as file:
            if records.PERCEPTUAL_FIELD not in file.schema_arrow.names:
                continue
            for table in candidates.groups(file, columns, manifest):
                _fill(perceptual, is_hashed, pixels, table)
    return perceptual, is_hashed


def _fill(
    perceptual: np.ndarray, is_hashed: np.ndarray, pixels: np.ndarray, table: pyarrow.Table
) -> None:
    keys, start = np.unique(candidates.hash64(table["pixels_sha256"]), return_index=True)
    place = np.minimum(np.searchsorted(keys, pixels), len(keys) - 1)
    is_here = keys[place] == pixels
    values = table[records.PERCEPTUAL_FIELD].to_numpy()[start]
    perceptual[is_here] = values[place[is_here]]
    is_hashed |= is_here
