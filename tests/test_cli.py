"""Commands that draw or measure: what they write, and one line for what they cannot use."""

import json
import shutil

import pytest
from matplotlib import image

from histo_simclr import cli


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_views_draws_patches_beside_their_views(tmp_path, capsys):
    sheet = tmp_path / "deep" / "views.png"
    arguments = ["views", "data/sample/mix", "--out", str(sheet), "--patches", "3", "--pairs", "1"]
    assert cli.main(arguments) == 0
    assert "3 patches, 1 pairs of views of each" in capsys.readouterr().out
    pixels = image.imread(sheet)
    # 3 patches of 96 px with gaps of 4; two views of 80 px beside them.
    assert pixels.shape[:2] == (3 * 96 + 2 * 4, 96 + 2 * (80 + 4))
    assert pixels[..., :3].std() > 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["views", "data/sample/mix", "--config=configs/linear_eval.py"], "not pretrain"),
        (["views", "data/sample/mix", "--config=configs/linear_eval.py:x"], "no preset 'x'"),
        (["views", "data/sample/mix", "--config=main.py"], "no configuration file"),
        (["views", "data/sample/mix", "--config=README.md"], "no configuration file"),
        (["views", "data/sample/mix", "--patches=4000"], "--patches: 4000 patches wanted"),
        (["views", "docs"], "no mix in this folder"),
        (["bench", "step", "--config=configs/linear_eval.py"], "not pretrain"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments, message, tmp_path, capsys):
    out = ["--out", str(tmp_path / "views.png")] if arguments[0] == "views" else []
    assert cli.main([*arguments, *out]) == 2
    line = capsys.readouterr().err.strip()
    assert message in line
    assert line.startswith("error: ")
    assert "\n" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["views", "mix", "prepare"])
def test_an_empty_folder_is_one_line(tmp_path, capsys, command):
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    more = {"views": [], "mix": ["--size", "1"], "prepare": ["--name", "x"]}[command]
    assert cli.main([command, str(empty), "--out", str(out), *more]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"error: {empty}: no ")
    assert "\n" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("file", ["mix.json", "index.parquet"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00"])
def test_a_torn_mix_is_one_line(tmp_path, capsys, file, content):
    copy = tmp_path / "mix"
    shutil.copytree("data/sample/mix", copy)
    (copy / file).write_bytes(content)
    assert cli.main(["views", str(copy), "--out", str(tmp_path / "views.png")]) == 2
    assert file in capsys.readouterr().err
    assert not (tmp_path / "views.png").exists()


def test_a_mix_whose_record_sets_are_gone_names_the_shard(tmp_path, capsys):
    copy = tmp_path / "mix"
    shutil.copytree("data/sample/mix", copy)
    info = json.loads((copy / "mix.json").read_text())
    assert cli.main(["views", str(copy), "--out", str(tmp_path / "views.png")]) == 2
    line = capsys.readouterr().err
    assert f"{len(info['shards'])} of {len(info['shards'])} shards are missing" in line
    assert "brecahad-train.tfrecord" in line
