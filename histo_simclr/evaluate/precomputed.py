"""Features that others computed, of record sets: the files, written and read; no network here.

A folder is one encoder. Any framework that has numpy can write one:

  FOLDER/features.json          {"name", "weights", "normalization", "px", "dimensions"}: the first
                                three are text for readers of a report, the others whole numbers;
                                more keys may stand beside them
  FOLDER/RECORD_SET/SPLIT.npz   RECORD_SET is the name of a record set's folder (above its
                                version), SPLIT one of its splits. Two arrays (numpy.savez):
                                `key`      (n,) text, the manifest's column `key`; in any order,
                                           more than are wanted do no harm, each once
                                `features` (n, dimensions) float16, float32 or float64, finite

Rows are found by key alone, so that their order, and who wrote them, cannot matter.
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histo_simclr import records, workdir
from histo_simclr.errors import InputError
from histo_simclr.prepare import storage

ABOUT = "features.json"
_TEXTS = ("name", "weights", "normalization")
_NUMBERS = ("px", "dimensions")
_FORMAT = "README, Features of your own, says how to write it"
# What numpy and zipfile say of a file that is no npz, or not all of one.
_TORN = (OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError)
_TORN += (zipfile.BadZipFile, zlib.error)


def about(folder: str | Path) -> dict[str, Any]:
    """What a folder of features says of its encoder: features.json, checked.

    Raises:
      InputError: no such file, or it is torn, or lacks one of its keys.
    """
    place = Path(folder) / ABOUT
    if not place.is_file():
        missing = "no such folder" if not Path(folder).is_dir() else f"no {ABOUT} in this folder"
        raise InputError(missing, where=folder, way_out=_FORMAT)
    content = records.read_json(place, *_TEXTS, *_NUMBERS)
    _check_about(content, place)
    return content


def read(folder: str | Path, record_set: str, split: str, keys: Sequence[str]) -> np.ndarray:
    """The features of patches, by their keys.

    Args:
      folder: as described above.
      record_set: name of the record set, its folder above the version.
      split: of the record set.
      keys: (n,) of the wanted patches.

    Returns:
      (n, dimensions) float32, in the order of `keys`.

    Raises:
      InputError: no such folder, record set or split, a torn file, keys that are missing or occur
        twice, features that are not finite floats or have other dimensions than features.json says.
    """
    dimensions = about(folder)["dimensions"]
    place = _find(Path(folder), record_set, split)
    known, features = _load(place)
    _check_arrays(known, features, place)
    if features.shape[1] != dimensions:
        raise InputError(
            f"features have {features.shape[1]} dimensions, {ABOUT} says {dimensions}",
            where=place,
            way_out="compute all splits by one encoder, or mend the number",
        )
    rows = {key: row for row, key in enumerate(known.tolist())}
    wanted = np.asarray(keys).astype(str).tolist()
    if missing := [key for key in wanted if key not in rows]:
        raise InputError(
            f"lacks {len(missing):,} of {len(wanted):,} keys (the first is {missing[0]!r})",
            where=place,
            way_out="compute the features of every patch of this split; keys are the manifest's",
        )
    # Chosen first: what is not wanted may be anything, and costs no memory.
    return _finite(known, features, [rows[key] for key in wanted], place)


def write(
    folder: str | Path,
    about: dict[str, Any],
    record_set: str,
    split: str,
    keys: Sequence[str],
    features: np.ndarray,
) -> None:
    """Writes one split, whole or not at all.

    Features of other keys that are there stay: record sets of one name share a file, as those of
    BreakHis at its four magnifications. Of the same keys the new ones count.

    Args:
      folder: made unless it is there.
      about: name, weights, normalization, px and more; `dimensions` are the features'.
      record_set, split: see `read`.
      keys: (n,) text, each once.
      features: (n, D) floats, finite; written as float32.

    Raises:
      InputError: what `read` would refuse, a folder of another encoder, or a full disk.
    """
    place = Path(folder) / _part(record_set, "record set") / f"{_part(split, 'split')}.npz"
    known, features = np.asarray(keys), np.asarray(features)
    _check_arrays(known, features, place)
    content = json.loads(json.dumps({"dimensions": features.shape[1]} | about))
    _check_about(content, Path(folder) / ABOUT)
    if content["dimensions"] != features.shape[1]:
        raise InputError(
            f"features have {features.shape[1]} dimensions, not {content['dimensions']}",
            where=place,
            way_out="compute all splits by one encoder",
        )
    features = _finite(known, features, slice(None), place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _claim(Path(folder) / ABOUT, content)
        known, features = _beside(place, known, features)
        with storage.new_file(str(place)) as file:
            np.savez(file, key=known, features=features)
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})",
            where=error.filename or place,
            way_out="make room, or choose another folder",
        ) from error


def _beside(place: Path, keys: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What shall stand in a file: what is given, and what it holds of other keys."""
    if not place.is_file():
        return keys, features
    before, older = _load(place)
    stay = ~np.isin(before, keys)
    return np.concatenate([before[stay], keys]), np.concatenate([older[stay], features])


