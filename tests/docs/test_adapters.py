"""Adapters: TRIDENT's by a stand-in of its class, eva's by eva where it is, all by real timm."""

import dataclasses
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from histo_simclr import checkpoint, encode
from histo_simclr import mesh as meshes
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import exporting

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not in this environment"
)
LOOKS = Provenance(
    arch="resnet18",
    hidden=0,
    out=0,
    px=64,
    mean=(0.7, 0.55, 0.65),
    std=(0.2, 0.25, 0.3),
    mpp=(0.5,),
    mix={},
    config={},
    versions={},
    revision="",
)
# trident/patch_encoder_models/load.py of TRIDENT (commit 0120b8b), what its encoders inherit and do
# on construction; `extract_patch_features` uses .precision, .eval_transforms and the call.
TRIDENT = """
import torch

class BasePatchEncoder(torch.nn.Module):
    def __init__(self, weights_path=None, **build_kwargs):
        super().__init__()
        self.enc_name = None
        self.weights_path = weights_path
        self.model, self.eval_transforms, self.precision = self._build(**build_kwargs)

    def forward(self, x):
        return self.model(x)

class CustomInferenceEncoder(BasePatchEncoder):
    def __init__(self, enc_name, model, transforms, precision):
        super().__init__()
        self.enc_name, self.model = enc_name, model
        self.eval_transforms, self.precision = transforms, precision

    def _build(self):
        return None, None, None
"""
PROGRAM = """
import importlib.util, sys
folder, patches, features = sys.argv[1:]
import numpy, torch, PIL.Image
patches = [PIL.Image.fromarray(patch) for patch in numpy.load(patches)]
torch.set_grad_enabled(False)
found = {}

import folder_encoder, for_clam, for_trident
print(folder_encoder.microns_per_pixel(folder))
model, look = for_clam.get_encoder(folder)
found["clam"] = model(torch.stack([look(patch) for patch in patches])).numpy()

theirs = for_trident.encoder(folder)
assert not theirs.training or not theirs.model.training
batch = torch.stack([theirs.eval_transforms(patch) for patch in patches])
found["trident"] = theirs(batch.to(theirs.precision)).numpy()
print(theirs.enc_name)

if importlib.util.find_spec("eva"):
    from eva.core.models.wrappers import ModelFromFunction
    import for_eva
    from torchvision import tv_tensors
    look = for_eva.Transform(folder)
    images = [tv_tensors.Image(numpy.asarray(patch).transpose(2, 0, 1).copy()) for patch in patches]
    wrapped = ModelFromFunction(path=for_eva.backbone, arguments={"folder": folder})
    found["eva"] = wrapped(torch.stack([look(image) for image in images])).numpy()
assert "jax" not in sys.modules and "histo_simclr" not in sys.modules
numpy.savez(features, **found)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, pytestconfig):
    """(features by adapter, what was printed, expected features)."""
    place = tmp_path_factory.mktemp("adapters")
    package = place / "trident" / "patch_encoder_models"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "load.py").write_text(TRIDENT)
    encoder = ResNet("resnet18", rngs=nnx.Rngs(1))
    encoder.eval()
    source = checkpoint.write_encoder(place / "source", encoder, LOOKS)
    folder = exporting.export(source, "timm", place / "encoder")
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    np.save(place / "patches.npy", patches)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM]
        + [str(each) for each in (folder, place / "patches.npy", place / "features.npz")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=place,
        env={"PATH": "", "PYTHONPATH": f"{pytestconfig.rootpath / 'docs/adapters'}:{place}"},
    )
    assert done.returncode == 0, done.stderr
    program = encode.encoding(
        encoder, px=LOOKS.px, mean=LOOKS.mean, std=LOOKS.std, mesh=meshes.make(1)
    )
    return dict(np.load(place / "features.npz")), done.stdout, np.asarray(program(patches))


@pytest.mark.parametrize("adapter", ["clam", "trident", "eva"])
def test_an_adapter_gives_the_checkpoints_features(ran, adapter):
    found, told, expected = ran
    if adapter not in found:
        pytest.skip(f"{adapter} is not in this environment")
    assert np.abs(found[adapter] - expected).max() < 1e-4 * np.abs(expected).max()
    assert told.split() == ["[0.5]", "histo_simclr"]


def test_an_adapter_refuses_a_folder_that_lacks_a_tensor(ran, tmp_path, pytestconfig):
    from histo_simclr.weights import timm_folder

    encoder = ResNet("resnet18", rngs=nnx.Rngs(1))
    label = {"model_sha256": "", "exported_by": ""}
    timm_folder.write(encoder, dataclasses.replace(LOOKS), label, tmp_path / "encoder")
    file = tmp_path / "encoder" / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    del tensors["layer3.1.bn2.running_var"]
    safetensors.numpy.save_file(tensors, file)
    program = f"import folder_encoder; folder_encoder.load({str(file.parent)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(pytestconfig.rootpath / "docs/adapters")},
    )
    assert done.returncode != 0
    assert "layer3.1.bn2.running_var" in done.stderr


@pytest.mark.parametrize("changed", ["weights", "statistics"])
def test_an_adapter_refuses_a_folder_that_gives_other_features(changed, tmp_path, pytestconfig):
    encoder = ResNet("resnet18", rngs=nnx.Rngs(1))
    encoder.eval()
    source = checkpoint.write_encoder(tmp_path / "source", encoder, LOOKS)
    folder = exporting.export(source, "timm", tmp_path / "encoder")
    if changed == "weights":
        file = folder / "model.safetensors"
        with safetensors.safe_open(file, "numpy") as opened:
            metadata = opened.metadata()
        tensors = safetensors.numpy.load_file(file)
        tensors["conv1.weight"] = np.ascontiguousarray(tensors["conv1.weight"][:, ::-1])
        safetensors.numpy.save_file(tensors, file, metadata=metadata)
    else:
        config = json.loads((folder / "config.json").read_text())
        config["pretrained_cfg"]["mean"] = [0.485, 0.456, 0.406]
        (folder / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", f"import folder_encoder; folder_encoder.load({str(folder)!r})"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(pytestconfig.rootpath / "docs/adapters")},
    )
    assert done.returncode != 0
    assert "gives other features than it was exported with" in done.stderr
