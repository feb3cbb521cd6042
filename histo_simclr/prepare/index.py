"""index.parquet of a mix: the chosen rows of the manifests, and what they are taken together."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from histo_simclr import records
from histo_simclr.prepare import candidates, terms
from histo_simclr.prepare.candidates import Candidates
from histo_simclr.prepare.manifest import SCHEMA
from histo_simclr.prepare.tally import Counts, Pixels

_COLUMNS = ["shard", "offset", "length", "crc", *records.PROVENANCE_FIELDS, "pixels_sha256"]
INDEX_SCHEMA = pyarrow.schema(
    [
        pyarrow.field("shard", pyarrow.int32()) if name == "shard" else SCHEMA.field(name)
        for name in _COLUMNS
    ]
)
# Taken over from record_set.json.
_FACTS = ("cohort", "license", "commercial_use", "citation", "url")


def write(
    file: Path, out: Path, found: list[Candidates], chosen: list[np.ndarray]
) -> dict[str, Any]:
    """Writes the chosen rows, set after set; returns what mix.json says of them.

    Args:
      file: Parquet file to write.
      out: folder in which it will lie: paths of record sets are relative to it.
      found: the record sets.
      chosen: manifest rows of each, ascending.

    Returns:
      shards, record_sets (with counts by organ, stain and mpp, and how many slides and patients
      are named), statistics (mean and std of r, g,
      b, pixels in [0, 1]) and digest (names the patches and their order, not their place).
    """
    shards: dict[str, int] = {}
    pixels, sets = Pixels(), []
    options = {"compression": "zstd", "write_page_checksum": True}
    with pyarrow.parquet.ParquetWriter(file, INDEX_SCHEMA, **options) as writer:
        for each, rows in zip(found, chosen, strict=True):
            base = Path(os.path.relpath(each.path.resolve(), out.resolve()))
            counts = Counts(("organ", "stain", "mpp"))
            for table in candidates.take(each.path, rows, [*_COLUMNS, *records.MOMENT_FIELDS]):
                counts.add(table)
                pixels.add(table)
                table = _of_cohort(table, each.info["cohort"])
                writer.write_table(_index_table(table, base, shards))
            facts = {"path": base.as_posix()} | {name: each.info[name] for name in _FACTS}
            sets.append(facts | counts.by_value() | counts.named())
    return {
        "shards": list(shards),
        "record_sets": sets,
        "statistics": pixels.statistics(),
        "digest": pixels.digest(),
    }


def describe(sets: list[dict[str, Any]]) -> dict[str, Any]:
    """What the drawn rows of one cohort's record sets are.

    Args:
      sets: entries of `write`'s record_sets.
    """

    def joined(name: str) -> str:
        return ", ".join(sorted({value for each in sets for value in each[name] if value}))

    return {
        "organ": joined("organ"),
        "stain": joined("stain"),
        "slides": sum(each["slides"] for each in sets),
        "patients": sum(each["patients"] for each in sets),
        "mpp": sorted({float(value) for each in sets for value in each["mpp"]}),
        "license": ", ".join(sorted({each["license"] for each in sets})),
        "commercial_use": terms.strictest({each["commercial_use"] for each in sets}),
    }


def _of_cohort(table: pyarrow.Table, cohort: str) -> pyarrow.Table:
    """The table with the cohort as the mix spells it, which a manifest may do otherwise."""
    spelled = pyarrow.repeat(pyarrow.scalar(cohort, SCHEMA.field("cohort").type), len(table))
    return table.set_column(table.column_names.index("cohort"), SCHEMA.field("cohort"), spelled)


def _index_table(table: pyarrow.Table, base: Path, shards: dict[str, int]) -> pyarrow.Table:
    encoded = table["shard"].combine_chunks().dictionary_encode()
    numbers = np.array(
        [
            shards.setdefault((base / name).as_posix(), len(shards))
            for name in encoded.dictionary.to_pylist()
        ],
        np.int32,
    )
    shard = pyarrow.array(numbers[encoded.indices.to_numpy()])
    position = table.column_names.index("shard")
    table = table.set_column(position, INDEX_SCHEMA.field("shard"), shard)
    return table.select(_COLUMNS).cast(INDEX_SCHEMA)