def _claim(place: Path, content: dict[str, Any]) -> None:
    """Writes features.json, or compares: one folder never mixes two encoders."""
    if not place.is_file():
        workdir.write_json(place, content)
        return
    stored = records.read_json(place)
    if other := [key for key in stored | content if stored.get(key) != content.get(key)]:
        raise InputError(
            f"holds features of another encoder: {other[0]} was {stored.get(other[0])!r}, "
            f"is {content.get(other[0])!r}",
            where=place,
            way_out="choose another folder, or remove this one",
        )


def _find(folder: Path, record_set: str, split: str) -> Path:
    place = folder / _part(record_set, "record set") / f"{_part(split, 'split')}.npz"
    if place.is_file():
        return place
    if found := sorted(file.stem for file in place.parent.glob("*.npz")):
        raise InputError(
            f"no features of the split {split!r}, only of {', '.join(found)}",
            where=place.parent,
            way_out=f"write {place.name} there",
        )
    found = sorted({file.parent.name for file in folder.glob("*/*.npz")})
    raise InputError(
        f"no features of the record set {record_set!r}, only of {', '.join(found) or 'none'}",
        where=folder,
        way_out=f"write {record_set}/{place.name} there",
    )


def _part(name: str, what: str) -> str:
    """One part of a path: a name must not lead out of the folder."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise InputError(
            f"cannot be named {name!r}", where=what, way_out="give the name of its folder or split"
        )
    return name


def _load(place: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with place.open("rb") as opened:  # numpy leaves open what it finds to be torn
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError("is one array, not an npz file", where=place, way_out=_FORMAT)
            if missing := {"key", "features"} - set(file.files):
                raise InputError(
                    f"lacks the array {min(missing)!r}; it holds {', '.join(file.files) or 'none'}",
                    where=place,
                    way_out=_FORMAT,
                )
            return file["key"], file["features"]
    except _TORN as error:
        if "Object arrays" in str(error):
            raise InputError(
                "holds Python objects, not text and numbers",
                where=place,
                way_out="write keys as np.asarray(keys, dtype=str), features as float32",
            ) from error
        raise InputError(
            f"is torn, or no npz file ({type(error).__name__})",
            where=place,
            way_out="copy or write it again",
        ) from error


def _check_about(content: dict[str, Any], place: Path) -> None:
    for name in (*_TEXTS, *_NUMBERS):
        value = content.get(name)
        is_text = isinstance(value, str) and bool(value)
        is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not (is_text if name in _TEXTS else is_number):
            wanted = "a text" if name in _TEXTS else "a whole number above 0"
            raise InputError(
                f"{name} is {value!r}, not {wanted}",
                where=place,
                way_out="say what weights these are and what input they were given",
            )


def _check_arrays(keys: np.ndarray, features: np.ndarray, place: Path) -> None:
    if keys.dtype.kind != "U":
        raise InputError(
            f"keys are {keys.dtype}, not text",
            where=place,
            way_out="write the manifest's column `key` as np.asarray(keys, dtype=str)",
        )
    if features.dtype.kind != "f":
        raise InputError(
            f"features are {features.dtype}, not floats",
            where=place,
            way_out="write them as float32, not scaled to integers",
        )
    if features.ndim != 2 or not features.size or keys.shape != features.shape[:1]:
        raise InputError(
            f"keys have the shape {keys.shape}, features {features.shape}",
            where=place,
            way_out="give (n,) keys and (n, dimensions) features, one or more of each",
        )
    unique, counts = np.unique(keys, return_counts=True)
    if len(unique) < len(keys):
        raise InputError(
            f"{int((counts > 1).sum()):,} keys occur more than once (the first is "
            f"{str(unique[counts > 1][0])!r})",
            where=place,
            way_out="give each patch one row",
        )


def _finite(keys: np.ndarray, features: np.ndarray, rows: Any, place: Path) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is told
        chosen = features[rows].astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(chosen).all(1))
    if len(bad):
        raise InputError(
            f"{len(bad):,} of {len(chosen):,} rows hold NaN or infinity in float32 (the first is "
            f"of the key {str(keys[rows][bad[0]])!r})",
            where=place,
            way_out="compute them again; a network in float16 overflows",
        )
    return chosen
