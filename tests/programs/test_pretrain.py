"""The main command end to end: it learns, leaves what it promises, and refuses clearly."""

import json

import pytest
from matplotlib import image

from histo_simclr import checkpoint
from histo_simclr import workdir as workdir_of_run

pytestmark = pytest.mark.slow


def test_a_loss_that_is_not_finite_names_step_and_last_good_checkpoint(
    program, pretrain_arguments, tmp_path
):
    extra = ("--config.optimizer.name=sgd", "--config.optimizer.base_rate=1e30")
    done = program.run(*pretrain_arguments(tmp_path, steps=6, extra=extra))
    assert done.returncode != 0
    assert "loss is nan at step" in done.stderr
    assert "last good checkpoint: step 2" in done.stderr or "checkpoint: none" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/resnet18_mix.py", "--config.batch_sise=8"], "batch_size"),
        (["--config=configs/resnet18_mix.py:nothing"], "sample, overnight"),
        (["--config=configs/absent.py"], "absent.py"),
        (["--config=configs/resnet18_mix.py", "--config.data.mix=absent"], "no such mix"),
        (["--config=configs/resnet18_mix.py", "--config.data.mix=docs"], "no mix in this folder"),
        (["--config=configs/resnet18_mix.py", "--config.data.px=224"], "96 px patches"),
        (["--config=configs/resnet18_mix.py", "--config.evaluation.records=docs"], "no record set"),
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


def test_a_batch_that_the_devices_cannot_share_is_refused(program):
    done = program.run("--config=configs/resnet18_mix.py", "--config.batch_size=12", devices=8)
    assert done.returncode == 2
    assert "batch of 12 cannot be split over 8 devices" in done.stderr.splitlines()[-1]
