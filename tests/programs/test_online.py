"""A run judged while it trains: the same training, the same lines after any interruption."""

import json
import os
import signal

import pytest

from histo_simclr import checkpoint, checkpoint_items, records
from histo_simclr import mesh as meshes
from histo_simclr.evaluate import extract
from histo_simclr.pretrain import questions

pytestmark = pytest.mark.slow

PCAM = "data/sample/records/pcam"
ONLINE = (
    f"--config.online.records={PCAM}",
    "--config.online.every=2",
    "--config.online.patches=40",
    "--config.online.mix_patches=30",
    "--config.run.keep=10",
)
# What a clock measures differs from run to run.
MEASURED = ("images_per_s", "input_wait_fraction")


def lines_of(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{key: line[key] for key in line if key not in MEASURED} for line in lines]


def digests(workdir, step):
    return checkpoint_items.read_metadata(workdir / "checkpoints" / str(step))["leaves"]


@pytest.fixture(scope="module")
def judged(program, pretrain_arguments, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("judged")
    done = program.run(*pretrain_arguments(workdir, steps=6, extra=ONLINE))
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_the_training_is_the_same_to_the_bit_without_it(
    program, pretrain_arguments, judged, tmp_path
):
    done = program.run(*pretrain_arguments(tmp_path, steps=6, extra=("--config.run.keep=10",)))
    assert done.returncode == 0, done.stderr
    with_it, without = lines_of(judged[0]), lines_of(tmp_path)
    trained = [{k: v for k, v in line.items() if "online_" not in k} for line in with_it]
    assert trained == without
    assert not any("online" in key for line in without for key in line)
    for step in (2, 4, 6):
        assert digests(judged[0], step) == digests(tmp_path, step)


def test_the_lines_hold_what_the_saved_checkpoints_answer(judged):
    """Those of the step, not of one later, and the floor beside them."""
    rows, _ = records.load_mix("data/sample/mix")
    asked = questions.about(
        rows,
        "data/sample/mix",
        records=PCAM,
        split="train",
        patches=40,
        holdout=1 / 3,
        mix_patches=30,
        neighbors=20,
        strength=1000.0,
        seed=0,
        test_split="test",
        max_corrupt=0.0,
    )
    lines = lines_of(judged[0])
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        path = judged[0] / "checkpoints" / str(line["step"])
        encoder, provenance, _ = checkpoint.load_encoder(path)
        view = {"px": provenance.px, "mean": provenance.mean, "std": provenance.std}
        for each in asked:
            features = extract.features(
                encoder, each.rows.take(each.chosen), batch_size=8, mesh=meshes.make(1), **view
            )
            for name, value in each.ask(features).items():
                # Exact but for ties that rounding turns.
                assert line[name] == pytest.approx(value, abs=0.01), (line["step"], name)
    floors = {line["online_knn_untrained"] for line in lines}
    assert len(floors) == 1
    assert len({line["online_other_cohort"] for line in lines}) > 1


def test_header_and_progress_say_what_is_judged(judged):
    _, done = judged
    assert (
        "online    every 2 steps: kNN and probe of 2 classes (27 patches fitted, 13" in done.stdout
    )
    last = [line for line in done.stderr.splitlines() if line.startswith("step 6/6")]
    assert "(untrained " in last[0]
    assert "chance 50.0%)" in last[0]


def test_stopped_by_sigterm_and_resumed_the_lines_are_those_of_an_undisturbed_run(
    program, pretrain_arguments, wait_for, judged, tmp_path
):
    arguments = pretrain_arguments(
        tmp_path, steps=6, extra=(*ONLINE, "--config.run.checkpoint_every=1000")
    )
    process = program.start(*arguments)
    assert wait_for(lambda: program.has_logged(tmp_path), process), process.communicate()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    reached = int(next((tmp_path / "checkpoints").iterdir()).name)
    stopped = lines_of(tmp_path)
    assert stopped[-1]["step"] == reached
    assert all(("online_knn" in line) == (line["step"] % 2 == 0) for line in stopped)
    assert program.run(*arguments).returncode == 0
    answers = [
        [{k: v for k, v in line.items() if "online_" in k or k == "step"} for line in lines]
        for lines in (lines_of(judged[0]), lines_of(tmp_path))
    ]
    # A stop at an odd step leaves a line of its own.
    assert [line for line in answers[1] if line["step"] % 2 == 0] == answers[0]
    assert digests(tmp_path, 6) == digests(judged[0], 6)


def test_killed_no_line_up_to_a_checkpoint_is_missing_and_the_rest_comes_again(
    program, pretrain_arguments, wait_for, judged, tmp_path
):
    arguments = pretrain_arguments(tmp_path, steps=6, extra=ONLINE)
    process = program.start(*arguments)
    assert wait_for(lambda: (tmp_path / "checkpoints/2").is_dir(), process), process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    lines = lines_of(tmp_path)
    assert "online_knn" in lines[0]
    assert lines == lines_of(judged[0])[: len(lines)]
    # Another setting is no other run: what is asked may change when it is resumed.
    changed = program.run(*arguments, "--config.online.every=3")
    assert changed.returncode == 0, changed.stderr
    resumed = lines_of(tmp_path)
    assert {line["step"]: line.get("online_knn") for line in resumed}[6] == (
        lines_of(judged[0])[-1]["online_knn"]
    )
    assert digests(tmp_path, 6) == digests(judged[0], 6)


def test_a_set_that_cannot_be_asked_is_refused_before_anything_is_made(program, tmp_path):
    place = tmp_path / "run"
    done = program.run(
        "--config=configs/resnet18_mix.py",
        "--config.online.records=data/sample/records/brecahad",
        f"--workdir={place}",
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: config.online.records: ")
    assert "record set without labels" in last
    assert not place.exists()
