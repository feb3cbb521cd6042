"""Runs the pieces of a plan one after the other, in subprocesses; goes on where it was stopped."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from histo_simclr import records, workdir
from histo_simclr.errors import InputError
from histo_simclr.experiment import plan as plans
from histo_simclr.experiment.declared import Experiment
from histo_simclr.experiment.plan import Piece, Places, Plan


class Failure(NamedTuple):
    """A piece that left no result: its command, how it ended, and the file of what it said."""

    piece: Piece
    code: int
    log: Path

    def lines(self) -> list[str]:
        """For a person: what failed, how, its last words, and its command."""
        said = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "")
        return [
            f"{label(self.piece)}: exit code {self.code}, log {self.log}",
            f"  {last.strip()[:300]}",
            f"  {command_line(self.piece)}",
        ]


def command_line(piece: Piece) -> str:
    """The command as a shell takes it."""
    return shlex.join([sys.executable, *piece.arguments])


def label(piece: Piece) -> str:
    """What a piece is called in what is printed."""
    return f"{piece.kind} {piece.name}"


def run(experiment: Experiment, places: Places, plan: Plan, say: Callable[[str], None]) -> None:
    """Does all that is not done yet; what others fail at does not keep it from going on.

    Raises:
      InputError: pieces failed, after all others are done: names their commands and logs; a
        finished piece was made by another command; another process is at work in the same folder.
    """
    out = experiment.root / places.out
    made_by = _made_by(experiment, places)
    before = records.read_json(file) if (file := out / workdir.CONFIG).is_file() else {}
    for piece in _kept(plan):  # before the claim, which notes what is to be made now
        name = label(piece)
        if _is_finished(experiment, piece) and before.get(name, made_by[name]) != made_by[name]:
            raise InputError(
                "was made by another command than the experiment now has",
                where=(experiment.root / piece.made).parent,
                way_out="give another --out, or remove this folder",
            )
    with workdir.claim(out, before | made_by), workdir.naming_disk_trouble(out):
        failures, waiting = _do_all(experiment, places, plan, say)
    if failures or waiting:
        listed = [line for failure in failures for line in failure.lines()]
        listed += [f"{label(piece)}: not begun, needs what failed" for piece in waiting]
        raise InputError(
            f"{len(failures)} of {len(plan.pieces)} pieces failed",
            where=places.out,
            way_out="mend it and run the same command again; what is finished is not done again:",
            listed=listed,
        )


def _do_all(
    experiment: Experiment, places: Places, plan: Plan, say: Callable[[str], None]
) -> tuple[list[Failure], list[Piece]]:
    failures: list[Failure] = []
    waiting: list[Piece] = []
    pieces = plan.pieces
    for number, piece in enumerate(pieces, 1):
        counter = f"[{number}/{len(pieces)}]"
        absent = [*(failure.piece for failure in failures), *waiting]
        there = [name for name in piece.needs if (_BEFORE[piece.kind], name) not in _keys(absent)]
        if piece.kind == "evaluate" and there:
            piece = plans.evaluation(experiment, places, there)  # of those that there are
        if len(there) < len(piece.needs):
            waiting.append(piece)
            say(f"{counter} {label(piece)}: not begun, needs what failed")
        elif _is_finished(experiment, piece):
            say(f"{counter} {label(piece)}: finished before")
        else:
            log = experiment.root / places.out / "logs" / f"{piece.kind}_{piece.name}.log"
            say(f"{counter} {label(piece)} … log {log}")
            began = time.monotonic()
            code = _do(piece, experiment.root, log)
            if (experiment.root / piece.made).is_file() and (piece.kind != "evaluate" or not code):
                say(f"{counter} {label(piece)}: {time.monotonic() - began:.0f} s")
            else:
                failures.append(Failure(piece, code, log))
                say(f"{counter} {label(piece)}: FAILED with exit code {code}")
    return failures, waiting


# What the names in `Piece.needs` are of.
_BEFORE = {"mix": "", "pretrain": "mix", "evaluate": "pretrain"}


def _keys(pieces: Sequence[Piece]) -> set[tuple[str, str]]:
    return {(piece.kind, piece.name) for piece in pieces}


def _do(piece: Piece, root: Path, log: Path) -> int:
    """Exit code of the command; SIGTERM and Ctrl-C reach it and then end us too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered, so that the log can be followed; several tries go into one log.
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with log.open("a", encoding="utf-8") as file:
        print(f"$ {command_line(piece)}", file=file, flush=True)
        with (
            subprocess.Popen(
                [sys.executable, *piece.arguments],
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            ) as process,
            _passing_on_sigterm(process),
        ):
            process.wait()
    return process.returncode


@contextlib.contextmanager
def _passing_on_sigterm(process: subprocess.Popen) -> Iterator[None]:
    """A preempted job: the command saves what it has, and nothing after it is begun."""
    came = []

    def end(*_: object) -> None:
        came.append(True)
        process.terminate()  # and no more: to wait in a handler is to wait for oneself

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if came:
        raise KeyboardInterrupt


def _is_finished(experiment: Experiment, piece: Piece) -> bool:
    return plans.is_finished(piece._replace(made=experiment.root / piece.made))


def _kept(plan: Plan) -> list[Piece]:
    """The pieces whose results depend on nothing but their command; the suite checks its own."""
    return [*plan.mixes, *plan.pretrainings]


def _made_by(experiment: Experiment, places: Places) -> dict[str, str]:
    """Commands without what does not change their results: where things lie."""
    there = places._replace(out=Path("OUT"), records=("RECORDS",), skip_missing=False)
    pieces = _kept(plans.make(experiment, there))
    return {label(piece): shlex.join(piece.arguments) for piece in pieces}
