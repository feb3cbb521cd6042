"""Draw from record sets → a mix: which patches, where they lie, what they are. Copies no pixel.

Holds a few bytes a candidate row in memory; all else passes through by row groups.
"""

import argparse
import collections
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import candidates, whole
from histo_simclr.prepare.candidates import Candidates, groups, open_manifest
from histo_simclr.prepare.manifest import SCHEMA

_COLUMNS = ["shard", "offset", "length", "crc", *records.PROVENANCE_FIELDS, "pixels_sha256"]
INDEX_SCHEMA = pyarrow.schema(
    [
        pyarrow.field("shard", pyarrow.int32()) if name == "shard" else SCHEMA.field(name)
        for name in _COLUMNS
    ]
)


def mix(
    record_sets: Sequence[str | Path], *, out: Path, size: int, draw: str, px: int | None, seed: int
) -> Path:
    """Writes the mix `out` (index.parquet, mix.json) and returns its path.

    Patches whose pixels stand earlier in the cohorts' order, or in a split other than train, are
    left out. The digest names the patches and their order, wherever the record sets lie.

    Args:
      record_sets: folders that prepare wrote; their order is the cohorts' order.
      out: folder to make.
      size: patches to draw.
      draw: even | proportional | tempered:ALPHA, see `draw.quotas`.
      px: side that the patches must have; None: whatever they agree on.
      seed: of the choice within each cohort.

    Raises:
      InputError: a record set is not there, twice there, or of another px; fewer patches than
        `size`; the mix exists or cannot be written. Nothing is left behind then.
    """
    out = Path(os.path.abspath(out))
    whole.refuse_existing(out, "the mix")
    exponent = _exponent(draw)
    paths = [records.resolve_record_set(path) for path in record_sets]
    keys = ("px", "cohort", "counts", "license", "commercial_use", "citation", "url")
    infos = [records.read_json(path / "record_set.json", *keys) for path in paths]
    _check_sets(paths, infos, px)
    found = candidates.read(paths, infos)
    chosen, cohorts = candidates.choose(found, size, exponent, seed)
    info = {"format": 1, "name": out.name, "px": infos[0]["px"], "size": size}
    info |= {"draw": draw, "seed": seed}
    with whole.new_folder(out, beside=out.parent) as folder:
        info |= _write_index(folder / "index.parquet", out, found, chosen)
        sets = info["record_sets"]
        for name, cohort in cohorts.items():
            cohort |= _describe([each for each in sets if each["cohort"] == name])
        uses = {each["commercial_use"] for each in sets}
        info |= {"cohorts": cohorts, "commercial_use": _worst(uses)}
        info["duplicates_dropped"] = sum(each["duplicates"] for each in cohorts.values())
        text = json.dumps(info, indent=2, ensure_ascii=False)
        (folder / "mix.json").write_text(text + "\n", encoding="utf-8")
    return out


def _exponent(draw: str) -> float:
    kind, _, value = draw.partition(":")
    try:
        exponent = {"even": 0.0, "proportional": 1.0}[draw] if not value else float(value)
    except (KeyError, ValueError):
        exponent = -1.0
    if (value and kind != "tempered") or not 0 <= exponent <= 1:
        raise InputError(
            f"no draw {draw!r}",
            where="--draw",
            way_out="use even, proportional or tempered:ALPHA with ALPHA from 0 to 1",
        )
    return exponent


def _check_sets(paths: list[Path], infos: list[dict[str, Any]], px: int | None) -> None:
    real = [path.resolve() for path in paths]
    wanted = infos[0]["px"] if px is None else px
    for number, (path, info) in enumerate(zip(paths, infos, strict=True)):
        if real[number] in real[:number]:
            raise InputError("named twice", where=path, way_out="name it once")
        if info["px"] != wanted:
            source = "--px" if px is not None else str(paths[0])
            raise InputError(
                f"patches of {info['px']} px, but {wanted} px in {source}",
                where=path,
                way_out=f"prepare it again with --px {wanted}, or leave it out",
            )


