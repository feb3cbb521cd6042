"""Weights that others made: features against torchvision's, and every way to be wrong."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from histo_simclr import encoder, fingerprint
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ARCHS
from histo_simclr.provenance import Provenance
from histo_simclr.weights import foreign, label, layouts, names, sound, torch_file

# Of tests/golden: torchvision in float32 is about ten times nearer to float64.
TOLERANCE = {"resnet18": 2e-5, "resnet34": 5e-5, "resnet50": 2e-4, "resnet101": 1e-3}
OURS = Provenance(
    arch="small",
    hidden=16,
    out=8,
    px=64,
    mean=(0.6, 0.4, 0.65),
    std=(0.2, 0.25, 0.2),
    mpp=(0.5, 1.0),
    mix={"digest": "d", "cohorts": {"x": {"license": "CC0-1.0"}}},
    config={"seed": 1},
    versions={"jax": "0"},
    revision="r",
    origin={"kind": "pretrained"},
)


def near(found, expected, tolerance):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture
def file(tmp_path, state):
    """write(changes, prefix): a torch file of the small network, some tensors exchanged."""

    def write(changes=None, *, prefix="", name="w.pth"):
        whole = {
            key: value for key, value in (state | (changes or {})).items() if value is not None
        }
        torch_file.write(tmp_path / name, {prefix + key: value for key, value in whole.items()})
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    "name",
    ["ciga_native.ckpt", "ciga_native_legacy_format.ckpt", "ciga_lightning_needs_class.ckpt"],
)
def test_the_papers_files_give_torchvisions_features(name, ciga, golden_dir, golden_weights):
    network, provenance = foreign.read(ciga / name, source="ciga")
    found = encoder.Encoder(network, provenance, batch_size=8)(golden_weights.images(1))
    near(found, np.load(golden_dir / "ciga_expected.npz")["features"], TOLERANCE["resnet18"])


@nnx.jit
def forward(network, images):
    return network(images)


@pytest.mark.parametrize("arch", [*ARCHS[:3], pytest.param("resnet101", marks=pytest.mark.slow)])
def test_every_architecture_gives_torchvisions_features(arch, golden_dir, golden_weights, tmp_path):
    golden = np.load(golden_dir / "resnet_eval.npz")
    tensors = golden_weights.resnet(arch)
    for name in tensors:
        if "running_" in name:
            tensors[name] = golden[f"{arch}/running/{name}"]
    prefixed = {f"model.resnet.{name}": array for name, array in tensors.items()}
    torch_file.write(tmp_path / "w.ckpt", prefixed)
    network, provenance = foreign.read(tmp_path / "w.ckpt", source="half")
    assert provenance.arch == arch
    images = golden_weights.normalise(golden_weights.images(1))[:, :96, :96]
    near(forward(network, images), golden[f"{arch}/features_96px"], TOLERANCE[arch])


def test_provenance_says_what_is_known_and_nothing_else(ciga):
    _, found = foreign.read(ciga / "ciga_lightning_needs_class.ckpt", source="ciga", mpp=(0.5,))
    assert (found.arch, found.px, found.mpp, found.mean) == ("resnet18", 224, (0.5,), (0.5,) * 3)
    assert (found.hidden, found.out, found.mix, found.config) == (0, 0, {}, {})
    origin = found.origin
    assert (origin["kind"], origin["source"], origin["license"]) == ("imported", "ciga", "MIT")
    assert origin["file"] == "ciga_lightning_needs_class.ckpt"  # without its folder
    assert (origin["format"], origin["loaded"]) == ("torch zip", 100)
    assert len(origin["sha256"]) == 64
    assert {reason: len(keys) for reason, keys in origin["ignored"].items()} == {
        "counts of training batches": 20,
        "projection head": 4,
        "state of the training, not of the network": 8,
    }
    assert Provenance.from_json(json.loads(json.dumps(found.to_json())), where="") == found


def test_weights_come_through_to_the_bit(file, state):
    network, _ = foreign.read(file(prefix="module.encoder."), source="half")
    found = dict(names.to_torch(network))
    for name, array in state.items():
        if not name.endswith("batches_tracked"):
            np.testing.assert_array_equal(found[name], array)


def export(path, state, **changes):
    """As our own exports do: weights and label in one safetensors file."""
    content = label.label(names.from_torch(state, "small"), OURS) | changes
    metadata = {"format": "pt", "histo_simclr": json.dumps(content)}
    safetensors.numpy.save_file(state, path, metadata=metadata)
    return path


def test_our_own_export_comes_back_to_the_bit_with_its_provenance(tmp_path, state):
    network, provenance = foreign.read(export(tmp_path / "w.safetensors", state))
    assert provenance == OURS.published()
    again = dict(names.to_torch(network))
    assert label.model_sha256(again) == label.model_sha256(state)


def test_our_own_export_says_itself_what_it_expects(tmp_path, state):
    path = export(tmp_path / "w.safetensors", state)
    with pytest.raises(InputError, match="says itself .* --source, --px|--px, --source"):
        foreign.read(path, source="half", px=96)


def test_an_export_with_other_weights_or_statistics_is_refused(tmp_path, state):
    path = tmp_path / "w.safetensors"
    changed = state | {"layer1.0.conv1.weight": 2 * state["layer1.0.conv1.weight"]}
    whole = label.label(names.from_torch(state, "small"), OURS)
    metadata = {"histo_simclr": json.dumps(whole)}
    safetensors.numpy.save_file(changed, path, metadata=metadata)
    with pytest.raises(InputError, match="other weights than its label states"):
        foreign.read(path)
    other = dataclasses.replace(OURS, mean=(0.5, 0.5, 0.5)).to_json()
    with pytest.raises(InputError, match="gives other features than it was written with"):
        foreign.read(export(path, state, provenance=other))
    torn = fingerprint.to_json(np.zeros((8, 3), np.float32))
    with pytest.raises(InputError, match="gives other features"):
        foreign.read(export(path, state, fingerprint=torn))
    with pytest.raises(InputError, match="label of version 9"):
        foreign.read(export(path, state, format_version=9))


@pytest.mark.parametrize("absent", [None, [], "x"])
def test_a_label_without_a_fingerprint_is_refused(absent, tmp_path, state):
    with pytest.raises(InputError, match="has no fingerprint"):
        foreign.read(export(tmp_path / "w.safetensors", state, fingerprint=absent))


def test_a_fingerprint_of_other_patches_says_to_update(tmp_path, state):
    path = export(tmp_path / "w.safetensors", state)
    stored = foreign.tensors_of(path).label["fingerprint"] | {"patches": "0" * 64}
    with pytest.raises(InputError, match="of other patches.*update histo_simclr"):
        foreign.read(export(path, state, fingerprint=stored))


def test_another_network_beside_it_is_no_state_of_the_training(file):
    contents = foreign.tensors_of(file())
    contents = contents._replace(left_out=("epoch",), others=("state_dict_ema",))
    found = foreign.left_out(contents, layouts.Plan("small", "", {}, {}))
    assert found[layouts.ANOTHER] == ["state_dict_ema"]
    assert found[layouts.TRAINING] == ["epoch"]


def test_a_config_that_names_another_network_is_refused(tmp_path, state):
    # timm's resnetaa and resnetblur have the same tensors and compute something else.
    safetensors.numpy.save_file(state, tmp_path / "model.safetensors")
    config = {"architecture": "resnetaa50", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="says that it is a resnetaa50, and holds the tensors"):
        foreign.read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "small"}))
    assert foreign.read(tmp_path)[1].origin["statistics_from"].startswith("pretrained_cfg")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_are_converted_and_that_is_said(dtype, file, state):
    changes = {
        name: array.astype(dtype) for name, array in state.items() if array.dtype == np.float32
    }
    found = foreign.translate(file(changes), source="half")
    assert found.converted == {dtype: len(found.plan.loaded)}
    near(
        np.asarray(found.encoder.conv1.kernel[...]).transpose(3, 2, 0, 1),
        state["conv1.weight"],
        1e-3,
    )
    assert found.encoder.conv1.kernel[...].dtype == np.float32


WRONG = {
    "no numbers": {"bn1.weight": np.full(64, np.nan, np.float32)},
    "negative variances": {"bn1.running_var": np.full(64, -1, np.float32)},
    "is of int8, no floating-point": {"conv1.weight": np.ones((64, 3, 7, 7), np.int8)},
    "lacks layer2.0.bn1.bias": {"layer2.0.bn1.bias": None},
    "no part of one: layer2.0.extra": {"layer2.0.extra": np.ones(3, np.float32)},
    "as for CIFAR": {"conv1.weight": np.ones((64, 3, 3, 3), np.float32)},
}


@pytest.mark.parametrize("says", WRONG)
def test_what_is_wrong_with_a_tensor_is_one_line(says, file):
    with pytest.raises(InputError, match=says):
        foreign.read(file(WRONG[says]), source="half")


def test_numbers_beyond_float32_are_refused(file):
    with pytest.raises(InputError, match="no numbers"):
        foreign.read(file({"bn1.weight": np.full(64, 1e300)}), source="half")


def test_without_statistics_nothing_is_imported(file):
    with pytest.raises(InputError, match="does not say how its pixels were normalized"):
        foreign.read(file())


@pytest.mark.parametrize(
    "name", ["ciga_native_legacy_format.ckpt", "ciga_lightning_needs_class.ckpt"]
)
def test_reading_holds_one_tensor_at_a_time(name, ciga):
    tracemalloc.start()
    contents = foreign.tensors_of(ciga / name)
    tensors = sound.Sound(contents.tensors, {key: key for key in contents.tensors}, ciga / name)
    largest = 0
    for key, stored in contents.tensors.stored.items():
        if stored.dtype == "float32":
            largest = max(largest, tensors[key].nbytes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest == 512 * 512 * 9 * 4
    assert peak < 4 * largest  # of 45 MB of weights, or 90 MB with the optimizer's
