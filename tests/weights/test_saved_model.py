"""SavedModels as TensorFlow alone takes them; features against torchvision's."""

import ast
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.weights import foreign, label, names, saved_model

LABEL = {"exported_by": "histo-simclr 9.8.7", "note": "µm"}
# In a process of its own, where neither JAX nor our code can be imported.
SERVE = """
import sys
sys.modules |= dict.fromkeys(("jax", "jaxlib", "flax", "histo_simclr"))
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
images = tf.constant(np.load(sys.argv[2]))
served = model.signatures["serving_default"]
(given,) = served.structured_input_signature[1].values()
print(given.name, given.dtype.name, given.shape.as_list())
print({name: output.shape.as_list() for name, output in served.structured_outputs.items()})
called, one = model(images), served(images[:1])
np.savez(sys.argv[3], one=one["features"], signature=served(images)["final_avg_pool"], **called)
"""


@pytest.fixture(scope="module")
def written(tinted_encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved_model") / "encoder"
    saved_model.write(*tinted_encoder, LABEL, path)
    return path


def serve(path, images, folder):
    np.save(folder / "images.npy", images)
    command = [sys.executable, "-c", SERVE, path, folder / "images.npy", folder / "found.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), dict(np.load(folder / "found.npz"))


@pytest.mark.slow
def test_tensorflow_alone_serves_torchvisions_features(
    golden_encoder, golden_patches, golden_features, tmp_path
):
    saved_model.write(*golden_encoder("resnet50"), LABEL, tmp_path / "encoder")
    images = golden_patches.astype(np.float32) / 255
    lines, found = serve(tmp_path / "encoder", images, tmp_path)
    images_line, outputs = lines
    assert images_line == "images float32 [None, 96, 96, 3]"
    # TensorFlow gives them in either order.
    assert ast.literal_eval(outputs) == {name: [None, 2048] for name in saved_model.OUTPUTS}
    expected = golden_features("resnet50")
    atol = 2e-4 * np.abs(expected).max()  # the tolerance of tests/model/test_resnet.py
    for name in ("features", "final_avg_pool", "signature"):
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=atol)
    np.testing.assert_allclose(found["one"], expected[:1], rtol=0, atol=atol)


def test_real_patches_of_any_side_give_the_checkpoints_features(
    written, own_features, real_patches
):
    for patches in (real_patches, real_patches[:1, :70, :50]):
        found, expected = saved_model.features_of(written, patches), own_features(patches)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_variables_are_the_encoders_tensors_to_the_bit(written, tinted_encoder):
    found, tensors = foreign.tensors_of(written).tensors, names.to_torch(tinted_encoder[0])
    assert found.keys() == {name for name in tensors if not name.endswith(names.BATCHES)}
    assert all(np.array_equal(found[name], tensors[name]) for name in found)
    assert label.model_sha256(found) == label.model_sha256(tensors)


def test_the_label_lies_where_tensorflow_keeps_what_it_does_not_read(written):
    assert json.loads((written / "assets.extra/histo_simclr.json").read_text("utf-8")) == LABEL


def test_it_names_no_file_of_the_machine_that_wrote_it(written):
    for path in written.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b".py" not in content
        assert b"site-packages" not in content


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index"])
def test_a_torn_folder_is_one_line(file, tinted_encoder, tmp_path, real_patches):
    path = tmp_path / "encoder"
    saved_model.write(*tinted_encoder, LABEL, path)
    content = (path / file).read_bytes()
    (path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="TensorFlow does not take it") as caught:
        saved_model.features_of(path, real_patches[:1])
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written_is_an_error_of_the_operating_system(tinted_encoder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        saved_model.write(*tinted_encoder, LABEL, tmp_path / "file" / "encoder")


@pytest.mark.parametrize("file", ["variables.index", "variables.data-00000-of-00001"])
@pytest.mark.parametrize("share", [None, 0, 0.5])
def test_torn_variables_are_one_line(file, share, written, tmp_path):
    path = shutil.copytree(written, tmp_path / "encoder")
    content = (path / "variables" / file).read_bytes()
    (path / "variables" / file).unlink()
    if share is not None:
        (path / "variables" / file).write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="cannot be read") as caught:
        dict(foreign.tensors_of(path).tensors)
    assert str(path) in caught.value.where
