"""The rows that a mix may draw: read from manifests, a few bytes a row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from histo_simclr.errors import InputError
from histo_simclr.prepare.exclusion import Exclusions
from histo_simclr.prepare.progress import Progress
from histo_simclr.records import PERCEPTUAL_FIELD

# The only split a mix draws from: what probes are judged on must not have been trained on.
SPLIT = "train"


class Candidates(NamedTuple):
    """The rows of one record set that a mix may draw.

    Fields:
      path: version folder of the record set.
      info: content of record_set.json.
      row: (n,) int64, number in the manifest.
      hashes: (n,) uint64, the first 64 bits of pixels_sha256. Among ten million patches two
        different ones agree in them with probability 3e-6.
      perceptual: (n,) uint64, image_hash.perceptual; zeros when not asked for.
      slide: (n,) int32, number of the slide in its cohort; -1 when unknown.
      is_excluded: (n,) bool, named by the list of exclusions.
      is_other_mpp: (n,) bool, not of the µm/px asked for, or of none stated.
      held_out: (h,) int64, the rows of other splits.
      held_out_hashes, held_out_perceptual: (h,) uint64, the same of these.
    """

    path: Path
    info: dict[str, Any]
    row: np.ndarray
    hashes: np.ndarray
    perceptual: np.ndarray
    slide: np.ndarray
    is_excluded: np.ndarray
    is_other_mpp: np.ndarray
    held_out: np.ndarray
    held_out_hashes: np.ndarray
    held_out_perceptual: np.ndarray


def read(
    paths: list[Path],
    infos: list[dict[str, Any]],
    exclusions: Exclusions,
    *,
    perceptual: bool,
    mpp: tuple[float, float] | None = None,
) -> list[Candidates]:
    """The candidates of each record set.

    Args:
      paths: version folders.
      infos: content of their record_set.json.
      exclusions: marks rows; notes which of its entries were met.
      perceptual: whether perceptual hashes are wanted.
      mpp: rows from the first to below the second µm/px are asked for; None: all rows.

    Raises:
      InputError: a manifest cannot be read, has no rows of split train, or lacks the hashes.
    """
    files = [open_manifest(path / "manifest.parquet") for path in paths]
    progress = Progress("rows", sum(file.metadata.num_rows for file in files))
    slides: dict[str, dict[str, int]] = {info["cohort"]: {} for info in infos}
    candidates, done = [], 0
    for path, info, file in zip(paths, infos, files, strict=True):
        columns = ["split", "pixels_sha256", "slide", "patient"]
        if perceptual:
            _check_hashed(file, path)
            columns.append(PERCEPTUAL_FIELD)
        columns += ["mpp"] if mpp else []
        parts: list[tuple[np.ndarray, ...]] = []
        for table in groups(file, columns, path / "manifest.parquet"):
            parts.append(_columns(table, info["cohort"], slides[info["cohort"]], exclusions, mpp))
            done += len(table)
            progress.show(done)
        file.close()
        columns_read = (np.concatenate(each) for each in zip(*parts, strict=True))
        candidates.append(_split(path, info, *columns_read))
    progress.close()
    return candidates


def _columns(
    table: pyarrow.Table,
    cohort: str,
    slides: dict[str, int],
    exclusions: Exclusions,
    mpp: tuple[float, float] | None,
) -> tuple[np.ndarray, ...]:
    """(is drawn, hashes, perceptual, slide, is excluded, is of another mpp) of a table's rows."""
    is_drawn = pyarrow.compute.equal(table["split"], SPLIT).to_numpy()
    hashes = hash64(table["pixels_sha256"])
    perceptual = np.zeros(len(table), np.uint64)
    if PERCEPTUAL_FIELD in table.column_names:
        perceptual = table[PERCEPTUAL_FIELD].to_numpy()
    encoded = table["slide"].combine_chunks().dictionary_encode()
    numbers = [
        slides.setdefault(name, len(slides)) if name else -1
        for name in encoded.dictionary.to_pylist()
    ]
    slide = np.array(numbers, np.int32)[encoded.indices.to_numpy()]
    # Held-out rows are never drawn, so an entry that names only these is met all the same.
    is_excluded = exclusions.mark(table, cohort)
    is_other_mpp = np.zeros(len(table), bool)
    if mpp:
        given = table["mpp"].to_numpy()
        is_other_mpp = ~((given >= mpp[0]) & (given < mpp[1]) & (given > 0))
    return is_drawn, hashes, perceptual, slide, is_excluded, is_other_mpp


