"""Exported programs as they run without our code; features against torchvision's."""

import json
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.weights import foreign, jax_program, label, names

LABEL = {"exported_by": "histo-simclr 9.8.7", "note": "µm"}
BEFORE = """
import sys
sys.modules |= dict.fromkeys(("histo_simclr", "flax", "tensorflow"))
import numpy
patches = numpy.load("patches.npy")
"""
AFTER = """
print(*program.platforms)
numpy.save("features.npy", features)
"""


@pytest.fixture(scope="module")
def written(tinted_encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("jax_program") / "encoder"
    jax_program.write(*tinted_encoder, LABEL, path)
    return path


@pytest.mark.slow
def test_the_lines_of_its_readme_give_torchvisions_features_without_our_code(
    golden_encoder, golden_patches, golden_features, tmp_path
):
    folder = tmp_path / "encoder"
    jax_program.write(*golden_encoder("resnet50"), LABEL, folder)
    np.save(folder / "patches.npy", golden_patches)
    (lines,) = re.findall("```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + lines + AFTER],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cpu", "cuda", "tpu"]
    found, expected = np.load(folder / "features.npy"), golden_features("resnet50")
    assert found.dtype == np.float32
    # The tolerance of tests/model/test_resnet.py.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


def test_patches_of_any_number_and_side_give_the_checkpoints_features(
    written, own_features, real_patches
):
    for patches in (real_patches, real_patches[:1, :70, :50]):
        found, expected = jax_program.features_of(written, patches), own_features(patches)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_pixels_that_are_no_bytes_are_refused(written, real_patches):
    program = jax.export.deserialize(bytearray((written / "program.jax").read_bytes()))
    weights = dict(np.load(written / "weights.npz"))
    with pytest.raises(ValueError, match=r"expected .*uint8"):
        program.call(weights, real_patches[:1] / np.float32(255))


def test_weights_are_the_encoders_tensors_to_the_bit(written, tinted_encoder):
    found, tensors = foreign.tensors_of(written).tensors, names.to_torch(tinted_encoder[0])
    assert found.keys() == {name for name in tensors if not name.endswith(names.BATCHES)}
    assert all(np.array_equal(found[name], tensors[name]) for name in found)
    assert label.model_sha256(found) == label.model_sha256(tensors)


def test_the_folder_is_checked_by_the_usual_tool_and_says_what_it_is(written):
    command = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=written, check=False).returncode == 0
    assert json.loads((written / "label.json").read_text("utf-8")) == LABEL
    readme = (written / "README.md").read_text("utf-8")
    assert "of 0.5 or 1 µm/px; resized to 96 px" in readme


def test_the_program_names_no_file_of_the_machine_that_wrote_it(written):
    content = (written / "program.jax").read_bytes()
    assert not re.findall(rb"[\w./-]+\.py\b|[\w./-]*site-packages", content)


def test_writing_again_gives_the_same_weights_and_words(written, tinted_encoder, tmp_path):
    jax_program.write(*tinted_encoder, LABEL, tmp_path / "again")
    for name in ("weights.npz", "label.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes(), name


@pytest.mark.parametrize("file", ["program.jax", "weights.npz"])
def test_a_flipped_bit_is_found_before_anything_runs(file, written, tmp_path, real_patches):
    path = shutil.copytree(written, tmp_path / "encoder")
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 4
    (path / file).write_bytes(content)
    with pytest.raises(InputError, match=rf"{re.escape(file)} changed since it was written"):
        jax_program.features_of(path, real_patches[:1])


@pytest.mark.parametrize("file", ["program.jax", "SHA256SUMS"])
def test_a_missing_file_is_one_line(file, written, tmp_path, real_patches):
    path = shutil.copytree(written, tmp_path / "encoder")
    (path / file).unlink()
    with pytest.raises(InputError, match=f"no program of histo_simclr: .*{file}"):
        jax_program.features_of(path, real_patches[:1])


def test_weights_that_are_one_array_are_one_line(written, tmp_path):
    path = shutil.copytree(written, tmp_path / "encoder")
    with (path / "weights.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(InputError, match="one array, no archive of them"):
        foreign.tensors_of(path)
