"""Source images → one record set with its manifest, whole or not at all."""

import argparse
import contextlib
import logging
from pathlib import Path
from typing import Any

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import (
    datasheet,
    holdout,
    pool,
    registry,
    slide_flags,
    sources,
    storage,
    whole,
    wording,
)
from histo_simclr.prepare import plan as planning
from histo_simclr.prepare.item import Item
from histo_simclr.prepare.masks import MaskClasses, parse_classes
from histo_simclr.prepare.patches import Cutting
from histo_simclr.prepare.record_set import VERSION, Cohort, RecordSetWriter, slug

log = logging.getLogger(__name__)


def prepare(
    source: list[str],
    *,
    out: Path,
    cohort: Cohort,
    cutting: Cutting,
    defaults: Item,
    pattern: str,
    labels: str,
    max_rejected: float,
    workers: int,
    masks: str = "",
    mask_classes: str = "",
    only: str = "",
    held_out: float = 0.0,
) -> Path:
    """Writes the record set `out`/<slug of the cohort>/1.0.0 and returns its path.

    The bytes written depend on the images and arguments alone, not on `workers`.

    Args:
      source: see `sources.open_source`; several are walked one after the other.
      out: folder of record sets; made when missing.
      cohort: where the data come from.
      cutting: how images become patches.
      defaults: split, stain, organ, mpp (µm/px of the source) and magnification of images that
        say nothing else.
      pattern: path pattern giving label, slide, patient, split, …; may be empty.
      labels: CSV that lists the images of a folder; may be empty.
      max_rejected: share of images that may be left out as unreadable, 0 to 1.
      workers: processes that decode and encode; 1: this one alone.
      masks: where the images' masks lie, see `masks.beside`; empty: a CSV's column says, or none.
      mask_classes: what their values mean, see `masks.parse_classes`; empty: no masks.
      only: pattern of the paths in a folder that are meant; empty: all.
      held_out: share of the images for the test split, see `holdout.with_holdout`; 0: none.

    Raises:
      InputError: bad arguments or source, too many images rejected, the record set exists, or
        it cannot be written. Nothing is left behind then.
    """
    target = Path(out) / slug(cohort.name) / VERSION
    whole.refuse_existing(target, "the record set")
    where = " ".join(source)
    walk = sources.open_sources(
        source, defaults=defaults, pattern=pattern, labels=labels, masks=masks, only=only
    )
    if held_out:
        walk = holdout.with_holdout(walk, held_out, where)
    plan = planning.plan(walk, where)
    classes = _mask_classes(masks, mask_classes, plan, where)
    settings = {
        "sources": [Path(each).resolve().name for each in source],
        "pattern": pattern,
        "labels": Path(labels).name,
        "max_rejected": max_rejected,
    }
    # Only where given: what was prepared without them keeps its bytes.
    masked = {"masks": masks, "mask_classes": mask_classes} if classes is not None else {}
    chosen = {"only": only, "holdout": held_out}
    settings |= masked | {name: value for name, value in chosen.items() if value}
    with whole.new_folder(target, beside=Path(out)) as folder:
        writer = RecordSetWriter(
            folder, target.parent.name, cohort, cutting, plan, classes and classes.names
        )
        with contextlib.closing(writer):
            results = pool.in_order(walk, cutting, workers, classes)
            writer.write(results, where=where, max_rejected=max_rejected)
            writer.finish(where, settings)
        datasheet.of_record_set(folder, _command(settings, cohort, cutting, defaults))
    return target


# Share of images; more is more often a wrong folder than bad luck.
MAX_REJECTED = 0.05


def _mask_classes(
    masks: str, mask_classes: str, plan: planning.Plan, where: str
) -> MaskClasses | None:
    if masks and not mask_classes:
        raise InputError(
            "given without --mask-classes, which says what the masks' values mean",
            where="--masks",
            way_out="add e.g. --mask-classes background,gland",
        )
    if not mask_classes:
        if plan.masks:
            log.warning("%s: masks are left out; --mask-classes would read them", where)
        return None
    classes = parse_classes(mask_classes)
    if not plan.masks:
        raise InputError(
            "no image has a mask",
            where=where,
            way_out="say where by --masks '../masks/{folder}/{stem}.png', or in a CSV column mask",
        )
    return classes


