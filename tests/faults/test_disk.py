"""A disk that is full, read-only or slow: one line, nothing lost, and the same bits in the end."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def mounted(tmp_path):
    """mounted(MB): a folder that is a disk of this size; only root can have one."""
    folder, mounts = tmp_path / "disk", []

    def mount(megabytes: int) -> Path:
        folder.mkdir()
        size = f"size={megabytes}m"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=False)
        if done.returncode:
            pytest.skip("cannot mount a disk here: needs root")
        mounts.append(folder)
        return folder

    yield mount
    for each in mounts:
        subprocess.run(["umount", each], check=True)


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def steps(workdir: Path) -> list[str]:
    return sorted(each.name for each in (workdir / "checkpoints").iterdir())


def test_a_full_disk(
    whole, program, pretrain, undisturbed, leaves, results_of, mounted, one_line, tell
):
    # A checkpoint has 82 MB; three are kept, and one more lies there while it is written.
    workdir = mounted(300) / "run"
    said = one_line(program.run(*pretrain(workdir)))
    assert "checkpoint cannot be saved: No space left on device; step 6 stands" in said
    assert "make room" in said
    assert steps(workdir) == ["2", "4", "6"]
    remount(workdir.parent, "size=1000m")
    done = program.run(*pretrain(workdir))
    assert done.returncode == 0, done.stderr
    assert "resumed from step 6" in done.stdout
    assert leaves(workdir) == undisturbed.leaves
    assert results_of(workdir) == undisturbed.results
    tell("disk full", "pretraining, in a save", "one line; same bits once there is room")


def test_a_disk_that_becomes_read_only(
    whole, program, pretrain, undisturbed, leaves, mounted, one_line, wait_for, tell
):
    workdir = mounted(1000) / "run"
    process = program.start(*pretrain(workdir))
    assert wait_for(lambda: (workdir / "checkpoints/2").exists(), process)
    os.killpg(process.pid, signal.SIGKILL)  # the kernel refuses while files are open for writing
    process.communicate()
    remount(workdir.parent, "ro")
    said = one_line(program.run(*pretrain(workdir)))
    assert "Read-only file system" in said
    assert "--workdir" in said
    remount(workdir.parent, "rw")
    done = program.run(*pretrain(workdir))
    assert done.returncode == 0, done.stderr
    assert leaves(workdir) == undisturbed.leaves
    tell("disk read-only", "pretraining, at its start", "one line; same bits once it is writable")


def test_files_that_may_not_grow(
    whole, program, pretrain, undisturbed, leaves, one_line, tmp_path, tell
):
    """As a quota does, and as a full disk does to who is not root."""
    workdir = tmp_path / "run"
    limit = {"largest_file": 100_000, "from": 60}
    said = one_line(program.run(*pretrain(workdir), under=str(workdir), **limit))
    assert "File too large" in said
    assert "make room" in said
    done = program.run(*pretrain(workdir))
    assert done.returncode == 0, done.stderr
    assert leaves(workdir) == undisturbed.leaves
    tell("quota", "pretraining", "one line; same bits without it")


def test_a_slow_disk(
    whole, program, pretrain, undisturbed, leaves, results_of, wait_for, tmp_path, tell
):
    """Training goes on while a save takes its time."""
    workdir, during = tmp_path / "run", set()

    def watch() -> bool:
        unfinished = [each.name for each in workdir.glob("checkpoints/*.orbax-checkpoint-tmp*")]
        lines = _lines(workdir / "metrics.jsonl")
        during.update((int(name.split(".")[0]), lines) for name in unfinished)
        return False

    process = program.start(*pretrain(workdir), under=str(workdir / "checkpoints"), slow=0.3)
    wait_for(watch, process)
    _, err = process.communicate()
    assert process.returncode == 0, err
    ahead = sum(lines > step for step, lines in during)
    assert ahead, "no step was done while a checkpoint was written"
    assert leaves(workdir) == undisturbed.leaves
    assert results_of(workdir) == undisturbed.results
    tell("disk slow", "pretraining, in every save", "steps go on meanwhile; same bits")


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.is_file() else 0
