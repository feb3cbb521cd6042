"""The plan: which places of which slides become patches, one row a patch, before pixels are read.

A plan can be published although pixels cannot: with it and the slides, `prepare --plan` writes the
same records.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from histo_simclr.errors import InputError
from histo_simclr.prepare.slide_table import Row
from histo_simclr.slides.grid import Places
from histo_simclr.slides.resolution import LARGEST, SMALLEST

SCHEMA = pyarrow.schema(
    [
        ("wsi", pyarrow.string()),  # path below the source, with extension
        ("slide", pyarrow.string()),
        ("x", pyarrow.int64()),  # top left corner in level-0 px
        ("y", pyarrow.int64()),
        ("mpp", pyarrow.float64()),  # µm/px of the patch
        ("px", pyarrow.int64()),  # side of the patch
        ("tissue", pyarrow.float32()),  # share of the patch that is tissue
        ("mpp_x", pyarrow.float64()),  # µm/px of level 0 that the plan was made with
        ("mpp_y", pyarrow.float64()),
        ("quickhash", pyarrow.string()),  # OpenSlide's fingerprint of the slide; may be empty
    ]
)
# Rows held in memory; a constant, so that the file's bytes depend on the rows alone.
ROW_GROUP = 65_536


class Planned(NamedTuple):
    """One slide's part of a plan. Fields as in SCHEMA; mpp of level 0 as (x, y)."""

    wsi: str
    slide: str
    places: Places
    px: int
    mpp: tuple[float, float]
    quickhash: str


class PlanWriter:
    """Writes plan.parquet, slide by slide.

    Args:
      path: of the file.
      px: side of the patches.
    """

    def __init__(self, path: Path, px: int):
        self._px = px
        self._writer = pyarrow.parquet.ParquetWriter(path, SCHEMA, compression="zstd")
        self._tables: list[pyarrow.Table] = []

    def write(self, row: Row, places: Places) -> None:
        """Adds the places of one slide."""
        count = len(places.x)
        constant = {"wsi": row.wsi, "slide": row.slide, "px": self._px}
        constant |= {"mpp_x": row.mpp_x, "mpp_y": row.mpp_y, "quickhash": row.quickhash}
        columns = {name: [value] * count for name, value in constant.items()}
        self._tables.append(pyarrow.table(columns | places._asdict(), schema=SCHEMA))
        if sum(len(table) for table in self._tables) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._tables:
            self._writer.write_table(pyarrow.concat_tables(self._tables), row_group_size=ROW_GROUP)
        self._tables = []

    def close(self) -> None:
        """Writes what is left."""
        self._flush()
        self._writer.close()


def read(path: Path) -> Iterator[Planned]:
    """The slides of a plan, in its order; a few ten thousand rows at a time in memory.

    Args:
      path: plan.parquet, or the same columns as .csv (`tissue` and `quickhash` may be missing).

    Raises:
      InputError: unreadable, a column missing, numbers that cannot be right, or the rows of a
        slide not together.
    """
    seen: set[str] = set()
    part: pyarrow.Table | None = None
    for table in _tables(path):
        part = table if part is None else pyarrow.concat_tables([part, table])
        names = part["wsi"].to_pylist()
        # The last slide may go on in the next row group.
        while (count := _other(names)) is not None:
            yield _planned(part.slice(0, count), path, seen)
            part, names = part.slice(count), names[count:]
    if part is None or not len(part):
        raise InputError("no rows", where=path, way_out="make the plan again with --plan-only")
    yield _planned(part, path, seen)


def _other(names: list[str]) -> int | None:
    """Where another name than the first begins; None when there is none."""
    return next((number for number, name in enumerate(names) if name != names[0]), None)


def _tables(path: Path) -> Iterator[pyarrow.Table]:
    way_out = "give a plan.parquet of `prepare --plan-only`, or a CSV with its columns"
    try:
        if path.suffix.lower() == ".csv":
            types = {field.name: field.type for field in SCHEMA}
            options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False)
            with pyarrow.csv.open_csv(path, convert_options=options) as file:
                for batch in file:
                    yield _conformed(pyarrow.Table.from_batches([batch]), path)
            return
        with pyarrow.parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield _conformed(file.read_row_group(group), path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"no readable plan ({error})", where=path, way_out=way_out) from error


def _conformed(table: pyarrow.Table, path: Path) -> pyarrow.Table:
    for name, value in (("tissue", 1.0), ("quickhash", "")):
        if name not in table.column_names:
            field = SCHEMA.field(name)
            column = pyarrow.array([value] * len(table), field.type)
            table = table.append_column(field, column)
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise InputError(
            f"no column {', '.join(missing)}",
            where=path,
            way_out="give a plan.parquet of `prepare --plan-only`, or a CSV with its columns",
        )
    table = table.select(SCHEMA.names).cast(SCHEMA)
    bare = [name for name in SCHEMA.names if table[name].null_count]
    if bare:
        raise InputError(f"empty cells in {bare[0]}", where=path, way_out="fill them")
    return table


def _planned(table: pyarrow.Table, path: Path, seen: set[str]) -> Planned:
    columns = {name: table[name].to_numpy() for name in SCHEMA.names}
    wsi = columns["wsi"][0]
    where = f"{path}: {wsi}"
    if wsi in seen:
        raise InputError("its rows are not together", where=where, way_out="sort the plan by wsi")
    seen.add(wsi)
    for name in ("slide", "px", "mpp_x", "mpp_y", "quickhash"):
        if len(set(columns[name].tolist())) > 1:
            raise InputError(f"several {name}", where=where, way_out="give the slide one")
    for name in ("mpp", "mpp_x", "mpp_y"):
        if not ((columns[name] >= SMALLEST) & (columns[name] <= LARGEST)).all():
            raise InputError(
                f"{name} outside {SMALLEST:g} to {LARGEST:g} µm/px", where=where, way_out="mend it"
            )
    keys = np.stack([columns["x"], columns["y"], columns["mpp"]], axis=1)
    if len(np.unique(keys, axis=0)) < len(keys):
        raise InputError("a place twice", where=where, way_out="list each once")
    places = Places(columns["x"], columns["y"], columns["mpp"], columns["tissue"])
    level0 = (float(columns["mpp_x"][0]), float(columns["mpp_y"][0]))
    slide, px = columns["slide"][0], int(columns["px"][0])
    return Planned(wsi, slide, places, px, level0, columns["quickhash"][0])
