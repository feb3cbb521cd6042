"""Programs in which something fails, and the table of what failed where and what came of it.

Everything: `pytest tests/faults --kills=50 --numprocesses=0`. Without the option only what takes
seconds; the rest says that it is skipped.
"""

import faulthandler
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

HOOK = Path(__file__).with_name("hook")
MINUTES = 600  # seconds until a program counts as hanging
# With a save every other step, so that a run can be killed often on its way.
STEPS, BATCH = 16, 8


class Program:
    """Starts `python ARGUMENTS` in the repository's root, in a process group of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def start(self, *arguments: object, **fault: object) -> subprocess.Popen:
        """A program with a fault in it: keys of hook/sitecustomize.py."""
        places = [str(HOOK), str(self._root), os.environ.get("PYTHONPATH", "")]
        told = {"PYTHONPATH": os.pathsep.join(filter(None, places)), "FAULT": json.dumps(fault)}
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=self._root,
            env=os.environ | told,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object, **fault: object) -> subprocess.CompletedProcess:
        """The same to its end."""
        return ended(self.start(*arguments, **fault))


def ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
    out, err = process.communicate(timeout=MINUTES)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def program(request) -> Program:
    return Program(request.config.rootpath)


@pytest.fixture(scope="session")
def checkpoints(request, module_at):
    """The module tests/test_checkpoint.py: a small model, saved and opened again."""
    return module_at(request.config.rootpath / "tests/test_checkpoint.py")


@pytest.fixture(scope="session")
def whole(request) -> int:
    """Kills asked for; skips what takes minutes where none are."""
    kills = request.config.getoption("--kills")
    if not kills:
        pytest.skip("takes minutes: pytest tests/faults --kills=50")
    return kills


@pytest.fixture(autouse=True)
def _no_alarm(request) -> None:
    """Programs here have limits of their own."""
    if request.config.getoption("--kills"):
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def pretrain(request, toy) -> Callable[..., tuple[str, ...]]:
    """pretrain(workdir, *more, steps=…): arguments of a run on the embedded mix.

    It is judged on the set `toy` at its end.
    """
    size = json.loads((request.config.rootpath / "data/sample/mix/mix.json").read_text())["size"]

    def arguments(workdir: Path, *more: str, steps: int = STEPS) -> tuple[str, ...]:
        epochs = steps / (size // BATCH)
        values = {
            "batch_size": BATCH,
            "views.px": 72,
            "epochs": repr(epochs),
            "warmup_epochs": repr(epochs / 4),
            "run.log_every": 1,
            "run.checkpoint_every": 2,
            "online.records": "",
            "online.mix_patches": 0,
            "evaluation.records": f"('{toy}',)",
            "evaluation.resamples": 50,
        }
        flags = [f"--config.{key}={value}" for key, value in values.items()]
        return "main.py", "--config=configs/resnet18_mix.py", f"--workdir={workdir}", *flags, *more

    return arguments


@pytest.fixture(scope="session")
def leaves() -> Callable[[Path], dict]:
    """leaves(workdir): step, and checksum of every array, of the newest checkpoint.

    Those of the encoder are compared with the bytes that lie on the disk.
    """
    from histo_simclr import checkpoint, checkpoint_items

    def read(workdir: Path) -> dict:
        _, _, path = checkpoint.load_encoder(workdir)
        return {"step": path.name} | checkpoint_items.read_metadata(path)["leaves"]

    return read


class Undisturbed(NamedTuple):
    """What a run without a fault leaves: checksums of arrays, files of the evaluation; seconds."""

    workdir: Path
    leaves: dict
    results: dict[str, dict]
    seconds: float


@pytest.fixture(scope="session")
def undisturbed(program, pretrain, leaves, tmp_path_factory):
    """A run to its end."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    done = program.run(*pretrain(workdir))
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - start
    return Undisturbed(workdir, leaves(workdir), results(workdir), seconds)


def results(workdir: Path) -> dict[str, dict]:
    """What the evaluation left, by name, but for the place and the revision of the code."""
    found = sorted((workdir / "evaluation").rglob("results.json"))
    told = {str(each.relative_to(workdir)): json.loads(each.read_text()) for each in found}
    for each in told.values():
        del each["checkpoint"]["name"], each["checkpoint"]["provenance"]
    return told


@pytest.fixture(scope="session")
def results_of() -> Callable[[Path], dict[str, dict]]:
    return results


@pytest.fixture
def one_line() -> Callable[[subprocess.CompletedProcess], str]:
    """one_line(done): the error of a program that refused, which is one line and no traceback."""

    def check(done: subprocess.CompletedProcess) -> str:
        assert done.returncode == 2, (done.returncode, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, done.stderr
        assert done.stderr.rstrip().splitlines()[-1] == lines[0], done.stderr
        return lines[0]

    return check


@pytest.fixture
def tell(record_property) -> Callable[..., None]:
    """tell(fault, where, outcome, kills=…): a row of the table at the end."""

    def row(fault: str, where: str, outcome: str, kills: int = 0) -> None:
        record_property("fault", [fault, where, str(kills or ""), outcome])

    return row


def pytest_terminal_summary(terminalreporter) -> None:
    """The table, from this process or from the workers of pytest-xdist."""
    rows = [
        list(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "fault"
    ]
    if not rows:
        return
    from histo_simclr import tables

    kills = sum(int(row[2] or 0) for row in rows)
    terminalreporter.section("faults")
    head = ["fault", "where", "kills", "what came of it"]
    for line in tables.aligned([head, *rows], right=(2,)):
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"{kills} kills")
