"""`histo-simclr prepare --slides` killed at random moments, without a chance to tidy up.

CI runs it twice: with processes of this machine, and where Apache Beam is installed under that.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 5


@pytest.fixture
def start(tmp_path):
    """start(out): the command in a process group of its own."""

    def call(out: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "histo_simclr", "prepare", tmp_path / "in", "--slides"]
        command += ["--name", "C", "--out", out, "--px", 64, "--mpp", "0.5,1.0", "--patches", 120]
        return subprocess.Popen(
            [str(each) for each in command],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return call


def parts(out):
    """Finished parts with what changes when one is written again."""
    found = {}
    for path in (out / ".c.1.0.0.unfinished/parts").glob("[!.]*"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def content(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def killed(process, out, before, after):
    """Kills the command `after` seconds after it has finished another part; None if it is done."""
    while process.poll() is None and len(parts(out)) == before:
        time.sleep(0.01)
    time.sleep(after)
    # With the record set in its place only parts that are not needed any more are removed.
    if process.poll() is not None or (out / "c/1.0.0").is_dir():
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return parts(out)


def test_killed_and_started_again_it_gives_the_same_bytes(tmp_path, cmu, start):
    (tmp_path / "in").mkdir()
    for name in "abcdef":
        shutil.copy(cmu, tmp_path / "in" / f"{name}.svs")
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    undisturbed = start(whole)
    _, err = undisturbed.communicate()
    assert undisturbed.returncode == 0, err
    moments = random.Random(0)
    there, kills = {}, 0
    while kills < KILLS:
        process = start(torn)
        found = killed(process, torn, len(there), moments.uniform(0, 0.6))
        if found is None:
            break
        assert there.items() <= found.items(), "a slide was read again"
        there, kills = found, kills + 1
    assert kills >= 3, "ended before it could be killed: give it more to do"
    last = process if found is None else start(torn)
    _, err = last.communicate()
    assert last.returncode == 0, err
    assert content(whole) == content(torn)
    assert [path.name for path in torn.iterdir()] == ["c"]
