"""SIGTERM, and 30 s until SIGKILL: the program ends by itself, and goes on to the same bits."""

import os
import signal
import time

import pytest

GRACE = 30  # seconds that Slurm, Kubernetes and spot machines grant by default, or more
IN_C = """
import hashlib
from histo_simclr.pretrain import ending
with ending.at_sigterm():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, in which Python handles no signal
"""
HELD = """
import time
from histo_simclr.pretrain import ending
with ending.at_sigterm() as end:
    end.hold()
    print("ready", flush=True)
    time.sleep(1)
    print("saved", flush=True)
    end.release()
    print("not to be seen", flush=True)
"""


def test_a_program_that_is_busy_in_c_ends_at_once(program):
    process = program.start("-c", IN_C)
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    process.terminate()
    out, err = process.communicate(timeout=GRACE)
    assert time.monotonic() - start < GRACE / 3
    assert (process.returncode, err) == (0, "")
    assert out == "stopped by SIGTERM; run the same command to go on\n"


def test_what_has_something_to_save_ends_when_it_is_saved(program):
    process = program.start("-c", HELD)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, err = process.communicate(timeout=GRACE)
    assert (process.returncode, err) == (0, "")
    assert out == "saved\nstopped by SIGTERM; run the same command to go on\n"


@pytest.mark.slow
def test_pretraining_ends_in_time_wherever_it_is(
    whole, program, pretrain, undisturbed, leaves, results_of, wait_for, tmp_path, tell
):
    workdir = tmp_path / "run"
    metrics, curves = workdir / "metrics.jsonl", workdir / "pictures/curves.png"
    saves = "checkpoints/*.orbax-checkpoint-tmp*"
    moments = {
        "first compile": lambda: metrics.exists(),
        "a step": lambda: metrics.read_bytes().count(b"\n") >= 5,
        "a save": lambda: any(workdir.glob(saves)),
        "the evaluation": lambda: curves.exists(),
    }
    for place, condition in moments.items():
        process = program.start(*pretrain(workdir))
        assert wait_for(condition, process), place
        start = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=10 * GRACE)
        seconds = time.monotonic() - start
        assert process.returncode == 0, err
        assert "stopped by SIGTERM" in out, place
        assert "Traceback" not in err
        assert not (workdir / "finished.json").exists()
        assert seconds < GRACE, place
        tell("SIGTERM", f"pretraining, in {place}", f"ended after {seconds:.1f} s, same bits")
    done = program.run(*pretrain(workdir))
    assert done.returncode == 0, done.stderr
    assert leaves(workdir) == undisturbed.leaves
    assert results_of(workdir) == undisturbed.results
