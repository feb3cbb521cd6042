"""The command `look`: its flags, and what it prints."""

import argparse
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.maps import colors, look, probe_files
from histo_simclr.maps.probe_files import Probe
from histo_simclr.prepare import slide_list
from histo_simclr.prepare.item import Item

DEFAULTS = look.Settings()
# Of each setting, and why not more: a page is a file that a browser opens at once.
LIMITS = {
    "clusters": (1, len(colors.PALETTE)),
    "near": (1, 20),
    "patches": (1, 20_000),
    "pictures": (0, 2_000),
    "gallery": (1, 2_000_000),
    "seed": (0, 2**31 - 1),
}


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """The flags of `look`."""
    add = sub.add_argument
    add("features", type=Path, help="folder of H5 files: histo-simclr embed's, TRIDENT's, CLAM's")
    add("--out", type=Path, required=True, help="folder to make")
    add("--slides", metavar="DIR", help="folder of the slides, whose tissue is then shown")
    add("--probe", type=Path, metavar="FILE", help="npz of a linear probe: its heat map")
    add(
        "--labels",
        type=Path,
        metavar="RECORD_SET",
        help="fit the probe on a labelled record set, by --checkpoint, and keep it (probe.npz)",
    )
    add("--checkpoint", type=Path, help="the encoder that embedded the slides")
    add("--split", default="train", help="of the record set, which the probe is fitted on")
    add("--clusters", type=int, default=DEFAULTS.clusters, help="of k-means")
    add("--near", type=int, default=DEFAULTS.near, help="nearest patches shown of each")
    add("--patches", type=int, default=DEFAULTS.patches, help="most patches drawn on a page")
    add(
        "--pictures",
        type=int,
        default=DEFAULTS.pictures,
        help="most pictures of patches on a page, those that are neighbors most often",
    )
    add(
        "--gallery",
        type=int,
        default=DEFAULTS.gallery,
        help="most patches of all slides that neighbors are looked for among",
    )
    add("--seed", type=int, default=DEFAULTS.seed, help="of clusters and of what is drawn")


def run(args: argparse.Namespace) -> None:
    """`histo-simclr look` with parsed arguments; prints what was written."""
    settings = look.Settings(**{name: getattr(args, name) for name in LIMITS})
    _check(args)
    places = find_slides(args.slides) if args.slides else {}
    probe, said = _probe(args)
    index = look.look(
        args.features,
        args.out,
        places=places,
        probe=probe,
        said_of_probe=said,
        settings=settings,
    )
    if said:
        print(said)
    print(f"wrote {index}: open it in a browser; {index.parent / look.QUPATH}: for QuPath")


def find_slides(folder: str) -> dict[str, str]:
    """Slide id → file, of all slides in a folder.

    Raises:
      InputError: none there, or two of one id.
    """
    found, _ = slide_list.find([folder], defaults=Item("", ""), pattern="", labels="")
    return {item.slide: str(item.data) for item in found}


def _probe(args: argparse.Namespace) -> tuple[Probe | None, str]:
    if args.probe:
        return probe_files.read(args.probe), f"linear probe of {args.probe.name}"
    if args.labels:
        # Late: it brings JAX's programs and TensorFlow's reader, which maps alone do not need.
        from histo_simclr.maps import probe_fit

        return probe_fit.fit(args.labels, args.checkpoint, split=args.split, seed=args.seed)
    return None, ""


def _check(args: argparse.Namespace) -> None:
    for name, (least, most) in LIMITS.items():
        if not least <= getattr(args, name) <= most:
            raise InputError(
                f"is {getattr(args, name)}",
                where=f"--{name}",
                way_out=f"give {least:,} to {most:,}",
            )
    if args.probe and args.labels:
        raise InputError(
            "is one probe, and --labels fits another", where="--probe", way_out="give one of them"
        )
    if bool(args.labels) != bool(args.checkpoint):
        given, lacks = ("labels", "checkpoint") if args.labels else ("checkpoint", "labels")
        raise InputError(
            f"a probe is fitted by both, and --{lacks} is missing",
            where=f"--{given}",
            way_out=f"add --{lacks}, or leave out --{given}",
        )
