"""The command: a checkpoint for every other command, or one line and nothing written."""

import subprocess
import sys

import numpy as np
import pytest

import histo_simclr
from histo_simclr import checkpoint, cli
from histo_simclr.errors import InputError
from histo_simclr.weights import importing, names, torch_file

TOLD = ["--mean", "0.7,0.5,0.6", "--std", "0.2,0.3,0.2", "--px", "64", "--mpp", "1,0.5"]


@pytest.fixture
def weights(tmp_path, state):
    path = tmp_path / "w.pth"
    torch_file.write(path, {f"module.backbone.{name}": array for name, array in state.items()})
    return path


def test_what_is_imported_is_a_checkpoint(weights, state, tmp_path, capsys):
    out = tmp_path / "deep/out"
    assert cli.main(["import", str(weights), "--out", str(out), "--license", "MIT", *TOLD]) == 0
    printed = capsys.readouterr().out
    assert "small, torch zip, layout of solo-learn" in printed
    assert "loaded      " in printed
    assert "mean 0.7,0.5,0.6, std 0.2,0.3,0.2, says --mean and --std" in printed
    assert f"--checkpoint {out}" in printed
    network, provenance, path = checkpoint.load_encoder(out)
    assert path == out
    assert (provenance.px, provenance.mpp) == (64, (0.5, 1.0))
    assert (provenance.origin["license"], provenance.origin["file"]) == ("MIT", "w.pth")
    found = dict(names.to_torch(network))
    for name in ("conv1.weight", "layer4.0.bn2.running_var"):
        np.testing.assert_array_equal(found[name], state[name])


def test_the_python_name_does_the_same(weights, tmp_path):
    out = histo_simclr.import_weights(weights, tmp_path / "out", source="half")
    assert out == tmp_path / "out"
    encoder = histo_simclr.load_encoder(out)
    assert (encoder.arch, encoder.mean) == ("small", (0.5,) * 3)
    direct = histo_simclr.load_encoder(weights, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert direct.sha256 == encoder.sha256


def test_the_papers_file_is_described_key_by_key(ciga, tmp_path, capsys):
    file = str(ciga / "ciga_lightning_needs_class.ckpt")
    assert cli.main(["import", file, "--out", str(tmp_path / "out"), "--source", "ciga"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "loaded      100 tensors, missing 0",
        "left out    4 (model.resnet.fc.1.weight, model.resnet.fc.1.bias, …): projection head",
        "left out    20 (model.resnet.bn1.num_batches_tracked",
        "left out    8 (epoch, global_step, …): state of the training",
        "licence     MIT",
        "arXiv:2011.13971",
        "others (marugoto, hi-ml) fed ImageNet's",
        "µm/px unknown (--mpp)",
        "fingerprint 8 patches, 512 features each",
        "--mpp MPP",
    ):
        assert line in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "does not say how its pixels were normalized"),
        (["--source", "half", "--arch", "resnet50"], "holds a small, --arch says resnet50"),
        (["--source", "nobody"], "unknown source 'nobody'"),
        (["--mean", "1,1,1"], "give both"),
    ],
)
def test_a_refusal_writes_nothing(arguments, says, weights, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["import", str(weights), "--out", str(out), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize("text", ["0.5", "0.5,0.5", "a,b,c", "0.5;0.5;0.5"])
def test_colors_are_three_numbers(text, weights, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["import", str(weights), "--out", "x", "--mean", text, "--std", "1,1,1"])
    assert "--mean" in capsys.readouterr().err


def test_what_is_there_is_not_overwritten(weights, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").touch()
    for out in ("out", "w.pth"):
        with pytest.raises(InputError, match="is there already; remove it or give another place"):
            importing.import_weights(weights, tmp_path / out, source="half")
    assert (tmp_path / "out/precious").is_file()


def test_a_place_that_cannot_be_written_is_one_line(weights):
    with pytest.raises(InputError, match="cannot be written"):
        importing.import_weights(weights, weights / "out", source="half")


FULL_DISK = """
import resource
import sys
sys.path.insert(0, {root!r})
from histo_simclr.errors import InputError
from histo_simclr.model import resnet
from histo_simclr.weights import importing
resnet.STAGE_BLOCKS["small"] = (1, 1, 1, 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    importing.import_weights({file!r}, {out!r}, source="half")
except InputError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(weights, tmp_path, request):
    # A limit on the size of files makes writes fail in the middle, as a full disk does.
    root = str(request.config.rootpath)
    code = FULL_DISK.format(root=root, file=str(weights), out=str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "out: cannot be written (File too large)" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]
