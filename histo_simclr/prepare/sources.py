"""Where patches come from: folder trees, stores, CSV files and TFDS sets, as a stream of items.

A source is opened once and can be walked any number of times, always in the same order; nothing
is held in memory but the names in one folder.
"""

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from histo_simclr.errors import InputError
from histo_simclr.prepare import beside, listed, storage
from histo_simclr.prepare.item import SYNONYMS, TEXT_FIELDS, Item, Walk
from histo_simclr.prepare.masks import with_masks

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})


def open_source(
    source: str,
    *,
    defaults: Item,
    pattern: str,
    labels: str,
    masks: str = "",
    only: str = "",
    extensions: Collection[str] = EXTENSIONS,
) -> Walk:
    """A walk over the images of one source.

    Args:
      source: folder, folder of a store (`gs://…`, `s3://…`), .csv file, folder of a TFDS set, or
        `tfds:NAME[/CONFIG][:VERSION]`.
      defaults: what holds for every image that says nothing else (name and data unused).
      pattern: path pattern relative to a folder source, see `compile_pattern`, or of the feature
        `filename` of a TFDS set; empty: none.
      labels: CSV listing the images of a folder source; empty: all images in the folder.
      masks: where the images' masks lie, see `masks.with_masks`; empty: nowhere, or a CSV says.
      only: pattern of the paths in a folder source that are meant, others are not there; empty:
        all.
      extensions: lower-case endings of the files in a folder that are images.

    Raises:
      InputError: nothing there, or pattern, labels, masks and only do not suit the source.
    """
    walk = _open(source, defaults, pattern, labels, only, extensions)
    return with_masks(walk, masks) if masks else walk


def _open(
    source: str,
    defaults: Item,
    pattern: str,
    labels: str,
    only: str,
    extensions: Collection[str],
) -> Walk:
    path = Path(source)
    is_tfds = source.startswith("tfds:") or (path / "dataset_info.json").is_file()
    if (labels and is_tfds) or ((pattern or labels) and path.is_file()):
        raise InputError(
            "--pattern and --labels describe a folder of images, this is none",
            where=source,
            way_out="leave them out",
        )
    if only and (labels or is_tfds or path.is_file()):
        raise InputError(
            "--only chooses among the files of a folder",
            where=labels or source,
            way_out="leave it out",
        )
    if pattern and labels:
        raise InputError(
            "both a pattern and a CSV of labels", where=labels, way_out="give one of them"
        )
    compiled = compile_pattern(pattern) if pattern else None
    if is_tfds:
        return listed.walk_tfds(source, defaults, compiled)
    if path.is_file() and path.suffix.lower() == ".csv":
        return listed.walk_csv(path, [path.parent], defaults)
    is_remote = storage.is_remote(source)
    if is_remote and labels:
        raise InputError(
            f"a CSV of labels for {source}",
            where="--labels",
            way_out="copy the files to a disk, or say what the paths say by --pattern",
        )
    if not (path.is_dir() or is_remote):
        raise InputError(
            "no such folder or CSV file",
            where=source,
            way_out="give a folder of images, a .csv with a column `path`, or tfds:NAME",
        )
    if labels:
        return listed.walk_csv(Path(labels), [path, Path(labels).parent], defaults)
    meant = compile_pattern(only, flag="--only") if only else None
    if is_remote:
        found = [name for name in storage.names(source) if _ends_in(name, extensions)]
        return _walk_folder(source, lambda: iter(found), defaults, compiled, meant)
    return _walk_folder(
        source, lambda: _image_names(source, "", (), extensions), defaults, compiled, meant
    )


