"""kill -9 at seeded moments, again and again, until nothing is left to do: the same bits.

A moment is a rename, a removal, a new folder or a file opened for writing, before which the program
kills itself and its workers; or it is a time, so that what is written in C++ is met too.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import h5py
import pytest

pytestmark = pytest.mark.slow
SEED = 2026
# Of 50 kills; other numbers in proportion.
IN_PRETRAINING = {"first step": 5, "step": 7, "save": 7, "rename": 8, "evaluation": 5}
IN_COMMANDS = {"prepare": 6, "mix": 6, "embed": 6}
# What says that all is there, and is not made again (embed goes on from whatever is there).
RESULTS = {"prepare": "c/1.0.0", "mix": "mix.json"}


def times(kills: int, of_fifty: int) -> int:
    return max(1, round(kills * of_fifty / 50))


def killed(process) -> bool:
    """Kills what still runs; whether it was killed, by itself or now."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), (process.returncode, err)
    return process.returncode == -signal.SIGKILL


def changed(file: Path):
    """Changed since now: a condition."""

    def state():
        try:
            found = file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    before = state()
    return lambda: state() != before


class Pretraining:
    """A run in one workdir, which is killed where it is told to be."""

    def __init__(self, program, arguments, workdir, wait_for, draw) -> None:
        self.program, self.arguments, self.workdir = program, arguments, workdir
        self.wait_for, self.draw = wait_for, draw

    def is_killed_in(self, place: str) -> bool:
        """Starts it; False: it came to its end before."""
        metrics = self.workdir / "metrics.jsonl"
        left = self._unfinished()  # by earlier kills
        # What is waited for, and the seconds after it within which the kill falls.
        moments = {
            "first step": (changed(metrics), 1.5),
            "step": (self._has_lines(metrics), 1.0),
            "save": (lambda: self._unfinished() - left, 0.4),
            "evaluation": (changed(self.workdir / "pictures/curves.png"), 4.0),
        }
        fault = {}
        if place == "rename":  # about as many as a start and a save make
            fault = {"kill_at": self.draw.randrange(16), "only": "rename"}
        process = self.program.start(*self.arguments, under=str(self.workdir), **fault)
        if place == "rename":
            process.communicate()
        elif self.wait_for(moments[place][0], process):
            time.sleep(self.draw.uniform(0, moments[place][1]))
        return killed(process)

    def _unfinished(self) -> set[tuple[str, int]]:
        """Checkpoints that are being written, or were when the run was killed."""
        found = self.workdir.glob("checkpoints/*.orbax-checkpoint-tmp*")
        return {(each.name, each.stat().st_ino) for each in found if each.exists()}

    def _has_lines(self, metrics: Path):
        # It is cut to the checkpoint's step first; then steps come, one line each.
        lines, wanted = None, self.draw.randrange(1, 4)
        is_cut = changed(metrics)

        def condition() -> bool:
            nonlocal lines
            if lines is None and is_cut():
                lines = metrics.read_bytes().count(b"\n")
            return lines is not None and metrics.read_bytes().count(b"\n") >= lines + wanted

        return condition


def test_pretraining(
    whole, program, pretrain, undisturbed, leaves, results_of, wait_for, tmp_path, tell
):
    draw = random.Random(SEED)
    places = [place for place, n in IN_PRETRAINING.items() for _ in range(times(whole, n))]
    draw.shuffle(places)
    places.sort(key=lambda place: place == "evaluation")  # which comes when all else is done
    workdir = tmp_path / "run"
    run = Pretraining(program, pretrain(workdir), workdir, wait_for, draw)
    kills, finished = Counter(), 0

    def compare() -> None:
        assert leaves(workdir) == undisturbed.leaves
        assert results_of(workdir) == undisturbed.results
        logged = [line.split(b",")[0] for line in _lines(workdir)]
        assert logged == [line.split(b",")[0] for line in _lines(undisturbed.workdir)]

    while places:
        if run.is_killed_in(places[0]):
            kills[places.pop(0)] += 1
        else:
            compare()
            shutil.rmtree(workdir)
            finished += 1
    done = program.run(*run.arguments)
    assert done.returncode == 0, done.stderr
    compare()
    assert not list((workdir / "checkpoints").glob("*damaged*"))
    for place, count in kills.items():
        tell(f"kill -9 (seed {SEED})", f"pretraining, in {place}", "same bits", count)


def _lines(workdir: Path) -> list[bytes]:
    return (workdir / "metrics.jsonl").read_bytes().splitlines()


def content(folder: Path) -> dict[str, object]:
    """Every file by its name; of features the arrays, and no list of how long each slide took."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "embed.csv"
    }


def _content(path: Path) -> object:
    if path.suffix != ".h5":
        return path.read_bytes()
    with h5py.File(path, "r") as file:
        return {name: (each.dtype.str, each[()].tobytes()) for name, each in file.items()}


@pytest.fixture
def commands(tmp_path, cmu, request, undisturbed):
    """By name: the command that writes into tmp_path/out."""
    (tmp_path / "in").mkdir()
    for name in "abcd":
        shutil.copy(cmu, tmp_path / "in" / f"{name}.svs")
    slides, out = tmp_path / "in", tmp_path / "out"
    records = request.config.rootpath / "data/sample/records"
    prepare = ["prepare", slides, "--slides", "--name", "C", "--px", 64, "--mpp", "0.5,1.0"]
    embed = ["embed", slides, "--checkpoint", undisturbed.workdir, "--mpp", 1, "--px", 72]
    commands = {
        "prepare": [*prepare, "--patches", 60, "--workers", 2],
        "mix": ["mix", records, "--size", 500, "--px", 96],
        "embed": [*embed, "--overlap", 36, "--batch-size", 16, "--workers", 1],
    }
    return {
        name: ("-m", "histo_simclr", *command, "--out", out) for name, command in commands.items()
    }


@pytest.mark.parametrize("name", IN_COMMANDS)
def test_commands(whole, program, commands, one_line, tmp_path, tell, name):
    draw, out, log = random.Random(f"{SEED} {name}"), tmp_path / "out", tmp_path / "moments"
    start = time.monotonic()
    done = program.run(*commands[name], under=str(out.parent), log=str(log))
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    moments = log.read_text().count("\n")
    expected = content(out)
    kills = 0
    shutil.rmtree(out)
    while kills < times(whole, IN_COMMANDS[name]):
        fault = {"kill_at": draw.randrange(moments)} if kills % 2 else {}
        process = program.start(*commands[name], under=str(out.parent), **fault)
        end = time.monotonic() + (3 if fault else draw.uniform(0.3, 1)) * seconds
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        was_killed = killed(process)
        kills += was_killed
        whole_stands = name in RESULTS and (out / RESULTS[name]).exists()
        if was_killed and whole_stands:
            # On its way out: the next start removes what is of no use any more, and makes nothing.
            assert "exists" in one_line(program.run(*commands[name]))
        if not was_killed or whole_stands:
            assert content(out) == expected
            shutil.rmtree(out)
    done = program.run(*commands[name])
    assert done.returncode == 0, done.stderr
    assert content(out) == expected
    tell(f"kill -9 (seed {SEED})", f"histo-simclr {name}", "same bytes", kills)
