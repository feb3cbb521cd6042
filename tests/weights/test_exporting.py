"""What is written is what was in the checkpoint, whole or not at all."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import histo_simclr
from histo_simclr import checkpoint, cli
from histo_simclr.errors import InputError
from histo_simclr.model import resnet
from histo_simclr.weights import exporting, foreign, label, names

TENSORS = ("torch", "safetensors", "npz", "timm", "hf")


@pytest.fixture(scope="module")
def small_looks(looks, small_arch):
    return dataclasses.replace(looks, arch=small_arch)


@pytest.fixture(scope="module")
def checkpoint_at(small_looks, tmp_path_factory):
    # Takes less time than the real ones, which test_ecosystem.py exports.
    encoder = resnet.ResNet(small_looks.arch, rngs=nnx.Rngs(1))
    encoder.eval()
    folder = tmp_path_factory.mktemp("pretrained") / "encoder"
    return checkpoint.write_encoder(folder, encoder, small_looks)


@pytest.fixture(scope="module")
def exports(checkpoint_at, tmp_path_factory):
    """exports(format): the export of the checkpoint in it, made once."""
    made: dict[str, exporting.Exported] = {}

    def make(format_name: str) -> exporting.Exported:
        if format_name not in made:
            out = tmp_path_factory.mktemp(format_name) / "encoder"
            made[format_name] = exporting.export_checked(checkpoint_at, format_name, out)
        return made[format_name]

    return make


@pytest.mark.parametrize("format_name", TENSORS)
def test_every_tensor_is_the_checkpoints_to_the_bit(exports, checkpoint_at, format_name):
    done = exports(format_name)
    encoder, _, _ = checkpoint.load_encoder(checkpoint_at)
    wanted, found = names.to_torch(encoder), foreign.tensors_of(done.path).tensors
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes(), name
    assert done.difference == 0
    assert done.model_sha256 == label.model_sha256(wanted)


@pytest.mark.parametrize("format_name", TENSORS)
def test_an_export_says_what_the_checkpoint_says_but_for_places(exports, small_looks, format_name):
    done = exports(format_name)
    said = label.read(foreign.tensors_of(done.path).label, where=done.path)
    assert said.provenance == small_looks.published()
    assert said.model_sha256 == done.model_sha256
    files = [done.path] if done.path.is_file() else list(done.path.iterdir())
    for file in (*files, *done.path.parent.glob("*.json")):
        assert b"/home/somebody" not in file.read_bytes()


@pytest.mark.parametrize("format_name", TENSORS)
def test_the_same_checkpoint_gives_the_same_bytes(exports, checkpoint_at, tmp_path, format_name):
    first = exports(format_name).path
    second = histo_simclr.export(checkpoint_at, format_name, tmp_path / "encoder")

    def content(path: Path) -> dict[str, bytes]:
        files = [path] if path.is_file() else sorted(path.iterdir())
        files += sorted(path.parent.glob("encoder.*"))
        return {file.name: file.read_bytes() for file in files}

    assert content(first) == content(second)
    assert {file.name for file in tmp_path.iterdir()} <= {"encoder", "encoder.json"}


def test_the_command_says_how_to_load_it(checkpoint_at, tmp_path, capsys):
    out = tmp_path / "new" / "encoder.safetensors"
    assert (
        cli.main(["export", str(checkpoint_at), "--format", "safetensors", "--out", str(out)]) == 0
    )
    told = capsys.readouterr().out
    assert f"wrote {out}: small, 64 px, µm/px 0.972, mean (0.7, 0.55, 0.65)" in told
    assert "features of 8 patches differ by 0.0e+00 of the largest" in told
    *_, example = told.split("\n\n")
    assert len(example.strip().splitlines()) == 3
    assert repr(str(out)) in example


@pytest.mark.parametrize("there", ["encoder", "encoder.json"])
def test_nothing_is_overwritten_and_that_is_said_before_any_work(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(InputError, match=f"{there}: is there already; remove it or give another"):
        exporting.export(tmp_path / "no checkpoint", "torch", tmp_path / "encoder")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


FULL_DISK = """
import resource, sys
sys.path.insert(0, {root!r})
from histo_simclr import cli
from histo_simclr.model import resnet
resnet.STAGE_BLOCKS["small"] = (1, 1, 1, 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, resource.RLIM_INFINITY))
for name in {formats!r}:
    print(cli.main(["export", {source!r}, "--format", name, "--out", {out!r}]))
