"""Runs that are killed, stopped, repeated: the same bits, no work twice, no mixing.

A file of its own, so that the tests of the programs share the workers evenly.
"""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from histo_simclr import checkpoint, checkpoint_items

pytestmark = pytest.mark.slow


def final_digests(workdir: Path) -> dict:
    """Checksums of every leaf of the newest checkpoint, as it stores them itself."""
    return checkpoint_items.read_metadata(checkpoint.resolve(workdir))["leaves"]


def steps_saved(workdir: Path) -> list[int]:
    folder = workdir / "checkpoints"
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit())


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
    program, pretrain_arguments, wait_for, undisturbed, tmp_path, devices
):
    arguments = pretrain_arguments(tmp_path, steps=6)
    process = program.start(*arguments, devices=devices)
    assert wait_for(lambda: 2 in steps_saved(tmp_path), process), process.communicate()
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
    program, pretrain_arguments, wait_for, undisturbed, tmp_path
):
    arguments = pretrain_arguments(
        tmp_path, steps=6, extra=("--config.run.checkpoint_every=1000", "--config.run.log_every=1")
    )
    process = program.start(*arguments)
    assert wait_for(lambda: program.has_logged(tmp_path), process), process.communicate()
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
    extra = ("--config.seed=1", "--config.model.arch=resnet34")
    other = program.run(*pretrain_arguments(workdir, steps=6, extra=extra))
    assert other.returncode == 2
    assert "model.arch was 'resnet18', is 'resnet34'; seed was 0, is 1" in other.stderr
    assert "Traceback" not in other.stderr


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
