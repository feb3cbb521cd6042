"""`histo-simclr experiment`: prints, refuses, collects."""

import json
from pathlib import Path

import pytest

from histo_simclr import cli

IMAGES = "configs/experiments/images.py"


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_printing_makes_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["experiment", IMAGES, "--out", str(out), "--print"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "mix data/sample/records --recipe data/mixes/embedded.yaml --size 250" in text
    assert not out.exists()


def test_from_another_folder_paths_are_absolute(tmp_path, capsys, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    file = request.config.rootpath / f"{IMAGES}:paper"
    given = ["experiment", str(file), "--out", "out", "--records", "r", "--data", "d", "--print"]
    assert cli.main(given) == 0
    text = capsys.readouterr().out
    assert f"cd {request.config.rootpath}" in text
    assert f"mix {tmp_path}/r " in text
    assert f"--config.data={tmp_path}/d " in text
    assert f"--workdir={tmp_path}/out/evaluation" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"{IMAGES}:paper"], "--records"),
        ([f"{IMAGES}:big"], "no preset 'big'"),
        (["configs/experiments/none.py"], "no such configuration"),
        ([IMAGES, "--for", "pod"], "add --print"),
        ([IMAGES, "--collect"], "no results yet"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, message, tmp_path, capsys):
    assert cli.main(["experiment", *arguments, "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.strip()
    assert message in line
    assert "\n" not in line


def test_collecting_prints_the_table_and_leaves_the_files(tmp_path, capsys, row, write_results):
    rows = [row("sample_pcam", f"images_{size}_seed0", 0.7) for size in (250, 1000)]
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    write_results(rows).rename(evaluation / "results.json")
    given = ["experiment", IMAGES, "--out", str(tmp_path), "--collect"]
    assert cli.main(given) == 0
    text = capsys.readouterr().out
    assert "tells nothing of the paper's claims" in text
    assert "not recovered" in text
    assert "left out: images_3161 (seed 0)" in text
    for kind in ("json", "csv", "png"):
        assert Path(tmp_path / f"experiment.{kind}").stat().st_size
    assert json.loads((tmp_path / "experiment.json").read_text())["missing"] == [
        "images_3161, seed 0"
    ]
