"""Flags of `histo-simclr prepare --slides`: what they are called, what they may be."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import (
    engine,
    pool,
    slide_list,
    slide_table,
    slides,
    storage,
    wording,
)
from histo_simclr.prepare.engine import Engine
from histo_simclr.prepare.inspection import Slides
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.patches import Cutting
from histo_simclr.prepare.record_set import Cohort
from histo_simclr.prepare.survey import Sampling
from histo_simclr.slides import regions, resolution, tissue
from histo_simclr.slides.grid import Target

# Flags that mean nothing without --slides, with their defaults.
DEFAULTS = {
    "patches": 1000,  # a slide, as in the paper
    "tissue": 0.5,
    "seed": 1,
    "overlap": False,
    "keep": "",
    "mpp_table": None,
    "skip_no_mpp": False,
    "regions": None,
    "plan_only": False,
    "plan": None,
    "silence": 600.0,
    "runner": None,
    "beam_options": "",
    "parts": None,
}
# Flags that a plan has settled.
_PLANNED = ("mpp", "plan_only", "patches", "tissue", "seed", "overlap", "keep", "mpp_table")
_PLANNED += ("regions", "skip_no_mpp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags as a group of their own."""
    parser.set_defaults(**DEFAULTS)
    group = parser.add_argument_group("whole slides")
    add = group.add_argument
    add(
        "--slides",
        action="store_true",
        help="the sources are whole slides; --mpp is then that of "
        "the patches to read, e.g. 0.5, or 0.25,0.5,1.0 evenly, or 0.25,0.5,1.0:2,1,1 by shares",
    )
    add("--patches", type=int, help="of a slide, at most")
    add_arguments_of_tissue(group)
    add("--seed", type=int, help="with the slide's id it decides which places are drawn")
    add("--overlap", action="store_true", help="patches of one µm/px may cover those of another")
    add("--skip-no-mpp", action="store_true", help="set slides without mpp aside, do not stop")
    add("--plan-only", action="store_true", help="choose the places, read no patches")
    add(
        "--plan",
        type=storage.local_path,
        metavar="FILE",
        help="plan.parquet or .csv: read these places",
    )
    add(
        "--runner",
        metavar="NAME",
        help="where the work is done: local (processes of this machine), embedded (the same under "
        "Apache Beam; the default where Beam is installed), or a runner of Beam's: "
        "DataflowRunner, FlinkRunner, SparkRunner, PortableRunner …",
    )
    add("--beam-options", metavar="OPTIONS", help="of that runner: '--name=value …'")
    add(
        "--parts",
        metavar="DIR",
        help="where finished slides wait until all are: a folder that every worker reaches, "
        "perhaps gs://… (default: beside the result)",
    )


def add_arguments_of_tissue(group: argparse._ArgumentGroup) -> None:
    """Adds the flags of every command that looks for tissue; without their defaults."""
    add = group.add_argument
    add("--tissue", type=float, help="least share of a patch that is tissue")
    add("--keep", metavar="CAUSES", help=f"do not remove these: {','.join(tissue.CAUSES)}")
    add(
        "--mpp-table",
        type=storage.local_path,
        metavar="CSV",
        help="wsi,mpp: goes before what the files say",
    )
    add(
        "--regions",
        type=storage.local_path,
        metavar="DIR",
        help="SLIDE.geojson (QuPath) or SLIDE.png: where the tissue is, instead of the rules",
    )
    add(
        "--silence",
        type=float,
        metavar="SECONDS",
        help="a slide whose reader says nothing for so long is set aside",
    )


def causes(text: str) -> tuple[str, ...]:
    """What `--keep` names, causes of slides.tissue.CAUSES; InputError for another."""
    found = tuple(filter(None, text.split(",")))
    for cause in found:
        if cause not in tissue.CAUSES:
            raise InputError(
                f"no cause {cause!r}", where="--keep", way_out=f"use {', '.join(tissue.CAUSES)}"
            )
    return found


