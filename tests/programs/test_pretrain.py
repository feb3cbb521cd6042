"""The main command end to end: learning, resuming to the same bits, stopping, refusing."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from histo_simclr import checkpoint
from histo_simclr import workdir as workdir_of_run

pytestmark = pytest.mark.slow


def final_digests(workdir: Path) -> dict:
    """Checksums of every leaf of the newest checkpoint, as it stores them itself."""
    return checkpoint._read_metadata(checkpoint.resolve(workdir))["leaves"]


def steps_saved(workdir: Path) -> list[int]:
    folder = workdir / "checkpoints"
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit())


def wait_for(condition, process, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(program, pretrain_arguments, tmp_path_factory):
    """Digests after 6 steps without interruption, by number of devices."""
    digests = {}
    for devices in (1, 8):
        workdir = tmp_path_factory.mktemp(f"undisturbed{devices}")
        done = program.run(*pretrain_arguments(workdir, steps=6), devices=devices)
        assert done.returncode == 0, done.stderr
        digests[devices] = final_digests(workdir), workdir, done
    return digests


@pytest.mark.parametrize("devices", [1, 8])
def test_killed_and_resumed_gives_the_bits_of_an_undisturbed_run(
    program, pretrain_arguments, undisturbed, tmp_path, devices
):
    arguments = pretrain_arguments(tmp_path, steps=6)
    process = program.start(*arguments, devices=devices)
    wait_for(lambda: 2 in steps_saved(tmp_path), process)
    process.kill()
    process.communicate()
    assert 6 not in steps_saved(tmp_path)
    resumed = program.run(*arguments, devices=devices)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step" in resumed.stdout
    assert final_digests(tmp_path) == undisturbed[devices][0]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line)["step"] for line in lines]
    assert logged == [2, 4, 6]


def test_sigterm_saves_the_step_it_reached_and_exits_cleanly(
    program, pretrain_arguments, undisturbed, tmp_path
):
    arguments = pretrain_arguments(
        tmp_path, steps=6, extra=("--config.run.checkpoint_every=1000", "--config.run.log_every=1")
    )
    process = program.start(*arguments)
    metrics = tmp_path / "metrics.jsonl"
    wait_for(lambda: metrics.is_file() and metrics.read_text().count("\n") >= 1, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "stopped by SIGTERM" in out
    assert len(steps_saved(tmp_path)) == 1
    assert program.run(*arguments).returncode == 0
    assert final_digests(tmp_path) == undisturbed[1][0]


def test_the_first_lines_say_what_is_trained_and_the_progress_what_chance_is(undisturbed):
    _, _, done = undisturbed[1]
    assert "SimCLR pretraining of resnet18 on data/sample/mix" in done.stdout
    assert "ln(2 x 8 - 1) = 2.708" in done.stdout
    assert "histo-simclr prepare" in done.stdout
    assert "loss" in done.stderr
    assert "(chance 2.708)" in done.stderr
    assert "ETA 0:00:00" in done.stderr


def test_a_finished_workdir_says_so_and_does_nothing(program, pretrain_arguments, undisturbed):
    _, workdir, _ = undisturbed[1]
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    again = program.run(*pretrain_arguments(workdir, steps=6))
    assert again.returncode == 0
    assert "finished at step 6, nothing to do" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()} == before


def test_a_workdir_of_another_configuration_is_refused(program, pretrain_arguments, undisturbed):
    _, workdir, _ = undisturbed[1]
    other = program.run(*pretrain_arguments(workdir, steps=6, extra=("--config.seed=1",)))
    assert other.returncode != 0
    assert "seed was 0, is 1" in other.stderr
    assert "Traceback" not in other.stderr


def test_a_loss_that_is_not_finite_names_step_and_last_good_checkpoint(
    program, pretrain_arguments, tmp_path
):
    extra = ("--config.optimizer.name=sgd", "--config.optimizer.base_rate=1e30")
    done = program.run(*pretrain_arguments(tmp_path, steps=6, extra=extra))
    assert done.returncode != 0
    assert "loss is nan at step" in done.stderr
    assert "last good checkpoint: step 2" in done.stderr or "checkpoint: none" in done.stderr
    assert "Traceback" not in done.stderr


def test_checkpoints_and_metrics_load(undisturbed):
    _, workdir, _ = undisturbed[1]
    encoder, provenance, path = checkpoint.load_encoder(workdir)
    assert path.name == "6"
    assert provenance.px == 72
    assert provenance.mix["cohorts"]["pcam"]["license"] == "CC0-1.0"
    features = encoder(np.zeros((1, 72, 72, 3), np.float32))
    assert features.shape == (1, 512)
    assert np.isfinite(features).all()
    assert list((workdir / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/resnet18_mix.py", "--config.batch_sise=8"], "batch_size"),
        (["--config=configs/resnet18_mix.py:nothing"], "sample, overnight"),
        (["--config=configs/absent.py"], "absent.py"),
        (["--config=configs/resnet18_mix.py", "--config.data.mix=absent"], "no such mix"),
        (["--config=configs/resnet18_mix.py", "--config.data.px=224"], "96 px patches"),
        (["--config=configs/resnet18_mix.py", "--workdir=main.py/x"], "cannot be written"),
        ([], "--config"),
    ],
)
def test_bad_arguments_are_one_line_and_another_exit_code(program, arguments, message):
    done = program.run(*arguments)
    assert done.returncode != 0
    last = [line for line in done.stderr.splitlines() if line.strip()]
    assert message in last[-1], done.stderr
    assert last[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_main_command_at_reduced_size_learns_and_leaves_what_it_promises(program, tmp_path):
    """The README's main command with its own schedule, smaller: loss falls, all outputs load."""
    workdir = tmp_path / "run"
    done = program.run(
        "--config=configs/resnet18_mix.py",
        f"--workdir={workdir}",
        "--config.batch_size=16",
        "--config.views.px=72",
        "--config.epochs=0.15",
        "--config.warmup_epochs=0.02",
        "--config.run.log_every=7",
        "--config.evaluation.records=('data/sample/records/osteosarcoma',)",
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    assert lines[-1]["step"] == 30
    # Chance is ln(31) = 3.434; an encoder that learned nothing stays there.
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.1
    assert "random init" in done.stdout
    results = json.loads((workdir / "evaluation/osteosarcoma/results.json").read_text())
    assert len(results["rows"]) == 3
    for picture in ("pictures/views.png", "pictures/curves.png"):
        assert image.imread(workdir / picture).std() > 0.01
    assert checkpoint.load_encoder(workdir)[2].name == "30"
    assert workdir_of_run.finished(workdir)["step"] == 30