def _split(
    path: Path,
    info: dict[str, Any],
    is_drawn: np.ndarray,
    hashes: np.ndarray,
    perceptual: np.ndarray,
    slide: np.ndarray,
    is_excluded: np.ndarray,
    is_other_mpp: np.ndarray,
) -> Candidates:
    if not is_drawn.any():
        raise InputError(
            f"no split {SPLIT}, only {', '.join(info['counts'])}",
            where=path,
            way_out="leave it out: a mix draws from train alone",
        )
    row, held_out = np.flatnonzero(is_drawn), np.flatnonzero(~is_drawn)
    return Candidates(
        path=path,
        info=info,
        row=row,
        hashes=hashes[row],
        perceptual=perceptual[row],
        slide=slide[row],
        is_excluded=is_excluded[row],
        is_other_mpp=is_other_mpp[row],
        held_out=held_out,
        held_out_hashes=hashes[held_out],
        held_out_perceptual=perceptual[held_out],
    )


def _check_hashed(file: pyarrow.parquet.ParquetFile, path: Path) -> None:
    if PERCEPTUAL_FIELD not in file.schema_arrow.names:
        raise InputError(
            f"no column {PERCEPTUAL_FIELD}",
            where=path / "manifest.parquet",
            way_out="prepare the record set again, or mix with --near-duplicates off",
        )


def open_manifest(path: Path) -> pyarrow.parquet.ParquetFile:
    """A manifest.parquet to read by row groups; InputError when absent or torn."""
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"cannot be read ({error})", where=path, way_out="prepare the record set again"
        ) from error


def groups(
    file: pyarrow.parquet.ParquetFile, columns: list[str], path: Path
) -> Iterator[pyarrow.Table]:
    """Columns of an open manifest, a row group at a time; InputError, naming path, when torn."""
    for group in range(file.num_row_groups):
        yield _group(file, group, columns, path)


def take(path: Path, rows: np.ndarray, columns: list[str]) -> Iterator[pyarrow.Table]:
    """Rows of a manifest by their numbers, a row group at a time; reads no group in vain.

    Args:
      path: version folder of a record set.
      rows: (n,) int64, ascending.
      columns: names.

    Raises:
      InputError: the manifest is torn.
    """
    manifest = path / "manifest.parquet"
    with open_manifest(manifest) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows, [start, end])
            if high > low:
                yield _group(file, group, columns, manifest).take(rows[low:high] - start)
            start = end


def _group(
    file: pyarrow.parquet.ParquetFile, group: int, columns: list[str], path: Path
) -> pyarrow.Table:
    try:
        return file.read_row_group(group, columns=columns)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"cannot be read ({error})",
            where=path,
            way_out="prepare the record set again",
        ) from error


def hash64(column: pyarrow.ChunkedArray) -> np.ndarray:
    """The first 16 of each string's 64 hex digits, as a number."""
    width = 64
    digits = column.combine_chunks().cast(pyarrow.binary(width))
    start = digits.offset * width
    text = np.frombuffer(digits.buffers()[1], np.uint8)[start : start + len(digits) * width]
    text = text.reshape(len(digits), width)[:, :16]
    value = np.where(text >= ord("a"), text - (ord("a") - 10), text - ord("0"))
    pairs = np.ascontiguousarray(value[:, 0::2] << 4 | value[:, 1::2])
    return pairs.view(">u8")[:, 0].astype(np.uint64)