def _command(settings: dict[str, Any], cohort: Cohort, cutting: Cutting, defaults: Item) -> str:
    """The command that makes the record set again, without folders of this machine."""
    known = ("mpp", "magnification", "organ", "stain", "split")
    flags = {"--name": cohort.name, "--out": "RECORDS", "--px": cutting.px, "--cut": cutting.cut}
    flags |= {f"--{name}": getattr(defaults, name) or None for name in known}
    flags |= {"--pattern": settings["pattern"], "--labels": settings["labels"]}
    if "mask_classes" in settings:
        flags |= {"--masks": settings["masks"], "--mask-classes": settings["mask_classes"]}
    flags |= {f"--{name}": settings[name] for name in ("only", "holdout") if name in settings}
    flags |= {"--license": cohort.license, "--commercial-use": cohort.commercial_use}
    flags |= {"--citation": cohort.citation, "--url": cohort.url}
    flags |= {"--encoding": cutting.encoding, "--quality": cutting.quality}
    flags |= {"--max-rejected": settings["max_rejected"]}
    return wording.command("prepare", settings["sources"], flags)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `histo-simclr prepare`."""
    add = parser.add_argument
    add("source", nargs="+", metavar="SOURCE", help="folder, .csv, TFDS folder, tfds:NAME; slides")
    add("--name", required=True, help="the cohort's name")
    add(
        "--out",
        required=True,
        type=storage.local_path,
        help="folder of record sets; NAME/1.0.0 is made in it",
    )
    add("--px", type=int, default=224, help="side of the stored patches")
    add("--cut", type=int, help="source pixels that a patch's side covers; as --px when not given")
    known = parser.add_argument_group("what is known of all images; a CSV's columns go before it")
    known.add_argument("--mpp", default="", help="µm/px of the source images; see also --slides")
    known.add_argument("--magnification", type=float, default=0.0, help="objective power")
    known.add_argument("--organ", default="", help="e.g. breast")
    known.add_argument("--stain", default="", help="e.g. H&E")
    known.add_argument("--split", default="train", help="where all images belong")
    add("--pattern", default="", help="what the paths say, e.g. '{split}/{label}/{slide}_{}.png'")
    add("--only", default="", help="of a folder, take these alone, e.g. '**/40X/*'")
    add(
        "--labels", default="", help="CSV: path, and any of label, target, split, slide, patient, …"
    )
    add(
        "--holdout",
        type=float,
        default=0.0,
        help="share for split test, by patient, else slide, else image, of each class; 0: none",
    )
    add("--masks", default="", help="path of an image's mask, e.g. '../masks/{folder}/{stem}.png'")
    add("--mask-classes", default="", help="e.g. background,gland or nothing=0,nucleus=1-65535")
    add("--license", default="", help="e.g. 'CC BY 4.0'")
    add("--commercial-use", choices=("yes", "no", "unknown"), default="unknown")
    add("--citation", default="", help="whom to credit")
    add("--url", default="", help="where the data came from")
    add("--encoding", choices=("jpeg", "png"), default="jpeg", help="of patches cut or resampled")
    add("--quality", type=int, default=90, help="of JPEG, 4:2:0")
    add(
        "--max-rejected",
        type=float,
        help=f"share of images that may be unusable ({MAX_REJECTED:g})",
    )
    add("--workers", type=int, default=0, help="processes; 0: one a core, or as --runner likes")
    slide_flags.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """`histo-simclr prepare` with parsed arguments; prints what was written."""
    cut = args.px if args.cut is None else args.cut
    max_rejected = MAX_REJECTED if args.max_rejected is None else args.max_rejected
    mpp = 0.0 if args.slides else _mpp(args.mpp)
    limits = [("--px", args.px, 8, 4096), ("--cut", cut, 8, 65536)]
    limits += [("--quality", args.quality, 1, 95), ("--max-rejected", max_rejected, 0, 1)]
    limits += [("--workers", args.workers, 0, 1024), ("--mpp", mpp, 0, 1000)]
    limits += [
        ("--magnification", args.magnification, 0, 1000),
        ("--holdout", args.holdout, 0, 0.9),
    ]
    for flag, value, low, high in limits:
        if not low <= value <= high:
            raise InputError(f"{value}", where=flag, way_out=f"give {low} to {high}")
    _warn_of_a_slip(args.name)
    cohort = Cohort(args.name, args.license, args.commercial_use, args.citation, args.url)
    cutting = Cutting(args.px, cut, args.encoding, args.quality)
    defaults = Item("", "", split=args.split, stain=args.stain, organ=args.organ)
    if args.slides and (args.masks or args.mask_classes):
        raise InputError(
            "masks of whole slides are not read",
            where="--masks, --mask-classes",
            way_out="cut slides and masks into images first",
        )
    if args.slides:
        slide_flags.run(args, cohort, cutting, defaults)
        return
    slide_flags.refuse_without_slides(args)
    path = prepare(
        args.source,
        out=args.out,
        cohort=cohort,
        cutting=cutting,
        defaults=defaults._replace(mpp=mpp, magnification=args.magnification),
        pattern=args.pattern,
        labels=args.labels,
        max_rejected=max_rejected,
        workers=args.workers or pool.cores(),
        masks=args.masks,
        mask_classes=args.mask_classes,
        only=args.only,
        held_out=args.holdout,
    )
    info = records.read_json(path / "record_set.json")
    counts = ", ".join(f"{count:,} {split}" for split, count in info["counts"].items())
    print(f"{path}: {counts} patches of {info['px']} px; {info['rejected']} images rejected")
    if info["rejected"]:
        print(f"why: {path / 'rejected.csv'}")


def _warn_of_a_slip(name: str) -> None:
    """A line on stderr where a cohort's name is nearly one of the registry; it may be a new one."""
    try:
        near = registry.resembling(name, registry.load())
    except InputError:  # no registry, or a damaged one: mix, which needs it, says so
        return
    if near:
        log.warning("--name: %r is not in the registry; did you mean %s?", name, near)


def _mpp(text: str) -> float:
    try:
        return float(text or 0)
    except ValueError:
        raise InputError(
            f"{text!r} is no number",
            where="--mpp",
            way_out="give the µm/px of the images; several only with --slides",
        ) from None
