"""hubconf.py by torch.hub itself, in a process without JAX."""

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

from histo_simclr import checkpoint, encode
from histo_simclr import mesh as meshes
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import exporting

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not in this environment"
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
PROGRAM = """
import sys
import numpy, torch, PIL.Image
repo, patches, features, *sources = sys.argv[1:]
patches, found = numpy.load(patches), {}
for number, weights in enumerate(sources):
    def load(name):
        return torch.hub.load(repo, name, weights=weights, source="local")
    try:
        look, encoder = load("transform"), load("resnet18")
        images = torch.stack([look(PIL.Image.fromarray(patch)) for patch in patches])
        with torch.inference_mode():
            found[str(number)] = encoder(images).numpy()
    except ValueError as error:
        print(number, error)
weights = sources[1]
try:
    load("resnet34")
except ValueError as error:
    print(error)
assert "jax" not in sys.modules and "histo_simclr" not in sys.modules
numpy.savez(features, **found)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, pytestconfig):
    """(features by number of the source, what was printed, expected features)."""
    folder = tmp_path_factory.mktemp("hub")
    encoder = ResNet("resnet18", rngs=nnx.Rngs(1))
    encoder.eval()
    place = checkpoint.write_encoder(folder / "source", encoder, LOOKS)
    sources = [
        exporting.export(place, name, folder / out)
        for name, out in (("torch", "e.pth"), ("safetensors", "e.safetensors"), ("timm", "timm"))
    ]
    # As if somebody corrected the statistics by hand, and as if the file beside were lost.
    changed, alone = folder / "changed.pth", folder / "alone.pth"
    for copy in (changed, alone):
        copy.write_bytes(sources[0].read_bytes())
    label = json.loads((folder / "e.pth.json").read_text())
    label["histo_simclr"]["provenance"]["mean"] = [0.485, 0.456, 0.406]
    (folder / "changed.pth.json").write_text(json.dumps(label))
    unlike, bare, renewed = folder / "unlike", folder / "bare.pth", folder / "renewed.pth"
    shutil.copytree(sources[2], unlike)
    config = json.loads((unlike / "config.json").read_text())
    config["pretrained_cfg"]["std"] = [0.229, 0.224, 0.225]
    (unlike / "config.json").write_text(json.dumps(config))
    for copy, stored in ((bare, None), (renewed, {"patches": "0" * 64})):
        copy.write_bytes(sources[0].read_bytes())
        label = json.loads((folder / "e.pth.json").read_text())
        label["histo_simclr"]["fingerprint"] = stored
        (folder / f"{copy.name}.json").write_text(json.dumps(label))

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    patches = coarse.repeat(8, 1).repeat(8, 2)
    np.save(folder / "patches.npy", patches)
    refused = [changed, alone, unlike, bare, renewed]
    arguments = [pytestconfig.rootpath, folder / "patches.npy", folder / "features.npz"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, [*arguments, *sources, *refused])],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    program = encode.encoding(
        encoder, px=LOOKS.px, mean=LOOKS.mean, std=LOOKS.std, mesh=meshes.make(1)
    )
    return dict(np.load(folder / "features.npz")), done.stdout, np.asarray(program(patches))


@pytest.mark.parametrize("source", ["0", "1", "2"], ids=["torch", "safetensors", "timm"])
def test_torch_hub_gives_the_checkpoints_features(ran, source):
    found, _, expected = ran
    assert np.abs(found[source] - expected).max() < 1e-4 * np.abs(expected).max()


def test_what_gives_other_features_or_says_nothing_of_itself_is_refused(ran):
    found, told, _ = ran
    assert set(found) == {"0", "1", "2"}
    assert "3 " in told
    assert "changed.pth: gives other features than it was exported with" in told
    assert "alone.pth: not written by `histo-simclr export`, or its .json is missing" in told
    assert "unlike: config.json says std [0.229, 0.224, 0.225], the label" in told
    assert "bare.pth: its label has no fingerprint" in told
    assert "renewed.pth: its fingerprint is of other patches" in told


def test_another_architecture_is_refused(ran):
    assert "e.safetensors: holds a resnet18, not a resnet34" in ran[1]
