"""The second program from the command line, on a checkpoint of the first."""

import json

import pytest

pytestmark = pytest.mark.slow

EVALUATE = "--config=configs/linear_eval.py"


@pytest.fixture(scope="module")
def pretrained(program, pretrain_arguments, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pretrained")
    done = program.run(*pretrain_arguments(workdir, steps=2))
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def evaluated(program, pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated")
    done = program.run(
        EVALUATE,
        f"--config.checkpoint={pretrained}",
        "--config.records=data/sample/records/osteosarcoma",
        f"--workdir={out}",
    )
    assert done.returncode == 0, done.stderr
    return out, done


def test_prints_the_floors_beside_the_encoder_with_intervals(evaluated):
    _, done = evaluated
    for part in ("random init", "color histogram", "pretrained", "macro-F1", "95 % interval"):
        assert part in done.stdout


def test_results_say_what_was_judged_and_add_up(evaluated):
    out, _ = evaluated
    results = json.loads((out / "results.json").read_text())
    assert results["checkpoint"]["step"] == 2
    assert [row["name"] for row in results["rows"]] == [
        "random init",
        "color histogram",
        "pretrained",
    ]
    test = results["records"]["test"]["patches"]
    for row in results["rows"]:
        assert sum(map(sum, row["confusion"])) == test
        assert row["macro_f1"]["low"] <= row["macro_f1"]["value"] <= row["macro_f1"]["high"]
    assert (out / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_one_step_s_folder_gives_the_same_bytes(program, pretrained, evaluated, tmp_path):
    out, _ = evaluated
    again = program.run(
        EVALUATE,
        f"--config.checkpoint={pretrained / 'checkpoints' / '2'}",
        "--config.records=data/sample/records/osteosarcoma",
        f"--workdir={tmp_path}",
    )
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "results.json").read_bytes() == (out / "results.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no checkpoint given"),
        (("--config.checkpoint=absent",), "no such checkpoint"),
        (("--config.checkpoint=data",), "no checkpoint here"),
    ],
)
def test_a_bad_checkpoint_is_one_line(program, tmp_path, arguments, message):
    done = program.run(EVALUATE, *arguments, f"--workdir={tmp_path / 'out'}")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
