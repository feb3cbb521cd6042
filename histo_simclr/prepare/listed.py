"""Sources that list their images with what is known of each: CSV files and TFDS sets."""

import csv
import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from histo_simclr.errors import InputError
from histo_simclr.prepare.item import (
    NUMBER_FIELDS,
    SYNONYMS,
    TARGET_FIELD,
    TEXT_FIELDS,
    Item,
    Walk,
)


def walk_csv(path: Path, roots: list[Path], defaults: Item) -> Walk:
    """Items of a CSV with a column `path` and any columns named as the fields of `Item`.

    `group` means `patient`; other columns are passed over. Where a cell is empty, the default
    holds. A column `mask` names the images' masks, relative to the same folder; a column `target`
    holds a number for each.

    Args:
      path: UTF-8, comma separated, with a header line.
      roots: folders that the paths may be relative to; the first that holds the first file is
        taken for all. Names are relative to it.
      defaults: what holds for every image that says nothing else.

    Raises:
      InputError: not a readable CSV, no column `path`, no row. While walking: a number that is
        none, a target that is empty, an empty path, or one that leads out of the folder.
    """
    first = next(_rows(path), None)
    if first is None:
        raise InputError("no rows", where=path, way_out="list one image a line below the header")
    root = next((each for each in roots if (each / (first[1]["path"] or "")).is_file()), roots[0])

    def walk() -> Iterator[Item]:
        for line, row in _rows(path):
            name = _name(row["path"] or "", root, f"{path}:{line}")
            known = _fields(row, f"{path}:{line}")
            if mask := (row.get("mask") or "").strip():
                known["mask"] = str(root / mask)
            yield defaults._replace(name=name, data=str(root / name), **known)

    return walk


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names = [(name or "").strip().lower() for name in reader.fieldnames or []]
            if "path" not in names:
                near = difflib.get_close_matches("path", names, 1)
                raise InputError(
                    f"no column `path` among: {', '.join(names) or 'nothing'}",
                    where=path,
                    way_out=f"rename {near[0]}" if near else "name the column of file names so",
                )
            reader.fieldnames = names
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"not a readable CSV ({error})", where=path, way_out="save it as UTF-8 CSV"
        ) from error


def _name(path: str, root: Path, where: str) -> str:
    if not path:
        raise InputError("empty path", where=where, way_out="fill it or delete the line")
    relative = os.path.relpath(root / path, root)
    if relative.split(os.sep)[0] == "..":
        raise InputError(
            f"{path} lies outside {root}",
            where=where,
            way_out="give a SOURCE folder that holds all the images, and the CSV by --labels",
        )
    return Path(relative).as_posix()


def _fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for column, value in row.items():
        field = SYNONYMS.get(column, column)
        value = value.strip() if isinstance(value, str) else value
        if field == TARGET_FIELD:
            known[field] = _target(value, where)
        elif value in (None, ""):
            continue
        elif field in TEXT_FIELDS:
            known[field] = str(value)
        elif field in NUMBER_FIELDS:
            known[field] = _number(value, field, where)
    return known


def _number(value: Any, field: str, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise InputError(
            f"{field} is {value!r}", where=where, way_out="write a number, or nothing if unknown"
        )
    return number


def _target(value: Any, where: str) -> float:
    try:
        number = float(value or math.nan)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            f"target is {value or ''!r}",
            where=where,
            way_out="write a number, or leave the image out",
        )
    return number


def walk_tfds(source: str, defaults: Item, pattern: re.Pattern[str] | None = None) -> Walk:
    """Items of a TFDS set: every split, image bytes as stored, in the order of the shards.

    Text and number features named as in `Item` come along; a ClassLabel `label` gives its name.

    Args:
      source: `tfds:NAME[/CONFIG][:VERSION]`, downloaded by TFDS when it must be, or a folder
        that holds dataset_info.json.
      defaults: what holds for every image that says nothing else.
      pattern: of the texts in the feature `filename`; its fields go before the features; None:
        file names say nothing.

    Raises:
      InputError: no such set, it cannot be fetched, or it has no feature `image`, or no `filename`
        for the pattern.
    """
    builder = _builder(source)
    features = builder.info.features
    if "image" not in features:
        raise InputError(
            f"no feature `image` among: {', '.join(features)}",
            where=source,
            way_out="choose a set of single images",
        )
    if pattern is not None and "filename" not in features:
        raise InputError(
            "--pattern reads the feature `filename`, which this set lacks",
            where=source,
            way_out="leave --pattern out",
        )

    def walk() -> Iterator[Item]:
        for split in builder.info.splits:
            for number, example in enumerate(_examples(builder, split)):
                known = _texts(example, features)
                item = defaults._replace(name=f"{split}/{number:07d}", data=example["image"])
                item = item._replace(split=split, **known)
                yield item if pattern is None else matched(item, _filename(example), pattern)

    return walk


def matched(item: Item, name: str, pattern: re.Pattern[str]) -> Item:
    """The item with what the pattern finds in a file name; left out when it does not match."""
    match = pattern.fullmatch(name)
    if match is None:
        return item._replace(reason="path does not match the pattern")
    return item._replace(**match.groupdict())


def _filename(example: Mapping[str, Any]) -> str:
    return example["filename"].decode()


def _builder(source: str) -> Any:
    import tensorflow_datasets as tfds

    try:
        if not source.startswith("tfds:"):
            return tfds.builder_from_directory(source)
        builder = tfds.builder(source.removeprefix("tfds:"))
        builder.download_and_prepare()
    except Exception as error:  # network, checksum, disk, manual download: TFDS raises its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"TFDS cannot provide it ({lines[0]})",
            where=source,
            way_out="check the name (https://www.tensorflow.org/datasets) and the network, or "
            "give the folder of a prepared set",
        ) from error
    return builder


def _examples(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    import tensorflow_datasets as tfds

    # One shard after the other: the numbers in the items' names must not depend on the machine.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=config,
    )
    yield from dataset.as_numpy_iterator()


def _texts(example: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in (*TEXT_FIELDS, *NUMBER_FIELDS, *SYNONYMS, TARGET_FIELD):
        if name not in example or getattr(example[name], "ndim", 0):
            continue
        value = example[name]
        if name == TARGET_FIELD and isinstance(value, bytes):  # a text, which is no number to learn
            continue
        if hasattr(features[name], "int2str"):
            value = features[name].int2str(int(value)) if value >= 0 else ""
        row[name] = value.decode() if isinstance(value, bytes) else str(value)
    return _fields(row, "TFDS set")
