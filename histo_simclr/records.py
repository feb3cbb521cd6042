"""Schema of one patch, and where the records of a record set or a mix lie on disk.

A *record set* is a TFDS folder (`<out>/<cohort>/<version>/`: features.json, dataset_info.json,
TFRecord shards) with `manifest.parquet` beside it, one row a record. A *mix* is a folder with
`index.parquet` (the chosen rows) and `mix.json` (provenance); it holds no pixels.
Both open as `Rows`: byte ranges with their checksums. Knows nothing of TensorFlow or JAX.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np

from histo_simclr import typed
from histo_simclr.errors import InputError

# What a record says about its patch besides `image` (encoded JPEG or PNG bytes) and the optional
# `label`, `mask` (PNG of class numbers; 255: of no class) and `target` (number to predict): name ->
# (type, meaning). The manifest has the same columns.
PROVENANCE_FIELDS: dict[str, tuple[type, str]] = {
    "key": (str, "stable unique name: cohort/source path, with _x_y where the source was cut"),
    "cohort": (str, "dataset"),
    "slide": (str, "slide, or what comes nearest to it; empty when unknown"),
    "patient": (str, "patient or case; empty when unknown"),
    "x": (int, "left edge in pixels of the source; -1 when the source was a patch"),
    "y": (int, "top edge in pixels of the source; -1 when the source was a patch"),
    "mpp": (float, "µm/px of the stored pixels; 0 when unknown"),
    "magnification": (float, "objective power; 0 when unknown"),
    "stain": (str, "stain; empty when unknown"),
    "organ": (str, "organ; empty when unknown"),
}
# Manifest only: where the record lies, what it was made from, and what its pixels are.
LOCATION_FIELDS = ("split", "shard", "offset", "length", "crc")
SOURCE_FIELDS = ("source", "source_sha256", "pixels_sha256")
# Number to predict, in sets that have one; finite.
TARGET_FIELD = "target"
# 64 bits, few of which differ between pictures that look alike (image_hash.perceptual).
PERCEPTUAL_FIELD = "perceptual_hash"
# Per channel, of pixels in [0, 1]: a mix's statistics come from these without decoding anything.
MOMENT_FIELDS = ("mean_r", "mean_g", "mean_b", "square_r", "square_g", "square_b")


# Of the files' contents, what is read here and by all who are given it.
_SET_FORM = {"px": int}
_COHORT_FORM = {"organ": str, "stain": str, "license": str, "commercial_use": str, "mpp": [float]}
_MIX_FORM = {"shards": [str], "px": int, "size": int, "digest": str, "cohorts": {str: _COHORT_FORM}}
_LARGEST_PX = 2**16
_AGAIN = "make the folder again"

# Folders between one that is given and those with manifests: group, cohort, version.
_DEPTH = 3


class Rows(NamedTuple):
    """Byte ranges of n records, the only thing that reading pixels needs.

    Fields:
      shards: paths of the TFRecord files.
      shard: (n,) int32, index into shards.
      offset: (n,) int64, first byte of the serialised tf.train.Example (after the 12-byte header).
      length: (n,) int64, bytes of the Example.
      crc: (n,) uint32, masked CRC32C of the Example, as TFRecord stores it after the data.
      px: side of every patch.
    """

    shards: tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    crc: np.ndarray
    px: int

    def __len__(self) -> int:
        return len(self.shard)

    def take(self, chosen: np.ndarray) -> "Rows":
        """Some of the rows, by their numbers or by a mask, in the order given."""
        located = (self.shard, self.offset, self.length, self.crc)
        return Rows(self.shards, *(values[chosen] for values in located), self.px)


class RecordSet(NamedTuple):
    """One split of a record set: its rows, manifest columns and class names (None: unlabelled).

    mask_class_names: of the numbers in its masks; None: it has none.
    has_targets: whether columns["target"] holds a number to predict, (n,) float64.
    """

    path: Path
    rows: Rows
    columns: dict[str, np.ndarray]
    class_names: list[str] | None
    mask_class_names: list[str] | None = None
    has_targets: bool = False


def resolve_record_set(path: str | Path) -> Path:
    """The version folder of a record set, given itself, its cohort folder, or a parent of one.

    Raises:
      InputError: nothing there, or several cohorts to choose from.
    """
    path = Path(path)
    way_out = "give a folder that `histo-simclr prepare` wrote (it holds manifest.parquet)"
    if not path.is_dir():
        raise InputError("no such record set", where=path, way_out=way_out)
    found = sorted(path.glob("manifest.parquet")) or sorted(path.glob("*/manifest.parquet"))
    found = found or sorted(path.glob("*/*/manifest.parquet"))
    if not found:
        raise InputError("no record set in this folder", where=path, way_out=way_out)
    if len({file.parent.parent for file in found}) > 1:
        names = ", ".join(sorted(file.parent.parent.name for file in found))
        raise InputError(f"several record sets: {names}", where=path, way_out="name one of them")
    return max(found, key=lambda file: _version(file.parent.name)).parent


def find_record_sets(path: str | Path) -> list[Path]:
    """Version folders of all record sets in a folder, or in folders of it; by path.

    Args:
      path: a record set, as `resolve_record_set` takes it, or a folder of record sets, or of
        folders of these. Hidden folders are passed over: an unfinished one is hidden.

    Raises:
      InputError: none there.
    """
    path = Path(path)
    versions: dict[Path, list[Path]] = {}
    # Not by glob: that would look at every shard of every record set.
    for name, folders, files in os.walk(path, followlinks=True):
        folder = Path(name)
        if "manifest.parquet" in files:
            versions.setdefault(folder.parent, []).append(folder)
        is_end = "manifest.parquet" in files or len(folder.relative_to(path).parts) == _DEPTH
        folders[:] = [] if is_end else [each for each in folders if each[0] != "."]
    newest = [max(each, key=lambda folder: _version(folder.name)) for each in versions.values()]
    return sorted(newest) or [resolve_record_set(path)]


def load_record_set(path: str | Path, split: str) -> RecordSet:
    """Opens one split of a record set; reads the manifest only, no pixels.

    Raises:
      InputError: no record set there, torn manifest, or no such split.
    """
    path = resolve_record_set(path)
    info = read_json(path / "record_set.json", "px", "class_names")
    typed.check(info, _SET_FORM, where=path / "record_set.json", way_out=_AGAIN)
    for name in ("class_names", "mask_class_names"):
        if info.get(name) is not None:
            typed.check(info, {name: [str]}, where=path / "record_set.json", way_out=_AGAIN)
    columns = read_parquet(path / "manifest.parquet")
    needed = (*LOCATION_FIELDS, *PROVENANCE_FIELDS, *(["label"] if info["class_names"] else []))
    if missing := [name for name in needed if name not in columns]:
        raise InputError(
            f"lacks {', '.join(missing)}", where=path / "manifest.parquet", way_out=_AGAIN
        )
    splits = sorted(set(columns["split"].astype(str)))
    if split not in splits:
        raise InputError(
            f"no split {split!r}, only {', '.join(splits)}",
            where=path,
            way_out="choose one of them, or prepare it with a column or {split} in --pattern",
        )
    columns = {name: values[columns["split"] == split] for name, values in columns.items()}
    names, shard = np.unique(columns["shard"].astype(str), return_inverse=True)
    shards = tuple(str(path / name) for name in names)
    rows = _rows(shards, columns | {"shard": shard}, info["px"], path / "manifest.parquet")
    return RecordSet(
        path,
        rows,
        columns,
        info["class_names"],
        info.get("mask_class_names"),
        has_targets=TARGET_FIELD in info,
    )


def load_mix(path: str | Path) -> tuple[Rows, dict[str, Any]]:
    """Opens a mix: (rows, content of mix.json). Reads five columns of the index, no pixels.

    Raises:
      InputError: no mix there, a torn index, or a shard that is gone.
    """
    path = Path(path)
    if not (path / "mix.json").is_file():
        raise InputError(
            "no mix in this folder" if path.is_dir() else "no such mix",
            where=path,
            way_out="give a folder that `histo-simclr mix` wrote (it holds mix.json)",
        )
    info = read_json(path / "mix.json")
    typed.check(info, _MIX_FORM, where=path / "mix.json", way_out=_AGAIN)
    columns = read_parquet(path / "index.parquet", ["shard", "offset", "length", "crc"])
    shards = tuple(str((path / name).resolve()) for name in info["shards"])
    missing = [name for name in shards if not Path(name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(shards)} shards are missing",
            where=missing[0],
            way_out=f"move the record sets back to where {path} expects them, or mix again",
        )
    rows = _rows(shards, columns, info["px"], path / "index.parquet")
    if len(rows) != info["size"]:
        raise InputError(
            f"holds {len(rows):,} rows, mix.json says {info['size']:,}",
            where=path / "index.parquet",
            way_out=_AGAIN,
        )
    return rows, info


def _rows(shards: tuple[str, ...], columns: dict[str, np.ndarray], px: int, where: Path) -> Rows:
    """Rows of plausible byte ranges; whether they hold what was meant, checksums tell."""
    top = {"shard": len(shards) - 1, "offset": 2**62, "length": 2**31 - 1, "crc": 2**32 - 1}
    located = {}
    for name, largest in top.items():
        values = columns[name]
        whole = np.issubdtype(values.dtype, np.integer)  # nulls make floats or objects
        if not whole or (len(values) and not 0 <= values.min() <= values.max() <= largest):
            what = f"column {name} holds what is no whole number from 0 to {largest}"
            raise InputError(what, where=where, way_out=_AGAIN)
        located[name] = values
    if not 0 < px <= _LARGEST_PX:
        raise InputError(f"patches of {px} px", where=where.parent, way_out=_AGAIN)
    return Rows(
        shards=shards,
        shard=located["shard"].astype(np.int32),
        offset=located["offset"].astype(np.int64),
        length=located["length"].astype(np.int64),
        crc=located["crc"].astype(np.uint32),
        px=px,
    )


def masked_crc(data: bytes) -> int:
    """CRC32C of data as TFRecord stores it: rotated right by 15 bits, plus a constant.

    Stored beside its data, a checksum must not be the data's own (tensorflow lib/hash/crc32c.h).
    """
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Content of a JSON file; InputError when absent, torn or without one of the keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", where=path, way_out=_AGAIN) from error
    if not isinstance(content, dict):
        raise InputError("is no JSON object", where=path, way_out=_AGAIN)
    if missing := [key for key in keys if key not in content]:
        raise InputError(f"lacks {', '.join(missing)}", where=path, way_out=_AGAIN)
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes what `read_json` reads, in a form that people read too."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_parquet(
    path: Path, names: list[str] | None = None, rows: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Columns of a Parquet file as numpy arrays, of some rows by number; None: all.

    Raises:
      InputError: absent or torn.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=names, page_checksum_verification=True)
        table = table if rows is None else table.take(rows)
        return {name: table[name].to_numpy() for name in table.column_names}
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=path, way_out=_AGAIN) from error


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())
