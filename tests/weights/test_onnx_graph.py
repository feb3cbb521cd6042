"""ONNX files as onnxruntime and the library onnx take them; features against torchvision's."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ARCHS
from histo_simclr.weights import label, names, onnx_graph

LABEL = {"exported_by": "histo-simclr 9.8.7", "note": "µm"}
# As tests/model/test_resnet.py: about ten times what torchvision itself loses in float32.
TOLERANCES = dict(zip(ARCHS, (2e-5, 5e-5, 2e-4, 1e-3), strict=True))


def difference(found, expected):
    """In units of the largest expected value."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module")
def written(tinted_encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    onnx_graph.write(*tinted_encoder, LABEL, path)
    return path


@pytest.mark.parametrize("arch", ARCHS)
def test_every_arch_gives_torchvisions_features(
    arch, golden_encoder, golden_patches, golden_features, tmp_path
):
    onnx_graph.write(*golden_encoder(arch), LABEL, tmp_path / "encoder.onnx")
    # By onnxruntime alone, from pixels in [0, 1], channels first.
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    images = golden_patches.transpose(0, 3, 1, 2).astype(np.float32) / 255
    (found,) = session.run(["features"], {"images": images})
    assert found.dtype == np.float32
    assert difference(found, golden_features(arch)) < TOLERANCES[arch]


def test_real_patches_give_the_checkpoints_features_in_any_batch(
    own_features, written, real_patches
):
    found = onnx_graph.features_of(written, real_patches)
    assert difference(found, own_features(real_patches)) < 1e-4
    one = onnx_graph.features_of(written, real_patches[:1])
    np.testing.assert_allclose(one, found[:1], rtol=0, atol=1e-5 * np.abs(found).max())


def test_patches_of_another_side_are_resized_as_the_encoder_does(
    own_features, written, real_patches
):
    small = real_patches[:1, :70, :50]
    found = onnx_graph.features_of(written, small)
    assert difference(found, own_features(small)) < 1e-4


def test_initializers_are_the_encoders_tensors_to_the_bit(tinted_encoder, written):
    initializers = onnx.load(written).graph.initializer
    found = {each.name: numpy_helper.to_array(each) for each in initializers}
    tensors = names.to_torch(tinted_encoder[0])
    wanted = {name: array for name, array in tensors.items() if not name.endswith(names.BATCHES)}
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert label.model_sha256(found) == label.model_sha256(tensors)


def test_the_file_passes_onnxs_checks_and_says_what_it_takes_and_gives(written):
    model = onnx.load(written)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert model.ir_version <= 9  # onnxruntime 1.16 reads up to 9
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output, *inferred.graph.value_info)
    }
    assert shapes["images"] == ["batch", 3, 96, 96]
    assert shapes["features"] == ["batch", 512]
    assert shapes["layer4.1"] == ["batch", 512, 3, 3]


def test_metadata_say_how_pixels_must_look_and_under_what_terms(written):
    told = onnxruntime.InferenceSession(written).get_modelmeta().custom_metadata_map
    assert told["mean"] == "0.7,0.5,0.6"
    assert told["std"] == "0.2,0.25,0.3"
    assert told["mpp"] == "0.5,1.0"
    assert told["license"] == "CC-BY-4.0; CC0-1.0"
    assert told["histo_simclr"] == '{"exported_by": "histo-simclr 9.8.7", "note": "\\u00b5m"}'


def test_the_file_is_one_message_and_always_the_same(tinted_encoder, written, tmp_path):
    # Readers that take the last of two graphs, instead of merging them, must see all of it.
    assert len(onnx.load(written).SerializeToString()) == written.stat().st_size
    onnx_graph.write(*tinted_encoder, LABEL, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == written.read_bytes()


def test_another_side_is_refused_by_the_graph(written):
    session = onnxruntime.InferenceSession(written)
    with pytest.raises(Exception, match="Got: 64 Expected: 96"):
        session.run(None, {"images": np.zeros((1, 3, 64, 64), np.float32)})


@pytest.mark.parametrize("kept", [0, 1000, 30_000_000])
def test_a_torn_file_is_one_line(written, tmp_path, real_patches, kept):
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(written.read_bytes()[:kept])
    with pytest.raises(InputError, match="onnxruntime does not take it") as caught:
        onnx_graph.features_of(torn, real_patches[:1])
    assert "\n" not in str(caught.value)
    assert "torn.onnx" in caught.value.where


def test_without_onnx_nothing_is_written_and_the_extra_is_named(
    tinted_encoder, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"needs the package onnx; .*\[onnx\]"):
        onnx_graph.write(*tinted_encoder, LABEL, tmp_path / "encoder.onnx")
    assert not (tmp_path / "encoder.onnx").exists()


def test_without_onnxruntime_the_extra_is_named(written, real_patches, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs the package onnxruntime; .*\[onnx\]"):
        onnx_graph.features_of(written, real_patches[:1])