"""


def test_a_full_disk_is_one_line_and_nothing_is_left(checkpoint_at, tmp_path, request):
    # A limit on the size of files makes writes fail in the middle, as a full disk does.
    code = FULL_DISK.format(
        root=str(request.config.rootpath),
        source=str(checkpoint_at),
        formats=TENSORS,
        out=str(tmp_path / "encoder"),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["2"] * len(TENSORS), done.stderr
    told = "encoder: cannot be written (File too large); make room or give a writable --out"
    assert done.stderr.count(told) == len(TENSORS), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(checkpoint_at, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written \((Not a directory|File exists)\)"):
        exporting.export(checkpoint_at, "npz", tmp_path / "file" / "encoder")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, RuntimeError])
def test_an_export_that_stops_in_the_middle_leaves_nothing(
    checkpoint_at, tmp_path, monkeypatch, interrupt
):
    def write(encoder, provenance, label, out):
        out.write_bytes(b"half")
        raise interrupt

    monkeypatch.setitem(exporting.FORMATS, "npz", exporting.Format(write, None, ""))
    with pytest.raises(interrupt):
        exporting.export(checkpoint_at, "npz", tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def _flipped(tensors):
    bits = tensors["layer4.0.bn2.bias"].view(np.uint32)
    bits[0] ^= 1  # the last digit of one value
    return tensors


def test_one_wrong_bit_in_what_was_written_is_refused(checkpoint_at, tmp_path, monkeypatch):
    def write(encoder, provenance, content, out):
        changed = _flipped({k: v.copy() for k, v in names.to_torch(encoder).items()})
        with out.open("wb") as file:
            np.savez(file, **changed, histo_simclr=json.dumps(content))

    monkeypatch.setitem(exporting.FORMATS, "npz", exporting.Format(write, None, ""))
    with pytest.raises(InputError, match="does not give the checkpoint's features"):
        exporting.export(checkpoint_at, "npz", tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def test_a_program_with_other_features_is_refused(checkpoint_at, tmp_path, monkeypatch):
    def write(encoder, provenance, content, out):
        out.write_bytes(b"program")

    def features_of(path, patches):
        assert patches.shape == (8, 96, 96, 3)
        return np.ones((8, 512), np.float32)

    monkeypatch.setitem(exporting.FORMATS, "onnx", exporting.Format(write, features_of, ""))
    with pytest.raises(InputError, match=r"does not give the checkpoint's features .*tolerance"):
        exporting.export(checkpoint_at, "onnx", tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


def test_an_orbax_folder_of_somebody_else_is_one_line(tmp_path):
    # The right names, and no metadata of ours; without provenance: test_report.py of inspecting.
    folder = tmp_path / "stranger"
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            folder,
            ocp.args.Composite(
                params=ocp.args.StandardSave({"w": np.zeros(3)}),
                metadata=ocp.args.JsonSave({"step": 1}),
            ),
        )
    with pytest.raises(InputError) as refused:
        exporting.export(folder, "npz", tmp_path / "encoder")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "encoder").exists()


def test_no_checkpoint_and_an_unknown_format_are_one_line(checkpoint_at, tmp_path):
    with pytest.raises(InputError, match="no such checkpoint; give a workdir"):
        exporting.export(tmp_path / "none", "npz", tmp_path / "encoder")
    with pytest.raises(InputError, match="format: cannot be 'keras'; choose from torch, timm"):
        exporting.export(checkpoint_at, "keras", tmp_path / "encoder")


def test_results_belong_to_a_model_card(checkpoint_at, tmp_path):
    with pytest.raises(InputError, match="--results: --format npz has no table of results"):
        exporting.export_checked(checkpoint_at, "npz", tmp_path / "e", results=[tmp_path])


def test_a_step_of_a_run_is_told_and_zeros_of_resolution_are_not(
    small_looks, checkpoint_at, tmp_path
):
    encoder, _, _ = checkpoint.load_encoder(checkpoint_at)
    place = checkpoint.write_encoder(tmp_path / "run/checkpoints/80", encoder, small_looks)
    exporting.export(place, "hf", tmp_path / "encoder")
    told = json.loads((tmp_path / "encoder/config.json").read_text())["histo_simclr"]
    assert told["step"] == 80
    assert "| patches seen | 5,120," in (tmp_path / "encoder/README.md").read_text()
    exporting.export(checkpoint_at, "torch", tmp_path / "encoder.pth")
    beside = json.loads((tmp_path / "encoder.pth.json").read_text())
    assert "step" not in beside["histo_simclr"]
    assert 0 in small_looks.mpp
    assert beside["mpp"] == [0.972]