def open_sources(
    sources: Sequence[str],
    *,
    defaults: Item,
    pattern: str,
    labels: str,
    masks: str = "",
    only: str = "",
    extensions: Collection[str] = EXTENSIONS,
) -> Walk:
    """One walk over several sources; their folder names then lead the items' names.

    Raises:
      InputError: as `open_source`; two sources of the same name.
    """
    each_by = {"defaults": defaults, "pattern": pattern, "labels": labels, "masks": masks}
    each_by["only"] = only
    if len(sources) == 1:
        return open_source(sources[0], **each_by, extensions=extensions)
    prefixes = [Path(source).resolve().name for source in sources]
    twice = next((name for name in prefixes if prefixes.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"two sources are named {twice!r}",
            where=" ".join(sources),
            way_out="give the folder above them, or prepare them as two record sets",
        )
    walks = [open_source(source, **each_by, extensions=extensions) for source in sources]

    def walk() -> Iterator[Item]:
        for prefix, each in zip(prefixes, walks, strict=True):
            for item in each():
                yield item._replace(name=f"{prefix}/{item.name}")

    return walk


def compile_pattern(pattern: str, *, flag: str = "--pattern") -> re.Pattern[str]:
    """The regular expression of a path pattern such as `{label}/{slide}_{}.jpg`.

    `{name}` takes one or more characters other than `/` (as many as possible, from the left) and
    gives the field name, `{}` and `*` take any number of them unnamed, `**` takes folders too.
    `{name:a|b}` takes one of these texts only, `{:a|b}` the same unnamed.

    Raises:
      InputError: unknown field (the nearest one suggested) or one used twice.
    """
    known = (*TEXT_FIELDS, *SYNONYMS)
    parts, seen = [], set()
    for token in re.split(r"(\{[^{}]*\}|\*\*/?|\*)", pattern):
        if token.startswith("**"):
            parts.append("(?:.*/)?" if token.endswith("/") else ".*")
        elif token in ("*", "{}"):
            parts.append("[^/]*")
        elif token.startswith("{") and token.endswith("}"):
            name, _, choice = token[1:-1].partition(":")
            texts = "|".join(re.escape(each) for each in choice.split("|")) if choice else "[^/]+"
            if choice and not name:
                parts.append(f"(?:{texts})")
                continue
            if name not in known:
                near = difflib.get_close_matches(name, known, 1) or [", ".join(known)]
                raise InputError(
                    f"no field {name!r}", where=f"{flag} {pattern}", way_out=f"use {near[0]}"
                )
            name = SYNONYMS.get(name, name)
            if name in seen:
                raise InputError(
                    f"{name} twice", where=f"{flag} {pattern}", way_out="write {} once"
                )
            seen.add(name)
            parts.append(f"(?P<{name}>{texts})")
        else:
            parts.append(re.escape(token))
    return re.compile("".join(parts))


def _ends_in(name: str, extensions: Collection[str]) -> bool:
    return os.path.splitext(name)[1].lower() in extensions


def _walk_folder(
    root: str,
    names: Callable[[], Iterator[str]],
    defaults: Item,
    pattern: re.Pattern[str] | None,
    meant: re.Pattern[str] | None,
) -> Walk:
    def walk() -> Iterator[Item]:
        for name in names():
            if meant is not None and not meant.fullmatch(name):
                continue
            item = defaults._replace(name=name, data=storage.join(root, name))
            if beside.is_beside(name):
                item = item._replace(reason=beside.REASON)
            elif pattern is not None:
                item = listed.matched(item, name, pattern)
            yield item

    return walk


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _image_names(
    root: str, below: str, above: tuple[Any, ...], extensions: Collection[str]
) -> Iterator[str]:
    # Sorted per folder: the order is the same on every file system. Hidden files are left out:
    # macOS puts "._name.jpg", which is no image, beside each file it copies.
    folder = os.path.join(root, below)
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, _is_folder(entry)) for entry in entries if entry.name[0] != "."
            )
    except OSError as error:
        raise InputError(
            f"cannot be listed ({error.strerror})", where=folder, way_out="check its permissions"
        ) from error
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder further up
        return
    for name, is_folder in found:
        if is_folder:
            yield from _image_names(root, f"{below}{name}/", (*above, here), extensions)
        elif _ends_in(name, extensions):
            yield below + name
