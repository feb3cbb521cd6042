"""What the tests of weights share.

Files of torch.save that torch wrote; encoders to export, made up and of the reference values; real
patches.
"""

import dataclasses
import tarfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from histo_simclr import checkpoint, encode
from histo_simclr import mesh as meshes
from histo_simclr.model import resnet
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import names

Golden = tuple[ResNet, Provenance]

COHORTS = {
    "pcam": {
        "rows": 2000,
        "slides": 0,
        "organ": "lymph node",
        "stain": "H&E",
        "mpp": [0.972],
        "license": "CC0-1.0",
        "commercial_use": "yes",
    },
    "glands|odd": {
        "rows": 100,
        "slides": 3,
        "organ": "colon\n<b>",
        "stain": "PAS",
        "mpp": [0.0],
        "license": "CC-BY-NC-4.0",
        "commercial_use": "no",
    },
}


@pytest.fixture(scope="session")
def ciga(golden_dir, tmp_path_factory) -> Path:
    """Folder of the stand-ins for the paper's files, unpacked."""
    folder = tmp_path_factory.mktemp("ciga")
    with tarfile.open(golden_dir / "ciga.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def small_arch():
    """An architecture of one block a stage, under the name "small"."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 1, 1))
        yield "small"


@pytest.fixture(scope="session")
def state(small_arch) -> dict[str, np.ndarray]:
    """Tensors of a small network by torchvision's names, no two alike, variances positive."""
    network = resnet.ResNet(small_arch, rngs=nnx.Rngs(5))
    rng = np.random.default_rng(0)
    found = dict(names.to_torch(network))
    for name, array in found.items():
        if array.ndim == 1:
            found[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    return found


@pytest.fixture(scope="session")
def looks() -> Provenance:
    """Of a pretrained ResNet-18 on patches of 64 px, with statistics that nobody assumes."""
    return Provenance(
        arch="resnet18",
        hidden=512,
        out=128,
        px=64,
        mean=(0.7, 0.55, 0.65),
        std=(0.2, 0.25, 0.3),
        mpp=(0.0, 0.972),
        mix={"digest": "d1g", "draw": "even", "cohorts": COHORTS},
        config={
            "seed": 3,
            "epochs": 2.5,
            "batch_size": 64,
            "objective": {"name": "nt_xent", "temperature": 0.2},
            "data": {"mix": "/home/somebody/mix"},
        },
        versions={"jax": "0.10.2"},
        revision="abc",
        origin={"kind": "pretrained"},
    )


@pytest.fixture(scope="session")
def made_up(golden_weights):
    """made_up(arch): its encoder with the reference weights and batch statistics of its own."""

    def make(arch: str):
        rng = np.random.default_rng(5)
        tensors = {}
        for name, shape in golden_weights.resnet_shapes(arch).items():
            tensors[name] = golden_weights.tensor(name, shape, 0)
            if name.endswith("running_mean"):
                tensors[name] = rng.normal(0, 0.1, shape).astype(np.float32)
            if name.endswith("running_var"):
                tensors[name] = rng.uniform(0.8, 1.2, shape).astype(np.float32)
        return names.from_torch(tensors, arch)

    return make


@pytest.fixture(scope="session")
def checkpoint_at(tmp_path_factory, made_up, looks):
    """Folder of a checkpoint of `looks`."""
    folder = tmp_path_factory.mktemp("pretrained") / "encoder"
    return checkpoint.write_encoder(folder, made_up("resnet18"), looks)


@pytest.fixture(scope="session")
def golden_encoder(golden_dir, golden_weights) -> Callable[[str], Golden]:
    """golden_encoder(arch): the encoder that torchvision's reference features are of, at 96 px."""

    def make(arch: str) -> Golden:
        tensors = golden_weights.resnet(arch)
        with np.load(golden_dir / "resnet_eval.npz") as stored:
            tensors |= {n: stored[f"{arch}/running/{n}"] for n in tensors if "running_" in n}
        looks = Provenance(
            arch=arch,
            hidden=0,
            out=0,
            px=96,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            mpp=(0.0, 0.5, 1.0),
            mix={"cohorts": {"a": {"license": "CC0-1.0"}, "b": {"license": "CC-BY-4.0"}}},
            config={},
            versions={},
            revision="",
        )
        return names.from_torch(tensors, arch), looks

    return make


@pytest.fixture(scope="session")
def tinted_encoder(golden_encoder) -> Golden:
    """A ResNet-18 whose channels have statistics of their own, so that their order shows."""
    encoder, looks = golden_encoder("resnet18")
    return encoder, dataclasses.replace(looks, mean=(0.7, 0.5, 0.6), std=(0.2, 0.25, 0.3))


@pytest.fixture(scope="session")
def own_features(tinted_encoder) -> Callable[[np.ndarray], np.ndarray]:
    """own_features(patches): what the checkpoint itself makes of them, by `encode`."""
    encoder, looks = tinted_encoder
    mesh = meshes.local(1)
    run = encode.encoding(encoder, px=looks.px, mean=looks.mean, std=looks.std, mesh=mesh)
    return lambda patches: np.asarray(run(jax.device_put(patches, meshes.replicated(mesh))))


@pytest.fixture(scope="session")
def golden_patches(golden_weights) -> np.ndarray:
    """(2, 96, 96, 3) uint8: what the reference features `…/features_96px` were computed from."""
    return golden_weights.images(1)[:, :96, :96]


@pytest.fixture(scope="session")
def golden_features(golden_dir) -> Callable[[str], np.ndarray]:
    """golden_features(arch): torchvision's features of `golden_patches`, (2, D) float64."""
    stored = np.load(golden_dir / "resnet_eval.npz")
    return lambda arch: stored[f"{arch}/features_96px"]


@pytest.fixture(scope="session")
def real_patches(cmu: Path) -> np.ndarray:
    """(64, 96, 96, 3) uint8 from the middle of a slide."""
    import tifffile

    pixels = tifffile.imread(cmu, level=0)[1000 : 1000 + 8 * 96, 700 : 700 + 8 * 96]
    return np.ascontiguousarray(
        pixels.reshape(8, 96, 8, 96, 3).swapaxes(1, 2).reshape(64, 96, 96, 3)
    )
