"""What the command prints and answers by its exit code."""

import json

import pytest

from histo_simclr import cli


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize(
    ("name", "code", "seen"),
    [("pcam", 0, "yes"), ("TCGA-UCEC", 1, "no"), ("CAMELYON16", 3, "unknown")],
)
def test_seen_is_answered_by_the_exit_code_too(capsys, name, code, seen):
    assert cli.main(["inspect", "data/sample/records/pcam", "--seen", name]) == code
    assert capsys.readouterr().out.startswith(f"{name} seen: {seen}\n  ")
    assert cli.main(["inspect", "data/sample/records/pcam", "--seen", name, "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["seen"]) == (name, seen)
    assert told["because"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["docs"], "error: docs: "),
        (["nowhere"], "error: nowhere: no such file or folder"),
        (["data/sample/records"], "several record sets: brecahad"),
        (["data/sample/mix", "--seen", " "], "error: --seen: names nothing"),
        (["data/sample/mix", "--seen", "TCGA-UCEX"], "did you mean TCGA-UCEC?"),
    ],
)
def test_bad_input_is_one_line_and_code_2(capsys, arguments, message):
    assert cli.main(["inspect", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_text_says_what_a_user_asks_for_and_json_parses(capsys, workdir):
    assert cli.main(["inspect", str(workdir)]) == 0
    text = capsys.readouterr().out
    for line in (
        f"{workdir}: checkpoint of a finished run, step 40 (kept: 40)",
        "  encoder        resnet18, features of 512, projection head 512-128",
        "  input          RGB in [0, 1], mean (0.5, 0.5, 0.5), std (0.25, 0.25, 0.25), 80 px",
        "  µm/px          0.5, 1; unknown of some",
        "  origin         pretrained from scratch",
        "  fingerprint    matches",
        "  overlaps       CAMELYON16 shares pixels with pcam: some may be here",
    ):
        assert line in text.splitlines()
    assert "commercial     yes: " in text
    assert cli.main(["inspect", str(workdir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["encoder"]["arch"] == "resnet18"


def test_what_an_adapted_encoder_started_from_is_named(capsys, adapted):
    assert cli.main(["inspect", str(adapted)]) == 0
    text = capsys.readouterr().out
    assert "an imported folder, a checkpoint for every command" in text
    assert "pretrained from theirs (cdcdcdcdcdcdcdcd): encoder taken" in text
    assert "the weights it started from: what it was trained on is unknown" in text
    assert "commercial     unknown: " in text
