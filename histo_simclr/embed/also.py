"""Copies of a slide's features in other formats, made from its HDF5 file a few rows at a time."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from histo_simclr.embed.feature_file import CHUNK_ROWS, TEMPORARY, settle, writing
from histo_simclr.errors import InputError

# CLAM's training reads .pt, which comes with its layout; the others are asked for.
PT, ZARR, PARQUET = "pt", "zarr", "parquet"
ASKED = (ZARR, PARQUET)


def check(kinds: Sequence[str]) -> None:
    """InputError for a format that is not known, or whose library is missing."""
    for kind in kinds:
        if kind not in ASKED:
            raise InputError(
                f"no format {kind!r}", where="--also", way_out=f"use {', '.join(ASKED)}"
            )
    if ZARR in kinds:
        try:
            import zarr  # noqa: F401 - whether it is there
        except ImportError as error:
            raise InputError(
                f"zarr cannot be imported ({error})",
                where="--also zarr",
                way_out="install the extra: pip install 'histo-simclr[zarr]'",
            ) from error


def path(features: Path, kind: str) -> Path:
    """Where the copy of a features file goes: beside it, CLAM's tensors in `pt_files`."""
    folder = features.parent.with_name("pt_files") if kind == PT else features.parent
    return folder / f"{features.name.removesuffix('.h5')}.{kind}"


def write(features: Path, kinds: Sequence[str]) -> None:
    """Writes the copies that are not there; each whole or not at all.

    Raises:
      InputError: the disk is full, or the place cannot be written.
    """
    for kind in kinds:
        target = path(features, kind)
        if target.exists():
            continue
        temporary = target.with_name(target.name + TEMPORARY)
        with writing(target, temporary), h5py.File(features, "r") as file:
            target.parent.mkdir(exist_ok=True)
            if kind == ZARR:
                shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
                _write_zarr(temporary, file)
                os.replace(temporary, target)
                continue
            (_write_pt if kind == PT else _write_parquet)(temporary, file)
            settle(temporary, target)


def remove(features: Path, kinds: Sequence[str]) -> None:
    """Removes the copies of a file that is written anew."""
    for kind in kinds:
        target = path(features, kind)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def _blocks(file: h5py.File) -> Iterator[tuple[int, int]]:
    count = len(file["features"])
    for start in range(0, count, CHUNK_ROWS):
        yield start, min(start + CHUNK_ROWS, count)


def _attributes(dataset: h5py.Dataset) -> dict[str, Any]:
    """As plain JSON values."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for name, value in dataset.attrs.items()
    }


def _write_pt(temporary: Path, file: h5py.File) -> None:
    from histo_simclr.weights import torch_file

    torch_file.write(temporary, file["features"][:].astype(np.float32, copy=False))


def _write_zarr(temporary: Path, file: h5py.File) -> None:
    import zarr

    group = zarr.open_group(temporary, mode="w", zarr_format=3)
    for name, dataset in file.items():
        array = group.create_array(
            name,
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunks=(max(1, min(CHUNK_ROWS, len(dataset))), *dataset.shape[1:]),
            attributes=_attributes(dataset),
        )
        for start, stop in _blocks(file):
            array[start:stop] = dataset[start:stop]


def _write_parquet(temporary: Path, file: h5py.File) -> None:
    import pyarrow
    import pyarrow.parquet

    features = file["features"]
    vector = pyarrow.list_(pyarrow.from_numpy_dtype(features.dtype), features.shape[1])
    told = {name: _attributes(file[name]) for name in ("features", "coords")}
    schema = pyarrow.schema(
        {
            "x": pyarrow.int64(),
            "y": pyarrow.int64(),
            "tissue_fraction": pyarrow.float32(),
            "features": vector,
        },
        metadata={"histo_simclr": json.dumps(told)},
    )
    with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
        for start, stop in _blocks(file):
            coords = file["coords"][start:stop].astype(np.int64)
            rows = pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(features[start:stop].ravel()), features.shape[1]
            )
            columns = [coords[:, 0], coords[:, 1], file["tissue_fraction"][start:stop], rows]
            writer.write_table(pyarrow.table(columns, schema=schema))
