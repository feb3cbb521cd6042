"""Order, resumption, failures: with commands that only leave the marks of the real ones."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from histo_simclr import workdir
from histo_simclr.errors import InputError
from histo_simclr.experiment import declared, execute, plan

PLACES = plan.Places(Path("out"), ("records",), "", False)


def _run(experiment, places=PLACES):
    said = []
    execute.run(experiment, places, plan.make(experiment, places), said.append)
    return said


def _calls(experiment):
    file = experiment.root / "calls"
    calls = file.read_text().splitlines() if file.exists() else []
    file.write_text("")
    return calls


def test_mixes_come_first_then_pretrainings_then_one_evaluation(experiment):
    _run(experiment)
    calls = _calls(experiment)
    assert [call.split()[0] for call in calls] == ["mix"] * 4 + ["pretrain"] * 4 + ["evaluate"]


def test_what_is_finished_is_not_done_again(experiment):
    _run(experiment)
    _calls(experiment)
    *kept, _, judged = _run(experiment)
    assert all("finished before" in line for line in kept)
    assert "evaluate" in judged  # which keeps what it has by itself
    assert _calls(experiment) == ["evaluate evaluation"]
    (experiment.root / "out/runs/n10_seed1/finished.json").unlink()
    _run(experiment)
    assert _calls(experiment) == ["pretrain n10_seed1", "evaluate evaluation"]


def test_a_failure_is_named_while_the_others_go_on(experiment):
    # The mix of the same name is there: only the pretraining is to fail.
    broken = experiment.root / "broken"
    planned = plan.make(experiment, PLACES)
    (experiment.root / "out/mixes/n10_seed0").mkdir(parents=True)
    (experiment.root / "out/mixes/n10_seed0/mix.json").write_text("{}")
    broken.write_text("n10_seed0")
    with pytest.raises(InputError) as caught:
        _run(experiment)
    message = str(caught.value)
    assert "1 of 9 pieces failed" in message
    assert "pretrain n10_seed0: exit code 2, log" in message
    assert "no such cohort; obtain it" in message
    assert execute.command_line(planned.pretrainings[0]) in message
    log = experiment.root / "out/logs/pretrain_n10_seed0.log"
    assert str(log) in message
    assert log.read_text().startswith("$ ")
    calls = _calls(experiment)
    assert "pretrain n20_seed1" in calls
    # The others are judged meanwhile, and all together when it is mended.
    assert "evaluate evaluation" in calls
    broken.unlink()
    _run(experiment)
    assert _calls(experiment) == ["pretrain n10_seed0", "evaluate evaluation"]


def test_what_needs_a_mix_that_failed_is_not_begun(experiment):
    (experiment.root / "broken").write_text("n10_seed0")
    with pytest.raises(InputError, match="pretrain n10_seed0: not begun"):
        _run(experiment)
    assert "pretrain n10_seed0" not in _calls(experiment)


def test_without_any_pretraining_nothing_is_evaluated(experiment):
    (experiment.root / "broken").write_text("n10_seed0 n10_seed1 n20_seed0 n20_seed1")
    with pytest.raises(InputError, match="evaluate images: not begun"):
        _run(experiment)
    assert "evaluate evaluation" not in _calls(experiment)


def test_a_command_that_ends_well_without_its_result_has_failed(experiment):
    (experiment.root / "main.py").write_text("print('stopped by SIGTERM, saved')")
    with pytest.raises(InputError, match=r"exit code 0[\s\S]*stopped by SIGTERM, saved"):
        _run(experiment)


def test_pieces_of_another_experiment_are_not_taken_for_its_own(experiment):
    _run(experiment)
    runs = (declared.Run("n10", 10, {"size": 15}), experiment.runs[1])
    with pytest.raises(InputError, match="n10_seed0: was made by another command"):
        _run(experiment._replace(runs=runs))
    more = (*experiment.runs, declared.Run("n30", 30, {"size": 30}))
    _calls(experiment)
    _run(experiment._replace(runs=more))
    assert "pretrain n30_seed0" in (calls := _calls(experiment))
    assert "pretrain n10_seed0" not in calls


def test_a_folder_that_was_moved_is_still_its_own(experiment):
    _run(experiment)
    (experiment.root / "out").rename(experiment.root / "elsewhere")
    _calls(experiment)
    _run(experiment, PLACES._replace(out=Path("elsewhere"), records=("moved",)))
    assert _calls(experiment) == ["evaluate evaluation"]


def test_two_at_once_are_refused(experiment):
    with (
        workdir.claim(experiment.root / "out", {}),
        pytest.raises(InputError, match="another run holds"),
    ):
        _run(experiment)


def test_sigterm_reaches_the_command_and_ends_the_experiment(experiment):
    program = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path("ended").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path("begun").touch()
time.sleep(30)
"""
    (experiment.root / "histo_simclr" / "__main__.py").write_text(program)

    def end_when_begun():
        while not (experiment.root / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_when_begun, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        _run(experiment)
    assert (experiment.root / "ended").exists()
