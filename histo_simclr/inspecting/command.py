"""`histo-simclr inspect PATH [--seen NAME] [--mix DIR] [--json]`: what is this, what did it see?"""

import argparse
import json
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.inspecting import report, was_seen, words

# Exit codes of --seen, for scripts; bad input is 2 as everywhere.
CODES = {was_seen.YES: 0, was_seen.NO: 1, was_seen.UNKNOWN: 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `histo-simclr inspect`."""
    add = parser.add_argument
    add(
        "path",
        type=Path,
        help="checkpoint or workdir, imported folder, mix, record set, weights (exported or of "
        "others), folder of an evaluation, features (.h5)",
    )
    add(
        "--seen",
        metavar="NAME",
        help="only answer whether this cohort, slide or patient was seen; exit code 0: yes, 1: no, "
        "3: unknown",
    )
    add("--mix", type=Path, metavar="DIR", help="where the mix of a checkpoint lies now")
    add("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace) -> int:
    """`histo-simclr inspect` with parsed arguments; prints to stdout, returns the exit code."""
    if args.seen is None:
        found = report.inspect(args.path, mix=args.mix)
        print(json.dumps(found, indent=1, ensure_ascii=False) if args.json else words.text(found))
        return 0
    name = args.seen.strip()
    if not name:
        raise InputError("names nothing", where="--seen", way_out="give a cohort, slide or patient")
    answer = report.seen(args.path, name, mix=args.mix)
    told = {"path": str(args.path), "name": name} | answer._asdict()
    print(json.dumps(told, ensure_ascii=False) if args.json else words.answered(name, answer))
    return CODES[answer.seen]
