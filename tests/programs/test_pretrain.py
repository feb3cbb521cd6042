"""The main command end to end: it learns, leaves what it promises, and refuses clearly."""

import json
import re
import shutil

import pytest
from matplotlib import image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from histo_simclr import checkpoint, records
from histo_simclr import workdir as workdir_of_run
from histo_simclr.input import order

pytestmark = pytest.mark.slow


def test_a_loss_that_is_not_finite_names_step_and_last_good_checkpoint(
    program, pretrain_arguments, tmp_path
):
    extra = (
        "--config.optimizer.name=sgd",
        "--config.optimizer.base_rate=1e9",
        "--config.optimizer.weight_decay=1e9",
    )
    done = program.run(*pretrain_arguments(tmp_path, steps=6, extra=extra))
    assert done.returncode != 0
    said = re.search(r"(?:loss|gradient_norm) is (?:nan|inf) at step (\d+)", done.stderr)
    assert said, done.stderr
    # Checkpoints are due every 2 steps, and only what was finite was saved.
    step = int(said[1])
    saved = sorted(int(folder.name) for folder in (tmp_path / "checkpoints").iterdir())
    assert max(saved, default=0) < step
    assert f"last good checkpoint: {f'step {saved[-1]}' if saved else 'none'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_nobody_reads_what_is_printed_it_ends_in_one_line(
    program, pretrain_arguments, tmp_path
):
    process = program.start(*pretrain_arguments(tmp_path, steps=2))
    process.stdout.close()  # as `| head` does
    with process.stderr:
        err = process.stderr.read()
    assert process.wait() == 1
    assert err.splitlines()[-1].startswith("stopped: nobody reads what is printed")
    assert "Traceback" not in err
    assert "cannot be written" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/resnet18_mix.py", "--config.batch_sise=8"], "batch_size"),
        (["--config=configs/resnet18_mix.py", "--config.views.gray_prob=0"], "gray_probability"),
        (["--config=configs/resnet18_mix.py", "--config.batch_size=abc"], "invalid literal"),
        (["--config=configs/resnet18_mix.py:nothing"], "sample, overnight"),
        (["--config=configs/linear_eval.py:nothing"], "no preset 'nothing'"),
        (["--config=README.md"], "no configuration file"),
        (["--config", "--workdir=x"], "--config: no configuration"),
        (["--config=configs/absent.py"], "absent.py"),
        (["--config=configs/resnet18_mix.py", "--config.data.mix=absent"], "no such mix"),
        (["--config=configs/resnet18_mix.py", "--config.data.mix=docs"], "no mix in this folder"),
        (["--config=configs/resnet18_mix.py", "--config.data.px=224"], "96 px patches"),
        (["--config=configs/resnet18_mix.py", "--config.evaluation.records=docs"], "no record set"),
        (["--config=configs/resnet18_mix.py", "--config.evaluation.seed=-1"], "evaluation.seed"),
        (
            ["--config=configs/resnet18_mix.py", "--config.online.split=test"],
            "config.online.split: 'test' is what the evaluation judges on",
        ),
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
        "--config.online.every=14",
        "--config.online.patches=60",
        "--config.online.mix_patches=60",
        "--config.evaluation.records=('data/sample/records/osteosarcoma',)",
        environment={"JAX_LOG_COMPILES": "1"},
    )
    assert done.returncode == 0, done.stderr
    # Neither a later batch nor logging, judging and saving between steps changes its program.
    assert done.stderr.count("Finished XLA compilation of jit(pretrain_step)") == 1
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    assert lines[-1]["step"] == 30
    # Chance is ln(31) = 3.434; an encoder that learned nothing stays there.
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.1
    assert "random init" in done.stdout
    results = json.loads((workdir / "evaluation/osteosarcoma/results.json").read_text())
    assert len(results["rows"]) == 3
    events = EventAccumulator(str(workdir / "tensorboard")).Reload()
    assert {"train/loss", "online/knn"} <= {*events.Tags()["scalars"], *events.Tags()["tensors"]}
    assert [line["step"] for line in lines if "online_knn" in line] == [14, 28]
    confusion = "evaluation/osteosarcoma/confusion_matrix.png"
    for picture in ("pictures/views.png", "pictures/curves.png", confusion):
        assert image.imread(workdir / picture).std() > 0.01
    assert checkpoint.load_encoder(workdir)[2].name == "30"
    assert workdir_of_run.finished(workdir)["step"] == 30


def test_a_batch_that_the_devices_cannot_share_is_refused(program):
    done = program.run("--config=configs/resnet18_mix.py", "--config.batch_size=12", devices=8)
    assert done.returncode == 2
    assert "batch of 12 cannot be split over 8 devices" in done.stderr.splitlines()[-1]


def test_a_corrupt_record_among_the_first_pictures_stops_nothing(
    program, pretrain_arguments, tmp_path, request
):
    sample = request.config.rootpath / "data/sample"
    shutil.copytree(sample, tmp_path / "sample")
    mix = tmp_path / "sample/mix"
    rows, _ = records.load_mix(mix)
    row = order.batch_rows(0, seed=0, n=len(rows), batch_size=6)[2]  # as preview draws
    with open(rows.shards[rows.shard[row]], "r+b") as shard:
        shard.seek(rows.offset[row] + 100)
        shard.write(b"torn")
    extra = (f"--config.data.mix={mix}",)
    done = program.run(*pretrain_arguments(tmp_path / "run", steps=2, extra=extra))
    assert done.returncode == 0, done.stderr
    assert "fails its checksum" in done.stderr
