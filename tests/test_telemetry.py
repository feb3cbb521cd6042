"""Metrics files, alarms, and what the progress line says."""

import json
import logging
import math
import threading
from concurrent.futures import Future

import jax.numpy as jnp
import pytest

from histo_simclr import telemetry
from histo_simclr.errors import InputError

METRICS = {
    "loss": 4.5,
    "contrastive_top1": 0.25,
    "alignment": 0.5,
    "uniformity": -1.0,
    "feature_std": 0.5,
    "gradient_norm": 2.0,
    "learning_rate": 0.1,
}


@pytest.fixture
def told(tmp_path, monkeypatch):
    class Board:
        def write_scalars(self, step, scalars):
            self.last = step, scalars

        def close(self):
            pass

    monkeypatch.setattr(telemetry, "_tensorboard", lambda folder: Board())

    opened = []

    def make(start=0):
        sizes = {"total_steps": 100, "batch_size": 64, "steps_per_epoch": 10}
        opened.append(telemetry.Telemetry(tmp_path, start=start, **sizes, writes=True))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def window(*losses):
    return [METRICS | {"loss": loss} for loss in losses]


def test_a_summary_is_the_mean_over_its_steps():
    summary = telemetry.summarize(window(4.0, 5.0), 10, None)
    assert summary["loss"] == 4.5
    assert summary["learning_rate"] == 0.1


def test_a_gradient_that_is_not_finite_is_named_before_it_is_saved():
    lines = [METRICS, METRICS | {"gradient_norm": math.nan}]
    with pytest.raises(InputError, match=r"gradient_norm is nan at step 9; .*checkpoint: none"):
        telemetry.summarize(lines, 9, None)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_arrays_that_are_not_finite_are_named_before_they_are_saved(value):
    arrays = {"params": {"head": jnp.ones(3), "bias": jnp.array([0, value], jnp.bfloat16)}}
    arrays |= {"optimizer": {"step": jnp.int32(7)}}
    with pytest.raises(InputError, match="params/bias is not finite after step 8; .*: step 6"):
        telemetry.check_finite(arrays, 8, 6)
    arrays["params"]["bias"] = jnp.zeros(2)
    telemetry.check_finite(arrays, 8, None)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_is_named(value):
    with pytest.raises(InputError, match=r"at step 8; last good checkpoint: step 4"):
        telemetry.summarize(window(4.0, value, value), 9, 4)


def test_lines_beyond_the_resumed_step_are_dropped_and_a_torn_one_too(told, tmp_path):
    first = told()
    for step in (10, 20, 30):
        first.log(step, METRICS, wait_fraction=0.0, corrupt_records=0)
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')
    second = told(start=20)
    second.log(30, METRICS, wait_fraction=0.0, corrupt_records=0)
    second.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]


def test_the_progress_line_sets_values_beside_chance(told, capsys):
    told().log(50, METRICS, wait_fraction=0.01, corrupt_records=0)
    line = capsys.readouterr().err
    for part in ("step 50/100", "epoch 5.0", "loss 4.500 (chance 4.844)", "top-1 25.0%"):
        assert part in line
    assert "(chance 0.8%)" in line
    assert "input wait 1.0%" in line
    assert "ETA 0:00:" in line


ANSWERS = {
    "online_knn": 0.75,
    "online_probe": 0.8,
    "online_knn_untrained": 0.7,
    "online_probe_untrained": 0.72,
    "online_chance": 0.5,
}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_waits_for_its_answers_and_those_behind_it_for_the_line(told, tmp_path, capsys):
    run, late = told(), Future()
    run.log(10, METRICS, wait_fraction=0.0, corrupt_records=0, answers=late)
    run.log(20, METRICS, wait_fraction=0.0, corrupt_records=0)
    assert lines_of(tmp_path) == []
    assert "kNN" not in capsys.readouterr().err
    late.set_result(ANSWERS)
    run.log(30, METRICS, wait_fraction=0.0, corrupt_records=0)
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert [line.get("online_knn") for line in lines] == [0.75, None, None]
    shown = capsys.readouterr().err
    assert "kNN 75.0%, probe 80.0% (untrained 70.0%, 72.0%; chance 50.0%)" in shown


@pytest.mark.parametrize("end", ["flush", "close"])
def test_nothing_is_lost_at_a_checkpoint_or_at_the_end(told, tmp_path, end):
    run, late = told(), Future()
    run.log(10, METRICS, wait_fraction=0.0, corrupt_records=0, answers=late)
    threading.Timer(0.05, late.set_result, [ANSWERS]).start()
    getattr(run, end)()
    assert lines_of(tmp_path)[0]["online_probe"] == 0.8
    assert run._board.last[1]["online/probe"] == 0.8


def test_what_went_wrong_in_the_thread_ends_the_training(told):
    run, broken = told(), Future()
    broken.set_exception(MemoryError("no room"))
    with pytest.raises(MemoryError, match="no room"):
        run.log(10, METRICS, wait_fraction=0.0, corrupt_records=0, answers=broken)


def test_collapse_and_slow_input_warn_once(told, caplog):
    caplog.set_level(logging.WARNING)
    run = told()
    for step in (10, 20):
        run.log(step, METRICS | {"feature_std": 0.001}, wait_fraction=0.3, corrupt_records=0)
    messages = [record.getMessage() for record in caplog.records]
    assert sum("collapse at step 10" in message for message in messages) == 1
    assert sum("waited for input 30 %" in message for message in messages) == 1
    assert len(messages) == 2


def test_chance_levels():
    assert telemetry.chance_loss(512) == pytest.approx(6.93, abs=0.005)  # paper's batch: DSMIL logs
    assert telemetry.chance_top1(2) == pytest.approx(1 / 3)
