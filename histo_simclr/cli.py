"""`histo-simclr COMMAND`: one function a command, each importing its module when called."""

import argparse
import logging
import os
import sys
from pathlib import Path

from histo_simclr.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0 on success, 2 after one clear line about bad input, 130 after Ctrl-C."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # which it announces; we only decode by it
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        args = parser(command_of(arguments)).parse_args(arguments)
        args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def command_of(arguments: list[str] | None) -> str | None:
    """The command named on the command line, so that only its module is imported."""
    given = sys.argv[1:] if arguments is None else arguments
    return given[0] if given and given[0] in COMMANDS else None


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; the arguments of `only` are filled in, or all without it."""
    top = argparse.ArgumentParser(prog="histo-simclr", description=__doc__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (add_arguments, summary) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        if only in (None, name):
            add_arguments(sub)
    return top


def _datasets(sub: argparse.ArgumentParser) -> None:
    from histo_simclr.prepare import datasets

    datasets.add_arguments(sub)
    sub.set_defaults(run=datasets.run)


def _prepare(sub: argparse.ArgumentParser) -> None:
    from histo_simclr.prepare import write

    write.add_arguments(sub)
    sub.set_defaults(run=write.run)


def _mix(sub: argparse.ArgumentParser) -> None:
    from histo_simclr.prepare import mix_command

    mix_command.add_arguments(sub)
    sub.set_defaults(run=mix_command.run)


def _views(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("mix", type=Path, help="folder written by `histo-simclr mix`")
    sub.add_argument("--out", type=Path, required=True, help="PNG to write")
    sub.add_argument("--config", default="configs/resnet18_mix.py", help="NAME.py[:preset]")
    sub.add_argument("--patches", type=_count, default=8, help="rows of the picture")
    sub.add_argument("--pairs", type=_count, default=4, help="pairs of views beside each patch")
    sub.add_argument("--seed", type=_count, default=1, help="chooses patches and views")
    sub.set_defaults(run=_write_views)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def _write_views(args: argparse.Namespace) -> None:
    from histo_simclr import config, records
    from histo_simclr.pretrain import preview

    recipe = config.load(args.config, program="pretrain")
    rows, _ = records.load_mix(args.mix)
    if args.patches > len(rows):
        raise InputError(
            f"{args.patches} patches wanted, the mix holds {len(rows)}",
            where="--patches",
            way_out="ask for fewer",
        )
    preview.write_views(
        rows,
        recipe.views,
        args.out,
        patches=args.patches,
        pairs=args.pairs,
        seed=args.seed,
        max_corrupt=recipe.data.max_corrupt,
    )
    print(f"wrote {args.out}: {args.patches} patches, {args.pairs} pairs of views of each")


def _import(sub: argparse.ArgumentParser) -> None:
    from histo_simclr.weights import importing

    importing.add_arguments(sub)
    sub.set_defaults(run=importing.run)


def _bench(sub: argparse.ArgumentParser) -> None:
    from histo_simclr import bench

    bench.add_arguments(sub)
    sub.set_defaults(run=bench.run)


def _experiment(sub: argparse.ArgumentParser) -> None:
    from histo_simclr.experiment import command

    command.add_arguments(sub)
    sub.set_defaults(run=command.run)


def _embed(sub: argparse.ArgumentParser) -> None:
    from histo_simclr.embed import command

    command.add_arguments(sub)
    sub.set_defaults(run=command.run)


COMMANDS = {
    "datasets": (_datasets, "the registry of cohorts: list, show, check a data directory"),
    "prepare": (_prepare, "patch images or a TFDS set → a record set"),
    "mix": (_mix, "record sets → a mix: which patches to pretrain on"),
    "views": (_views, "a picture of patches beside their views"),
    "import": (_import, "weights that others made → a checkpoint"),
    "embed": (_embed, "slides → features in HDF5, as TRIDENT and CLAM have them"),
    "experiment": (_experiment, "the paper's experiments: run or print their commands, collect"),
    "bench": (_bench, "how fast input, views, step and probe run here; what the step costs"),
}
