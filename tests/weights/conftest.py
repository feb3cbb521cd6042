"""Encoders to export: real shapes, made-up weights, batch statistics that are not the initial."""

import numpy as np
import pytest

from histo_simclr import checkpoint
from histo_simclr.provenance import Provenance
from histo_simclr.weights import names

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
