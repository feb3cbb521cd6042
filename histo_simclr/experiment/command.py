"""`histo-simclr experiment`: its arguments, and what it prints."""

import argparse
import functools
import os
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.experiment import collect, declared, execute, outcome, plan, scripts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `histo-simclr experiment`."""
    add = parser.add_argument
    add("experiment", metavar="EXPERIMENT", help="configs/experiments/NAME.py[:paper]")
    add("--out", required=True, type=Path, help="folder of all that is made")
    add("--records", nargs="+", default=[], metavar="DIR", help="record sets to mix from")
    add("--data", default="", metavar="DIR", help="labelled record sets to judge on")
    skips = "go on without cohorts and tasks whose record sets are not there"
    add("--skip-missing", action="store_true", help=skips)
    way = parser.add_mutually_exclusive_group()
    add = way.add_argument
    add("--run", action="store_true", help="run what is not done yet, then collect; the default")
    add("--print", action="store_true", help="print the commands instead")
    add("--collect", action="store_true", help="table and picture of what there is")
    add = parser.add_argument
    add("--for", dest="target", choices=[*scripts.TARGETS], help="--print: where they shall run")


def run(args: argparse.Namespace) -> None:
    """`histo-simclr experiment` with parsed arguments.

    Raises:
      InputError: bad arguments or experiment; pieces that failed, after all others were done.
    """
    if args.target and not args.print:
        raise InputError("is for what is printed", where="--for", way_out="add --print")
    experiment = declared.read(args.experiment)
    places = _places(args, experiment)
    planned = plan.make(experiment, places)
    if args.print:
        print(scripts.TARGETS[args.target or "shell"](experiment, places, planned), end="")
        return
    say = functools.partial(print, flush=True)
    failed = None
    if not args.collect:
        say(f"{experiment.title}, {experiment.preset}: {experiment.question}")
        say(f"  note   {experiment.note}\n  to do  {plan.size_of(experiment, planned)}")
        try:
            execute.run(experiment, places, planned, say)
        except InputError as error:
            failed = error
    results = experiment.root / planned.evaluation.made
    if failed is None or results.is_file():
        collected = collect.read(experiment, planned.encoders, results)
        paths = outcome.write(experiment, collected, experiment.root / places.out)
        say(f"\n{outcome.text(experiment, collected)}\nwrote {', '.join(map(str, paths))}")
        if collected.differences:
            pairs = f"{len(collected.differences)} paired tests between runs"
            say(f"{pairs}: {results.with_name('differences.csv')}")
    if failed is not None:
        raise failed


def _places(args: argparse.Namespace, experiment: declared.Experiment) -> plan.Places:
    """Paths as commands take them, which run in the experiment's root."""
    is_there = Path.cwd() == experiment.root

    def settled(path: str) -> str:
        return os.path.normpath(path if is_there else Path(path).absolute())

    return plan.Places(
        out=Path(settled(args.out)),
        # Those that the experiment names lie in its root.
        records=tuple(map(settled, args.records)) or experiment.records,
        data=settled(args.data) if args.data else "",
        skip_missing=args.skip_missing,
    )