def _write_index(
    file: Path, out: Path, found: list[Candidates], chosen: list[np.ndarray]
) -> dict[str, Any]:
    """Writes the chosen rows, set after set; returns what mix.json says of them."""
    shards: dict[str, int] = {}
    digest, moments = hashlib.sha256(), np.zeros(len(records.MOMENT_FIELDS))
    sets = []
    with pyarrow.parquet.ParquetWriter(file, INDEX_SCHEMA, compression="zstd") as writer:
        for each, rows in zip(found, chosen, strict=True):
            base = Path(os.path.relpath(each.path.resolve(), out.resolve()))
            counts = {name: collections.Counter() for name in ("organ", "stain", "mpp")}
            for table in _take(each, rows):
                for name, counter in counts.items():
                    for pair in table[name].value_counts().to_pylist():
                        counter[pair["values"]] += pair["counts"]
                moments += [table[name].to_numpy().sum() for name in records.MOMENT_FIELDS]
                digest.update(_digest_lines(table))
                writer.write_table(_index_table(table, base, shards))
            facts = ("cohort", "license", "commercial_use", "citation", "url")
            facts = {"path": base.as_posix()} | {name: each.info[name] for name in facts}
            sets.append(facts | {name: _sorted(counter) for name, counter in counts.items()})
    mean, square = np.split(moments / sum(len(rows) for rows in chosen), 2)
    return {
        "shards": list(shards),
        "record_sets": sets,
        "statistics": {"mean": mean.tolist(), "std": np.sqrt(square - mean**2).tolist()},
        "digest": digest.hexdigest(),
    }


def _take(source: Candidates, rows: np.ndarray) -> Iterator[pyarrow.Table]:
    """The manifest's rows of these numbers, a row group at a time."""
    columns = [*_COLUMNS, *records.MOMENT_FIELDS]
    start = 0
    with open_manifest(source.path / "manifest.parquet") as file:
        for table in groups(file, columns, source.path / "manifest.parquet"):
            end = start + len(table)
            low, high = np.searchsorted(rows, [start, end])
            if high > low:
                yield table.take(rows[low:high] - start)
            start = end


def _digest_lines(table: pyarrow.Table) -> bytes:
    lines = pyarrow.compute.binary_join_element_wise(table["key"], table["pixels_sha256"], "\t")
    return "".join(f"{line}\n" for line in lines.to_pylist()).encode()


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


def _sorted(counter: collections.Counter) -> dict[str, int]:
    return {str(value): counter[value] for value in sorted(counter)}


def _describe(sets: list[dict[str, Any]]) -> dict[str, Any]:
    """Organ, stain, licence and mpp of the drawn rows of one cohort's record sets."""

    def joined(name: str) -> str:
        return ", ".join(sorted({value for each in sets for value in each[name] if value}))

    licenses = sorted({each["license"] for each in sets})
    return {
        "organ": joined("organ"),
        "stain": joined("stain"),
        "mpp": sorted({float(value) for each in sets for value in each["mpp"]}),
        "license": ", ".join(licenses),
        "commercial_use": _worst({each["commercial_use"] for each in sets}),
    }


def _worst(uses: set[str]) -> str:
    return next(use for use in ("no", "unknown", "yes") if use in uses)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `histo-simclr mix`."""
    add = parser.add_argument
    add("records", nargs="+", metavar="RECORDS", help="record sets that prepare wrote")
    add("--out", required=True, type=Path, help="folder of the mix, made")
    add("--size", required=True, type=int, help="patches to draw")
    add("--draw", default="even", help="even | proportional | tempered:ALPHA")
    add("--px", type=int, help="side that the patches must have")
    add("--seed", type=int, default=0, help="of the choice within each cohort")


def run(args: argparse.Namespace) -> None:
    """`histo-simclr mix` with parsed arguments; prints the counts of each cohort."""
    if args.seed < 0:
        raise InputError(f"{args.seed}", where="--seed", way_out="give 0 or more")
    path = mix(
        args.records, out=args.out, size=args.size, draw=args.draw, px=args.px, seed=args.seed
    )
    info = records.read_json(path / "mix.json")
    header = ("cohort", "drawn", "available", "duplicates", "held out", "organ", "stain", "license")
    table = [header]
    for name, each in info["cohorts"].items():
        numbers = (each["rows"], each["available"], each["duplicates"], each["held_out"])
        words = (each["organ"] or "?", each["stain"] or "?", each["license"] or "?")
        table.append((name, *(f"{number:,}" for number in numbers), *words))
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            cell.rjust(width) if 1 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    mean, std = (
        " ".join(f"{value:.4f}" for value in info["statistics"][name]) for name in ("mean", "std")
    )
    print(f"{args.out}: {info['size']:,} patches of {info['px']} px; mean {mean}, std {std}")
    print(f"commercial use: {info['commercial_use']}; digest {info['digest'][:16]}")
