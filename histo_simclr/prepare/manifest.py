"""The manifest of a record set: one Parquet row a record, written as the records are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from histo_simclr.records import (
    LOCATION_FIELDS,
    MOMENT_FIELDS,
    PERCEPTUAL_FIELD,
    PROVENANCE_FIELDS,
    SOURCE_FIELDS,
    TARGET_FIELD,
)

# Bounds memory; a constant, so that the file's bytes depend on the rows alone.
ROW_GROUP = 16_384
# Rows held as Python objects, which take ten times the room of Arrow's.
_LOOSE = 1024
_ARROW = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
_LOCATION = {
    "split": pyarrow.string(),
    "shard": pyarrow.string(),
    "offset": pyarrow.int64(),
    "length": pyarrow.int64(),
    "crc": pyarrow.uint32(),
}
SCHEMA = pyarrow.schema(
    [
        *((name, _ARROW[kind]) for name, (kind, _) in PROVENANCE_FIELDS.items()),
        ("label", pyarrow.string()),
        *((name, _LOCATION[name]) for name in LOCATION_FIELDS),
        *((name, pyarrow.string()) for name in SOURCE_FIELDS),
        (PERCEPTUAL_FIELD, pyarrow.uint64()),
        *((name, pyarrow.float64()) for name in MOMENT_FIELDS),
    ]
)
# Where the set has one: a number to predict. Only there, so that other sets keep their bytes.
_TARGET = pyarrow.field(TARGET_FIELD, pyarrow.float64())
# Columns of few values. A dictionary of all different ones only adds to the file.
_FEW_VALUES = ["cohort", "slide", "patient", "x", "y", "mpp", "magnification", "stain", "organ"]
_FEW_VALUES += ["label", "split", "shard"]


class ManifestWriter:
    """Collects rows and writes them by row groups; shards are numbers until `finish` names them.

    Args:
      folder: of the record set. The file gets its name manifest.parquet in `finish` only.
      has_targets: whether the rows have a column target too, after SCHEMA's.
    """

    def __init__(self, folder: Path, *, has_targets: bool = False):
        self._folder = folder
        self._part = folder / "manifest.part"
        self._final = SCHEMA.append(_TARGET) if has_targets else SCHEMA
        self._schema = self._final.set(
            SCHEMA.get_field_index("shard"), pyarrow.field("shard", pyarrow.int32())
        )
        self._writer = pyarrow.parquet.ParquetWriter(self._part, self._schema)
        self._columns: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        self._tables: list[pyarrow.Table] = []

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds one row; keys are the names of the columns, `shard` a number within the split."""
        for name, values in self._columns.items():
            values.append(row[name])
        if len(values) >= _LOOSE:
            self._pack()
        if _LOOSE * len(self._tables) >= ROW_GROUP:
            self._flush()

    def _pack(self) -> None:
        self._tables.append(pyarrow.table(self._columns, schema=self._schema))
        self._columns = {name: [] for name in self._schema.names}

    def _flush(self) -> None:
        self._writer.write_table(pyarrow.concat_tables(self._tables).combine_chunks())
        self._tables = []

    def close(self) -> None:
        """Closes the file as it is."""
        self._writer.close()

    def finish(self, shards: Mapping[str, list[str]]) -> None:
        """Writes manifest.parquet with the shards' final names, given for each split."""
        if self._columns["key"]:
            self._pack()
        if self._tables:
            self._flush()
        self.close()
        target_file = self._folder / "manifest.parquet"
        column = SCHEMA.get_field_index("shard")
        with (
            pyarrow.parquet.ParquetFile(self._part) as source,
            pyarrow.parquet.ParquetWriter(
                target_file,
                self._final,
                compression="zstd",
                use_dictionary=_FEW_VALUES,
                write_page_checksum=True,
            ) as target,
        ):
            for group in range(source.num_row_groups):
                table = source.read_row_group(group)
                pairs = zip(table["split"].to_pylist(), table["shard"].to_pylist(), strict=True)
                names = pyarrow.array([shards[split][shard] for split, shard in pairs])
                target.write_table(table.set_column(column, self._final.field(column), names))
        self._part.unlink()
