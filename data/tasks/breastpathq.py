"""BreastPathQ's two tables of cellularity → the CSV that `histo-simclr prepare` reads.

  python data/tasks/breastpathq.py RAW OUT.csv

RAW holds the unpacked breastpathq.zip (datasets/train, datasets/validation, train_labels.csv) and
val_labels.csv, which came later; both may lie deeper. Columns of the tables: slide, rid, and one
score (train) or those of two pathologists (validation), which are averaged.
"""

import argparse
import csv
from pathlib import Path


def main() -> None:
    """Writes path, split, slide, target; paths are relative to RAW."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    parts = (("train", "train_labels.csv", "train"), ("test", "val_labels.csv", "validation"))
    with open(args.out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "split", "slide", "target"])
        for split, table, folder in parts:
            writer.writerows(rows(args.raw, split, table, folder))


def rows(raw: Path, split: str, table: str, folder: str) -> list[list[str]]:
    """(path, split, slide, target) of each line of one table, images in folders of that name."""
    paths = sorted(raw.rglob(f"{folder}/*.tif"))
    images = {path.stem: path.relative_to(raw).as_posix() for path in paths}
    found = next(iter(sorted(raw.rglob(table))), None)
    if found is None:
        raise SystemExit(f"error: no {table} in {raw}; it comes with the download")
    with open(found, newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))[1:]
    made = []
    for number, (slide, region, *scores) in enumerate(lines, 2):
        name = f"{slide}_{region}"
        if name not in images or not scores:
            raise SystemExit(f"error: {found}:{number}: no image {folder}/{name}.tif, or no score")
        target = sum(map(float, scores)) / len(scores)
        made.append([images[name], split, slide, f"{target:g}"])
    return made


if __name__ == "__main__":
    main()
