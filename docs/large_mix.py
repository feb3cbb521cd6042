"""How long a mix of millions takes: synthetic manifests over real records, mixed, first batch read.

  python docs/large_mix.py FOLDER [--rows 4000000] [--cohorts 57] [--stain-patches 0]

Writes record sets into FOLDER (0.2 GB a million rows) whose rows point at the records of the
embedded PCam set, with keys, slides and hashes of their own; each step then runs in a process of
its own, and is printed with wall time, CPU time and peak memory. Delete FOLDER afterwards.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from histo_simclr import cli, records
from histo_simclr.input import order, reader
from histo_simclr.prepare.manifest import ROW_GROUP, SCHEMA

REAL = Path(__file__).parents[1] / "data/sample/records/pcam"
PATCHES_A_SLIDE = 1000


def main() -> None:
    """Prints a line a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--cohorts", type=int, default=57)
    parser.add_argument("--stain-patches", type=int, default=0)
    args = parser.parse_args()
    folder, mix = args.folder / "records", args.folder / "mix"
    sizes = [len(part) for part in np.array_split(np.arange(args.rows), args.cohorts)]
    for number, rows in enumerate(sizes):
        write_record_set(folder / f"cohort_{number:02d}" / "1.0.0", rows, number)
    draw = ["mix", *map(str, sorted(folder.iterdir())), "--out", str(mix)]
    draw += ["--size", str(args.rows), "--near-duplicates", "drop"]
    draw += ["--max-per-slide", str(PATCHES_A_SLIDE)]
    measured("mix", cli.main, [*draw, "--stain-patches", str(args.stain_patches)])
    measured("first batch", read_first_batch, mix)


def write_record_set(folder: Path, rows: int, number: int) -> None:
    """A record set of `rows` rows, each pointing at one of the real records."""
    real = records.load_record_set(REAL, "train").rows
    shard, cohort = Path(real.shards[0]), folder.parent.name
    rng = np.random.default_rng(number)
    folder.mkdir(parents=True)
    (folder / shard.name).symlink_to(shard.resolve())
    info = {"cohort": cohort, "px": real.px, "license": "CC0-1.0", "commercial_use": "yes"}
    info |= {"citation": "", "url": "", "counts": {"train": rows}, "class_names": None}
    (folder / "record_set.json").write_text(json.dumps(info), encoding="utf-8")
    with pyarrow.parquet.ParquetWriter(folder / "manifest.parquet", SCHEMA) as writer:
        for start in range(0, rows, ROW_GROUP):
            places = np.arange(start, min(start + ROW_GROUP, rows))
            count, slides = len(places), [f"slide_{at // PATCHES_A_SLIDE}" for at in places]
            chosen = rng.integers(0, len(real), count)
            same = {"cohort": cohort, "patient": "", "mpp": 0.5, "magnification": 20.0}
            same |= {"stain": "H&E", "organ": "", "label": None, "split": "train"}
            same |= {"shard": shard.name, "source_sha256": ""}
            columns = {name: [value] * count for name, value in same.items()}
            columns |= {"key": [f"{cohort}/{at}" for at in places], "x": places, "y": places}
            columns |= {"slide": slides, "source": slides}
            columns |= {name: getattr(real, name)[chosen] for name in ("offset", "length", "crc")}
            columns["pixels_sha256"] = [rng.bytes(32).hex() for _ in places]
            columns["perceptual_hash"] = rng.integers(0, 2**64, count, np.uint64)
            columns |= {name: rng.random(count) for name in records.MOMENT_FIELDS}
            writer.write_table(pyarrow.table(columns, schema=SCHEMA))


def read_first_batch(mix: Path) -> None:
    """Opens the mix and decodes one batch of 512."""
    rows, _ = records.load_mix(mix)
    drawn = partial(order.batch_rows, seed=0, n=len(rows), batch_size=512)
    next(reader.read(rows, drawn, start=0, stop=1))


def measured(name: str, step: Callable[[Any], Any], argument: Any) -> None:
    """Runs `step(argument)` in a process of its own and prints what it took."""
    start = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(name, step, argument))
    process.start()
    process.join()
    wall = time.perf_counter() - start
    print(f"{name}: exit code {process.exitcode}, {wall:.1f} s with the start of its process")


def _run(name: str, step: Callable[[Any], Any], argument: Any) -> None:
    failed = step(argument)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    print(f"{name}: {cpu:.1f} s of CPU, peak {memory:.2f} GiB")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
