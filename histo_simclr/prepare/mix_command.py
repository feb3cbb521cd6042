"""`histo-simclr mix`: its arguments, and what it prints."""

import argparse
from pathlib import Path
from typing import Any

from histo_simclr import records, tables
from histo_simclr.prepare import cohort_choice, mix, mix_settings, relatives, selection, wording
from histo_simclr.prepare import recipe as recipes

# Columns that are printed only if a cohort has such rows.
_SOMETIMES = ("excluded", "other_mpp", "near_duplicates", "over_slide_cap")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `histo-simclr mix`."""
    add = parser.add_argument
    add("records", nargs="+", metavar="RECORDS", help="record sets of prepare, or folders of these")
    add("--out", required=True, type=Path, help="folder of the mix, made")
    recipe_help = "file of the settings below, e.g. data/mixes/paper57.yaml; flags win"
    add("--recipe", type=Path, default=argparse.SUPPRESS, metavar="YAML", help=recipe_help)
    mix_settings.add_flags(parser)


def run(args: argparse.Namespace) -> None:
    """`histo-simclr mix` with parsed arguments; prints the counts of each cohort."""
    given = {name: value for name, value in vars(args).items() if name in mix_settings.SETTINGS}
    recipe = recipes.read(args.recipe) if "recipe" in args else None
    settings, where = recipes.settle(given, recipe)
    paths = [found for path in args.records for found in records.find_record_sets(path)]
    choice = None
    if settings["cohorts"] or settings["without"] or settings["cohort_count"]:
        paths, choice = cohort_choice.choose(
            paths,
            settings["cohorts"],
            settings["without"],
            settings["cohort_count"],
            seed=settings["seed"],
            skip_missing=settings["skip_missing"],
            registered=relatives.known().cohorts,
            where=where,
        )
    path = mix.mix(
        paths,
        out=args.out,
        size=settings["size"],
        draw=settings["draw"],
        px=settings["px"],
        seed=settings["seed"],
        stain_patches=settings["stain_patches"],
        rules=mix.Rules(
            mpp=settings["mpp"],
            max_per_slide=settings["max_per_slide"],
            max_per_cohort=settings["max_per_cohort"],
            exclude=settings["exclude"],
            allow_unmatched=settings["allow_unmatched"],
            evaluate_on=settings["evaluate_on"],
            allow_overlap=settings["allow_overlap"],
            commercial_ok=settings["commercial_ok"],
            near=settings["near_duplicates"],
            near_bits=settings["near_bits"],
        ),
        recipe=recipe and recipe.to_json(),
        choice=choice and choice._asdict(),
    )
    _print(records.read_json(path / "mix.json"), args.out)


def _print(info: dict[str, Any], out: Path) -> None:
    _print_cohorts(info["cohorts"])
    print(f"draw: {wording.drawn(info)}")
    if choice := info["choice"]:
        for what, names in (("missing", choice["missing"]), ("not asked for", choice["not_named"])):
            if names:
                print(f"{what}: {len(names)} cohorts ({', '.join(names)})")
    for each in info["left_out"]:
        print(f"left out: {each['cohort']} ({each['license'] or 'no licence stated'})")
    for sentence in info["evaluation_overlaps"]:
        print(f"overlap allowed: {sentence}")
    if names := info["unregistered_cohorts"]:
        print(f"{wording.UNREGISTERED}: {', '.join(names)}")
    if "near_duplicates" in info:
        print(f"{wording.near_duplicates(info)}: {out / 'near_duplicates.csv'}")
    mean, std = (
        " ".join(f"{value:.4f}" for value in info["statistics"][name]) for name in ("mean", "std")
    )
    print(f"{out}: {info['size']:,} patches of {info['px']} px; mean {mean}, std {std}")
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
