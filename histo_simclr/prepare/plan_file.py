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
# Smallest and largest of what a plan's numbers may be, with their unit.
_MPP = (SMALLEST, LARGEST, " µm/px")
_LIMITS = {"mpp": _MPP, "mpp_x": _MPP, "mpp_y": _MPP, "tissue": (0, 1, ""), "px": (1, 65_536, "")}
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
    seen: dict[str, set[str]] = {"wsi": set(), "slide": set()}
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
            # Other tools write all rows as one group.
            for batch in file.iter_batches(ROW_GROUP):
                yield _conformed(pyarrow.Table.from_batches([batch]), path)
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise InputError(f"no readable plan ({error})", where=path, way_out=way_out) from error


def _conformed(table: pyarrow.Table, path: Path) -> pyarrow.Table:
    for name, value in (("tissue", 1.0), ("quickhash", "")):
        if name not in table.column_names:
            field = SCHEMA.field(name)
            column = pyarrow.array([value] * len(table), field.type)
            table = table.append_column(field, column)
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    twice = [name for name in SCHEMA.names if table.column_names.count(name) > 1]
    if missing or twice:
        raise InputError(
            f"no column {', '.join(missing)}" if missing else f"column {twice[0]} twice",
            where=path,
            way_out="give a plan.parquet of `prepare --plan-only`, or a CSV with its columns",
        )
    table = table.select(SCHEMA.names).cast(SCHEMA)
    table.validate(full=True)  # a file may call bytes text that are none
    bare = [name for name in SCHEMA.names if table[name].null_count]
    bare += [name for name in ("wsi", "slide") if "" in table[name].unique().to_pylist()]
    if bare:
        raise InputError(f"empty cells in {bare[0]}", where=path, way_out="fill them")
    return table


def _planned(table: pyarrow.Table, path: Path, seen: dict[str, set[str]]) -> Planned:
    columns = {name: table[name].to_numpy() for name in SCHEMA.names}
    wsi, slide = columns["wsi"][0], columns["slide"][0]
    where = f"{path}: {wsi}"
    if wsi in seen["wsi"]:
        raise InputError("its rows are not together", where=where, way_out="sort the plan by wsi")
    for name in ("slide", "px", "mpp_x", "mpp_y", "quickhash"):
        if len(set(columns[name].tolist())) > 1:
            raise InputError(f"several {name}", where=where, way_out="give the slide one")
    if slide in seen["slide"]:
        # The keys of its patches would be those of another slide.
        raise InputError(f"a second slide {slide!r}", where=where, way_out="give it another name")
    for name, (low, high, unit) in _LIMITS.items():
        if not ((columns[name] >= low) & (columns[name] <= high)).all():
            raise InputError(
                f"{name} outside {low:g} to {high:g}{unit}", where=where, way_out="mend it"
            )
    if _has_a_place_twice(columns["x"], columns["y"], columns["mpp"]):
        raise InputError("a place twice", where=where, way_out="list each once")
    seen["wsi"].add(wsi)
    seen["slide"].add(slide)
    places = Places(columns["x"], columns["y"], columns["mpp"], columns["tissue"])
    level0 = (float(columns["mpp_x"][0]), float(columns["mpp_y"][0]))
    return Planned(wsi, slide, places, int(columns["px"][0]), level0, columns["quickhash"][0])


def _has_a_place_twice(*columns: np.ndarray) -> bool:
    """Whether two rows are alike; whole numbers are compared as such, not as floats."""
    order = np.lexsort(columns)
    alike = [column[order][1:] == column[order][:-1] for column in columns]
    return bool(np.logical_and.reduce(alike).any())
