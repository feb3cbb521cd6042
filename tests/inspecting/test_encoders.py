"""Weights in files: what an export says and whether it holds, and what is known of foreign ones."""

import json
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

from histo_simclr import cli, fingerprint, weights
from histo_simclr.errors import InputError
from histo_simclr.inspecting import report
from histo_simclr.weights import label, names, torch_file


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


@pytest.mark.parametrize(
    ("folder", "module"), [("saved_model.pb", "saved_model"), ("program.jax", "jax_program")]
)
def test_compiled_programs_are_run_on_the_patches_of_the_fingerprint(
    tmp_path, labelled, monkeypatch, folder, module
):
    (tmp_path / folder).write_bytes(b"a program")
    place = {"saved_model": "assets.extra/histo_simclr.json", "jax_program": "label.json"}[module]
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(json.dumps(labelled))
    features = fingerprint.from_json(labelled["fingerprint"])
    asked = []

    def features_of(path, patches):
        asked.append((path, patches))
        return features

    stand_in = types.SimpleNamespace(features_of=features_of)
    monkeypatch.setattr(weights, module, stand_in, raising=False)
    assert report.inspect(tmp_path)["weights"]["fingerprint"] == "matches"
    assert asked[0][0] == tmp_path
    assert np.array_equal(asked[0][1], fingerprint.patches())
    features = features[::-1]
    with pytest.raises(InputError, match="gives other features than it was written with"):
        report.inspect(tmp_path)


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
