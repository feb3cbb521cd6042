"""`histo-simclr embed`: its flags, and what it says at the end."""

import argparse
import os
from typing import Any

from histo_simclr import tables
from histo_simclr.embed import also, layouts, shares
from histo_simclr.embed.options import DTYPES, Options
from histo_simclr.errors import InputError
from histo_simclr.prepare import slide_flags, storage
from histo_simclr.prepare.slide_table import NO_MPP, NO_TISSUE, OK

_DEFAULTS = Options()
_LISTED = 20  # slides that are named when they failed
# Options that have a flag of the same name; the others need a word more.
_SAME = ("mpp", "px", "overlap", "tissue", "mpp_table", "regions", "layout", "dtype")
_SAME += ("batch_size", "workers", "silence", "retry_failed", "name")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.set_defaults(**{name: getattr(_DEFAULTS, name) for name in _SAME}, keep="")
    add = parser.add_argument
    add("slides", nargs="+", help="slide files, folders of them, CSVs with a column `path`")
    add(
        "--checkpoint",
        required=True,
        help="workdir, one step's folder, imported folder, exported file or folder",
    )
    add("--out", required=True, type=storage.local_path, help="folder for the results")
    group = parser.add_argument_group("which patches")
    add = group.add_argument
    add("--mpp", type=float, help="µm/px; 0: the only one that the encoder was trained on")
    add("--px", type=int, help="side, which the encoder sees as it is; 0: that it was trained on")
    add("--overlap", type=int, metavar="PX", help="that neighbors share")
    slide_flags.add_arguments_of_tissue(group)
    group = parser.add_argument_group("what is written")
    add = group.add_argument
    add("--layout", choices=layouts.LAYOUTS, help="whose folders, names and attributes")
    add("--also", default="", metavar="FORMATS", help=f"beside HDF5: {','.join(also.ASKED)}")
    add("--dtype", choices=DTYPES, help="of the features in the files")
    add("--name", help="of the encoder in names of folders; '': histo_simclr_ARCH")
    group = parser.add_argument_group("how")
    add = group.add_argument
    add("--batch-size", type=int, help="patches on the devices at a time; 0: 256, or 64 on a CPU")
    add("--workers", type=int, help="processes that read; 0: one a core, on a CPU for two cores")
    add(
        "--share",
        default="",
        metavar="I/N",
        help="only every Nth slide from the Ith on; '': that of the Slurm array's task, or all",
    )
    add("--retry-failed", action="store_true", help="try slides again that failed before")


def run(args: argparse.Namespace) -> None:
    """`histo-simclr embed` with parsed arguments.

    Raises:
      InputError: as `program.embed`; at the end, when there are slides that gave no features.
    """
    from histo_simclr.embed import program

    share = shares.parse(args.share) if args.share else shares.from_environment(os.environ)
    done = program.embed_slides(
        args.slides,
        args.checkpoint,
        args.out,
        **{name: getattr(args, name) for name in _SAME},
        keep=slide_flags.causes(args.keep),
        also=tuple(filter(None, args.also.split(","))),
        share=share,
    )
    print("\n".join(_summary(done)))
    _refuse_failures(done)


def _summary(done: dict[str, Any]) -> list[str]:
    statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(done["slides"].items()))
    kept = f"; {done['kept']:,} of them by an earlier run" if done["kept"] else ""
    lines = [f"slides: {statuses}{kept}"]
    lines += [f"warning: {end['wsi']}: {end['warning']}" for end in done["ends"] if end["warning"]]
    if done["patches"]:
        lines += _times(done)
    lines.append(f"features: {done['features']}")
    lines.append(f"how each slide ended: {done['table']}")
    lines.append(f"next: histo-simclr look {done['features']} --slides SLIDES --out LOOK")
    return lines


def _times(done: dict[str, Any]) -> list[str]:
    seconds, patches = done["seconds"], done["patches"]
    rows = [["", "seconds", "patches/s"]]
    told = {"read": "read (all readers)", "encode": "encode", "write": "write", "wall": "in all"}
    for name, text in told.items():
        rate = patches / seconds[name] if seconds[name] else 0.0
        rows.append([text, f"{seconds[name]:,.1f}", f"{rate:,.0f}"])
    return [
        *tables.aligned(rows, right=(1, 2)),
        f"{patches:,} patches; the encoder was busy {done['busy']:.0%} of the time, "
        f"after {seconds['compile']:.1f} s of compiling",
    ]


def _refuse_failures(done: dict[str, Any]) -> None:
    bad = [end for end in done["ends"] if end["status"] not in (OK, NO_TISSUE)]
    if not bad:
        return
    ways = ["--retry-failed tries them again"]
    if any(end["status"] == NO_MPP for end in bad):
        ways.insert(0, "give --mpp-table a CSV `wsi,mpp` for those without µm/px")
    more = [f"… and {len(bad) - _LISTED:,} more"] if len(bad) > _LISTED else []
    raise InputError(
        f"{len(bad):,} of {len(done['ends']):,} slides gave no features, the others are done",
        where=done["table"],
        way_out="; ".join(ways),
        listed=[*(f"{e['wsi']}: {e['status']}: {e['reason']}" for e in bad[:_LISTED]), *more],
    )
