"""`histo-simclr COMMAND`: a table of commands, each imported when it is called."""

import argparse
import importlib
import logging
import os
import sys

from histo_simclr import out_of_memory
from histo_simclr.errors import InputError

# name → module with `add_arguments` and `run`, and what it does; data flows down the list.
COMMANDS = {
    "datasets": ("prepare.datasets", "the registry of cohorts: list, show, check a data directory"),
    "prepare": ("prepare.write", "patch images, whole slides or a TFDS set → a record set"),
    "mix": ("prepare.mix_command", "record sets → a mix: which patches to pretrain on"),
    "views": ("pretrain.views_command", "a picture of patches beside their views"),
    "import": ("weights.importing", "weights that others made → a checkpoint"),
    "export": ("weights.exporting", "a checkpoint → torch, timm, Hugging Face, ONNX, …"),
    "embed": ("embed.command", "slides → features in HDF5, as TRIDENT and CLAM have them"),
    "look": ("maps.command", "features of slides → pages with clusters, heat map, neighbors"),
    "inspect": ("inspecting.command", "what is this, what did it see, may I use it?"),
    "experiment": (
        "experiment.command",
        "the paper's experiments: run or print their commands, collect",
    ),
    "bench": (
        "benchmarks.command",
        "how fast input, views, step and probe run here; what the step costs",
    ),
}
# What needs less memory, where a flag decides it.
LEVERS = {"embed": "set a smaller --batch-size", "bench": "set a smaller --batch"}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 2 after one clear line about bad input, 130 after Ctrl-C.

    On success 0, unless the command answers by its exit code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # which it announces; we only decode by it
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        command = command_of(arguments)
        args = parser(command).parse_args(arguments)
        levers = LEVERS.get(command, "close other programs, or take a machine with more memory")
        with out_of_memory.naming(levers):
            code = args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return code or 0


def command_of(arguments: list[str] | None) -> str | None:
    """The command named on the command line, so that only its module is imported."""
    given = sys.argv[1:] if arguments is None else arguments
    return given[0] if given and given[0] in COMMANDS else None


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; the arguments of `only` are filled in, or all without it."""
    top = argparse.ArgumentParser(
        prog="histo-simclr",
        description="Histopathology slides → patches → mix (pretrained on by main.py) → weights "
        "and features. Every command has its own --help.",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        if only in (None, name):
            command = importlib.import_module(f"histo_simclr.{module}")
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)
    return top