def refuse_without_slides(args: argparse.Namespace) -> None:
    """InputError if a flag of whole slides was given without --slides."""
    for name, value in DEFAULTS.items():
        if getattr(args, name) != value:
            flag = f"--{name.replace('_', '-')}"
            raise InputError("is about whole slides", where=flag, way_out="add --slides")


def run(args: argparse.Namespace, cohort: Cohort, cutting: Cutting, defaults: Item) -> None:
    """`histo-simclr prepare --slides` with parsed arguments; prints what was written."""
    where = " ".join(args.source)
    _check(args)
    items, set_aside = slide_list.find(
        args.source,
        defaults=defaults,
        pattern=args.pattern,
        labels=args.labels,
        only=args.only,
        held_out=args.holdout,
    )
    found = Slides(
        # Absolute: a worker of a cluster may stand in another folder.
        items=[item._replace(data=storage.absolute(item.data)) for item in items],
        set_aside=set_aside,
        mpp=resolution.read_table(args.mpp_table) if args.mpp_table else {},
        regions=args.regions and args.regions.absolute(),
        skip_no_mpp=args.skip_no_mpp,
        engine=_engine(args),
        parts=args.parts and storage.absolute(args.parts),
    )
    if args.plan:
        found = slides.follow(found, args.plan, cutting.px, where)
    else:
        warn_of_unused(found, args.mpp_table)
    settings = {"sources": [Path(each).resolve().name for each in args.source]} | _settings(args)
    path = slides.prepare(
        found,
        out=args.out,
        cohort=cohort,
        cutting=cutting,
        sampling=Sampling(
            targets=() if args.plan else targets(args.mpp),
            count=args.patches,
            least_tissue=args.tissue,
            may_overlap=args.overlap,
            seed=args.seed,
            keep=causes(args.keep),
        ),
        plan=args.plan,
        plan_only=args.plan_only,
        where=where,
        settings=settings,
        made_by=_command(args, cohort, cutting, defaults, settings),
    )
    print(slide_table.say(records.read_json(path / "summary.json")))
    print(f"wrote {path}: {', '.join(sorted(each.name for each in path.iterdir()))}")
    if args.plan_only:
        print(f"next: histo-simclr prepare … --slides --plan {path / 'plan.parquet'}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that decide the records, without folders of this machine."""
    # Only where given: what was prepared without them keeps its bytes.
    chosen = {name: getattr(args, name) for name in ("only", "holdout") if getattr(args, name)}
    if args.plan:
        return {"plan": args.plan.name} | chosen
    names = ("mpp", "patches", "tissue", "seed", "overlap", "keep", "skip_no_mpp")
    settings = {name: getattr(args, name) for name in names}
    settings["mpp_table"] = args.mpp_table and args.mpp_table.name
    settings["regions"] = args.regions and args.regions.name
    return settings | chosen


def warn_of_unused(slides: Slides, mpp_table: Path | None) -> None:
    """Says what the user gave that no slide takes: a slip in a name, more often than not."""
    names = {name for item in slides.items for name in (item.name, item.slide)}
    unknown = [name for name in slides.mpp if name not in names]
    if unknown:
        print(f"{mpp_table}: no slide is named {', '.join(unknown[:5])}", file=sys.stderr)
    if slides.regions is None:
        return
    ids = {item.slide for item in slides.items}
    files = [path for path in slides.regions.iterdir() if path.suffix in regions.SUFFIXES]
    strange = sorted(path.name for path in files if path.stem not in ids)
    if strange:
        said = ", ".join(strange[:5])
        print(f"{slides.regions}: {len(strange)} files fit no slide, e.g. {said}", file=sys.stderr)


def _command(
    args: argparse.Namespace,
    cohort: Cohort,
    cutting: Cutting,
    defaults: Item,
    settings: dict[str, Any],
) -> str:
    """The command that makes the record set again, without folders of this machine."""
    flags = {"--slides": True, "--name": cohort.name, "--out": "RECORDS", "--px": cutting.px}
    flags |= {
        f"--{name.replace('_', '-')}": value
        for name, value in settings.items()
        if name != "sources"
    }
    flags |= {f"--{name}": getattr(defaults, name) for name in ("organ", "stain", "split")}
    flags |= {"--pattern": args.pattern, "--labels": Path(args.labels or "").name}
    flags |= {"--license": cohort.license, "--commercial-use": cohort.commercial_use}
    flags |= {"--citation": cohort.citation, "--url": cohort.url}
    flags |= {"--encoding": cutting.encoding, "--quality": cutting.quality}
    return wording.command("prepare", settings["sources"], flags)


def targets(text: str) -> tuple[Target, ...]:
    """`0.25,0.5:3,1` → 0.25 and 0.5 µm/px with shares 3 and 1; even shares when none are given.

    Raises:
      InputError: not of that form, absurd, as many shares as µm/px not given, or a µm/px twice.
    """
    way_out = (
        f"give the µm/px of the patches, {resolution.SMALLEST:g} to {resolution.LARGEST:g}, and "
        "perhaps their shares, above 0: 0.5, or 0.25,0.5,1.0, or 0.25,0.5,1.0:2,1,1"
    )
    left, colon, right = text.partition(":")
    try:
        mpps = [float(each) for each in left.split(",")]
        shares = [float(each) for each in right.split(",")] if colon else [1.0] * len(mpps)
    except ValueError:
        said = repr(text) if text else "not given"
        raise InputError(said, where="--mpp", way_out=way_out) from None
    is_sensible = all(resolution.SMALLEST <= each <= resolution.LARGEST for each in mpps)
    if not (is_sensible and all(0 < each < 1e6 for each in shares) and len(shares) == len(mpps)):
        raise InputError(repr(text), where="--mpp", way_out=way_out)
    if len(set(mpps)) < len(mpps):
        raise InputError(f"{text!r} has one twice", where="--mpp", way_out="give each once")
    return tuple(Target(*each) for each in zip(mpps, shares, strict=True))


def _engine(args: argparse.Namespace) -> Engine:
    runner = args.runner or engine.default_runner()
    try:
        options = tuple(shlex.split(args.beam_options))
    except ValueError as error:
        raise InputError(
            f"{args.beam_options!r} ({error})", where="--beam-options", way_out="close the quotes"
        ) from None
    if options and runner == engine.LOCAL:
        raise InputError(
            "are about Apache Beam", where="--beam-options", way_out="name a --runner too"
        )
    workers = args.workers or (pool.cores() if runner in (engine.LOCAL, engine.EMBEDDED) else 1)
    return Engine(runner, options, workers, args.silence)


def _check(args: argparse.Namespace) -> None:
    limits = [("--patches", args.patches, 1, 10**7), ("--tissue", args.tissue, 0, 1)]
    limits += [("--silence", args.silence, 1, 10**6), ("--seed", args.seed, 0, 2**63 - 1)]
    for flag, value, low, high in limits:
        if not low <= value <= high:
            raise InputError(f"{value}", where=flag, way_out=f"give {low} to {high}")
    causes(args.keep)
    if args.regions and not args.regions.is_dir():
        raise InputError("no such folder", where=args.regions, way_out="give --regions a folder")
    for flag, value, default in (
        ("--cut", args.cut, None),
        ("--magnification", args.magnification, 0.0),
        ("--max-rejected", args.max_rejected, None),
    ):
        if value != default:
            raise InputError("is about patch images", where=flag, way_out="leave it out")
    if args.plan:
        given = [name for name in _PLANNED if getattr(args, name) != DEFAULTS.get(name, "")]
        if given:
            flag = f"--{given[0].replace('_', '-')}"
            raise InputError(
                "a plan to follow says the places, their mpp and that of the slides",
                where=flag,
                way_out="leave it out, or --plan",
            )
