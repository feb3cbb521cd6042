"""`histo-simclr mix`: its arguments, and what it prints."""

import argparse
from pathlib import Path
from typing import Any

from histo_simclr import records, tables
from histo_simclr.errors import InputError
from histo_simclr.prepare import mix, near, selection

# Columns that are printed only if a cohort has such rows.
_SOMETIMES = ("excluded", "near_duplicates", "over_slide_cap")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `histo-simclr mix`."""
    add = parser.add_argument
    add("records", nargs="+", metavar="RECORDS", help="record sets that prepare wrote")
    add("--out", required=True, type=Path, help="folder of the mix, made")
    add("--size", required=True, type=int, help="patches to draw")
    add("--draw", default="even", help="even | proportional | tempered:ALPHA")
    add("--px", type=int, help="side that the patches must have")
    add("--seed", type=int, default=0, help="of the choice within each cohort")
    add("--stain-patches", type=int, default=mix.STAIN_PATCHES, help="a cohort, measured; 0: none")
    add = parser.add_argument_group("what to leave out").add_argument
    add("--max-per-slide", type=int, help="patches of one slide at most")
    add("--max-per-cohort", type=int, help="patches of one cohort at most")
    add("--exclude", type=Path, metavar="CSV", help="columns kind (cohort|patient|slide), name")
    add("--allow-unmatched", action="store_true", help="names in that list that are nowhere")
    add("--evaluate-on", nargs="+", default=[], metavar="COHORT", help="keep these, and their kin")
    add("--allow-overlap", action="store_true", help="draw even from cohorts evaluated on")
    add("--commercial-ok", action="store_true", help="only cohorts whose terms allow it")
    add("--near-duplicates", choices=("off", "report", "drop"), default="report")
    add("--near-bits", type=int, default=mix.NEAR_BITS, help="of 64, in which these may differ")


def run(args: argparse.Namespace) -> None:
    """`histo-simclr mix` with parsed arguments; prints the counts of each cohort."""
    limits = [("--seed", args.seed, 0, None), ("--stain-patches", args.stain_patches, 0, None)]
    limits += [("--near-bits", args.near_bits, 1, near.MAX_DISTANCE)]
    caps = (("--max-per-slide", args.max_per_slide), ("--max-per-cohort", args.max_per_cohort))
    limits += [(flag, value, 1, None) for flag, value in caps if value is not None]
    for flag, value, low, high in limits:
        if value < low or (high is not None and value > high):
            way_out = f"give {low} or more" if high is None else f"give {low} to {high}"
            raise InputError(f"{value}", where=flag, way_out=way_out)
    path = mix.mix(
        args.records,
        out=args.out,
        size=args.size,
        draw=args.draw,
        px=args.px,
        seed=args.seed,
        stain_patches=args.stain_patches,
        rules=mix.Rules(
            max_per_slide=args.max_per_slide,
            max_per_cohort=args.max_per_cohort,
            exclude=args.exclude,
            allow_unmatched=args.allow_unmatched,
            evaluate_on=tuple(args.evaluate_on),
            allow_overlap=args.allow_overlap,
            commercial_ok=args.commercial_ok,
            near=args.near_duplicates,
            near_bits=args.near_bits,
        ),
    )
    info = records.read_json(path / "mix.json")
    _print_cohorts(info["cohorts"])
    for each in info["left_out"]:
        print(f"left out: {each['cohort']} ({each['license'] or 'no licence stated'})")
    for sentence in info["evaluation_overlaps"]:
        print(f"overlap allowed: {sentence}")
    if "near_duplicates" in info:
        pairs = sum(info["near_duplicates"].values())
        print(f"{pairs:,} pairs of near-duplicates: {args.out / 'near_duplicates.csv'}")
    mean, std = (
        " ".join(f"{value:.4f}" for value in info["statistics"][name]) for name in ("mean", "std")
    )
    print(f"{args.out}: {info['size']:,} patches of {info['px']} px; mean {mean}, std {std}")
    print(f"commercial use: {info['commercial_use']}; {info['commercial_use_because']}")
    print(f"digest {info['digest'][:16]}")


def _print_cohorts(cohorts: dict[str, dict[str, Any]]) -> None:
    counted = [
        name
        for name in selection.COUNTED
        if name not in _SOMETIMES or any(each[name] for each in cohorts.values())
    ]
    numbers = {"rows": "drawn", "available": "available"}
    numbers |= {name: name.replace("_", " ") for name in counted}
    words = ("organ", "stain", "license")
    table = [("cohort", *numbers.values(), *words)]
    for name, each in cohorts.items():
        counts = (f"{each[number]:,}" for number in numbers)
        table.append((name, *counts, *(each[word] or "?" for word in words)))
    print(*tables.aligned(table, right=range(1, 1 + len(numbers))), sep="\n")
