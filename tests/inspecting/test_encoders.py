"""Weights in files: what an export says and whether it holds, and what is known of foreign ones."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from histo_simclr import cli
from histo_simclr.errors import InputError
from histo_simclr.inspecting import report
from histo_simclr.weights import jax_program, label, names, onnx_graph, saved_model, torch_file


@pytest.fixture(scope="session")
def labelled(network, pretrained):
    return label.label(network, pretrained)


@pytest.fixture
def exported(tmp_path, network, labelled):
    """A torch file with its label beside it, as `export` writes."""
    torch_file.write(tmp_path / "encoder.pth", names.to_torch(network))
    (tmp_path / "encoder.pth.json").write_text(json.dumps(labelled))
    return tmp_path / "encoder.pth"


def test_an_export_tells_what_its_checkpoint_tells(exported, workdir):
    found, expected = report.inspect(exported), report.inspect(workdir)
    assert found["kind"] == "export"
    for name in ("encoder", "origin", "terms", "related", "versions", "revision"):
        assert found[name] == expected[name]
    assert found["weights"]["fingerprint"] == "matches"
    assert found["weights"]["model_sha256"] == expected["weights"]["model_sha256"]
    assert [each["cohorts"] for each in found["stages"]] == [
        each["cohorts"] for each in expected["stages"]
    ]
    assert report.seen(exported, "pcam").seen == "yes"
    # Where the mix lies does not travel with an export; it may be named.
    assert report.seen(exported, "a slide").seen == "unknown"


def test_an_export_with_other_weights_than_its_label_is_refused(exported, network):
    tensors = dict(names.to_torch(network))
    tensors["conv1.weight"] = tensors["conv1.weight"][::-1].copy()
    exported.unlink()
    torch_file.write(exported, tensors)
    with pytest.raises(InputError, match=str(exported)):
        report.inspect(exported)


@pytest.mark.slow
@pytest.mark.parametrize("module", [onnx_graph, saved_model, jax_program])
def test_programs_are_read_and_run(tmp_path, network, pretrained, labelled, module):
    out = tmp_path / "encoder.onnx"
    module.write(network, pretrained, labelled, out)
    found = report.inspect(out)
    assert found["kind"] == "export"
    assert found["weights"]["fingerprint"] == "matches"
    assert found["weights"]["model_sha256"] == labelled["model_sha256"]
    assert report.seen(out, "pcam").seen == "yes"


def test_a_graph_that_normalizes_in_another_way_is_found(tmp_path, network, pretrained, labelled):
    import onnx

    out = tmp_path / "encoder.onnx"
    onnx_graph.write(network, pretrained, labelled, out)
    model = onnx.load(out)
    (mean,) = [node for node in model.graph.node if node.name == "mean"]
    mean.attribute[0].t.raw_data = np.full(3, 0.7, np.float32).tobytes()
    onnx.save(model, out)
    with pytest.raises(InputError, match="gives other features than it was written with"):
        report.inspect(out)


def test_of_weights_of_unknown_normalization_the_rest_is_told(tmp_path, network, capsys):
    save_file(dict(names.to_torch(network)), tmp_path / "theirs.safetensors")
    assert cli.main(["inspect", str(tmp_path / "theirs.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "architecture   resnet18" in text
    assert f"sha256         {label.model_sha256(names.to_torch(network))[:16]}" in text
    assert "note: " in text
    assert "--source" in text


def test_what_a_strangers_label_says_cannot_steer_the_terminal(exported, labelled, capsys):
    mix = {"name": "\x1b[2J", "cohorts": {"a\nb": {}}, "size": 1, "px": 96}
    told = labelled | {"provenance": labelled["provenance"] | {"mix": mix}}
    exported.with_name("encoder.pth.json").write_text(json.dumps(told))
    assert cli.main(["inspect", str(exported)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "a\\nb" in text


def test_foreign_weights_say_what_is_missing(tmp_path, network):
    save_file(dict(names.to_torch(network)), tmp_path / "theirs.safetensors")
    found = report.inspect(tmp_path / "theirs.safetensors")
    assert found["kind"] == "foreign weights"
    assert found["tensors"] == len(names.shapes("resnet18"))
    assert "--mean" in found["notes"][0]
    assert report.seen(tmp_path / "theirs.safetensors", "pcam").seen == "unknown"
