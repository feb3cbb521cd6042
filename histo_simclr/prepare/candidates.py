"""The rows that a mix may draw, and the choice among them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from histo_simclr.errors import InputError
from histo_simclr.prepare import draw
from histo_simclr.prepare.progress import Progress

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
      held_out: uint64, the same of all rows of other splits.
    """

    path: Path
    info: dict[str, Any]
    row: np.ndarray
    hashes: np.ndarray
    held_out: np.ndarray


def choose(
    candidates: list[Candidates], size: int, exponent: float, seed: int
) -> tuple[list[np.ndarray], dict[str, dict[str, Any]]]:
    """Draws among the different patches of all record sets.

    Args:
      candidates: in the order of the cohorts; the first of equal patches stays.
      size, exponent, seed: see `draw`.

    Returns:
      Manifest rows chosen of each record set, ascending; and by cohort: rows drawn, rows
      available, duplicates left out, and rows left out because another split holds the same pixels.

    Raises:
      InputError: size is not from 1 to the number of different patches.
    """
    hashes = np.concatenate([each.hashes for each in candidates])
    lengths = [len(each.row) for each in candidates]
    owner = np.repeat(np.arange(len(candidates)), lengths)
    held_out = np.isin(hashes, np.concatenate([each.held_out for each in candidates]))
    is_free = draw.first_of_each(hashes) & ~held_out
    names = list(dict.fromkeys(each.info["cohort"] for each in candidates))
    cohort_of_set = np.array([names.index(each.info["cohort"]) for each in candidates])
    cohort = cohort_of_set[owner]
    available = np.bincount(cohort[is_free], minlength=len(names))
    if not 0 < size <= available.sum():
        raise InputError(
            f"{size:,} patches wanted, {available.sum():,} different ones there",
            where="--size",
            way_out=f"ask for 1 to {available.sum():,}, or add record sets",
        )
    quota = draw.quotas(available, size, exponent)
    is_chosen = np.zeros(len(hashes), bool)
    cohorts = {}
    for number, name in enumerate(names):
        free = np.flatnonzero(is_free & (cohort == number))
        picked = draw.choose(len(free), int(quota[number]), seed=seed, cohort=name)
        is_chosen[free[picked]] = True
        in_cohort = cohort == number
        held = int((in_cohort & held_out).sum())
        cohorts[name] = {"rows": int(quota[number]), "available": len(free)}
        cohorts[name] |= {"duplicates": int(in_cohort.sum()) - len(free) - held, "held_out": held}
    bounds = np.cumsum([0, *lengths])
    chosen = [
        each.row[is_chosen[start:end]]
        for each, start, end in zip(candidates, bounds[:-1], bounds[1:], strict=True)
    ]
    return chosen, cohorts


def read(paths: list[Path], infos: list[dict[str, Any]]) -> list[Candidates]:
    """The candidates of each record set.

    Args:
      paths: version folders.
      infos: content of their record_set.json.

    Raises:
      InputError: a manifest cannot be read, or has no rows of split train.
    """
    files = [open_manifest(path / "manifest.parquet") for path in paths]
    progress = Progress("rows", sum(file.metadata.num_rows for file in files))
    candidates, done = [], 0
    for path, info, file in zip(paths, infos, files, strict=True):
        hashes, drawn = [], []
        for table in groups(file, ["split", "pixels_sha256"], path / "manifest.parquet"):
            hashes.append(_hash64(table["pixels_sha256"]))
            drawn.append(pyarrow.compute.equal(table["split"], SPLIT).to_numpy())
            done += len(table)
            progress.show(done)
        file.close()
        every, is_drawn = np.concatenate(hashes), np.concatenate(drawn)
        if not is_drawn.any():
            raise InputError(
                f"no split {SPLIT}, only {', '.join(info['counts'])}",
                where=path,
                way_out="leave it out: a mix draws from train alone",
            )
        row = np.flatnonzero(is_drawn)
        candidates.append(Candidates(path, info, row, every[row], every[~is_drawn]))
    progress.close()
    return candidates


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
        try:
            yield file.read_row_group(group, columns=columns)
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(
                f"cannot be read ({error})",
                where=path,
                way_out="prepare the record set again",
            ) from error


def _hash64(column: pyarrow.ChunkedArray) -> np.ndarray:
    """The first 16 of each string's 64 hex digits, as a number."""
    width = 64
    digits = column.combine_chunks().cast(pyarrow.binary(width))
    start = digits.offset * width
    text = np.frombuffer(digits.buffers()[1], np.uint8)[start : start + len(digits) * width]
    text = text.reshape(len(digits), width)[:, :16]
    value = np.where(text >= ord("a"), text - (ord("a") - 10), text - ord("0"))
    pairs = np.ascontiguousarray(value[:, 0::2] << 4 | value[:, 1::2])
    return pairs.view(">u8")[:, 0].astype(np.uint64)
