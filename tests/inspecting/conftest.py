"""Checkpoints of a few kinds, written by the project's own writers."""

import dataclasses
import json
from pathlib import Path

import pytest
from flax import nnx

from histo_simclr import checkpoint, provenance
from histo_simclr.model.resnet import ResNet

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


@pytest.fixture(scope="session")
def network():
    encoder = ResNet("resnet18", rngs=nnx.Rngs(3))
    encoder.eval()
    return encoder


@pytest.fixture(scope="session")
def pretrained():
    """Provenance of a run on the embedded mix."""
    mix = json.loads((SAMPLE / "mix/mix.json").read_text())
    return provenance.Provenance(
        arch="resnet18",
        hidden=512,
        out=128,
        px=80,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        mpp=(0.0, 0.5, 1.0),
        mix=provenance.mix_summary(mix),
        config={"data": {"mix": str(SAMPLE / "mix")}, "init_from": ""},
        versions={"jax": "0.10"},
        revision="r1",
        origin={"kind": "pretrained"},
    )


@pytest.fixture(scope="session")
def imported(pretrained):
    """Provenance of weights that others trained, on nobody knows what."""
    origin = {"kind": "imported", "file": "theirs.pth", "sha256": "ab" * 32}
    origin |= {"source": "theirs", "license": "MIT"}
    return dataclasses.replace(
        pretrained, hidden=0, out=0, mpp=(), mix={}, config={}, origin=origin
    )


@pytest.fixture(scope="session")
def workdir(tmp_path_factory, network, pretrained):
    """Step 40 of a finished run, with an evaluation."""
    folder = tmp_path_factory.mktemp("inspected") / "run"
    checkpoint.write_encoder(folder / "checkpoints" / "40", network, pretrained)
    (folder / "finished.json").write_text("{}")
    interval = {"value": 0.75, "low": 0.7, "high": 0.8}
    rows = [{"name": name, "macro_f1": interval} for name in ("random init", "pretrained")]
    place = folder / "evaluation" / "pcam"
    place.mkdir(parents=True)
    about = {"format": 1, "notes": ["patches"], "records": {"name": "pcam"}}
    about["checkpoint"] = {"name": "run", "arch": "resnet18", "step": 40}
    (place / "results.json").write_text(json.dumps(about | {"rows": rows}))
    return folder


@pytest.fixture(scope="session")
def adapted(tmp_path_factory, network, pretrained, imported):
    """One step's folder of a run that started from imported weights."""
    record = {"name": "theirs", "digest": "cd" * 32, "step": None, "taken": ["encoder"]}
    record["provenance"] = imported.to_json()
    origin = {"kind": "pretrained", "init_from": record}
    folder = tmp_path_factory.mktemp("adapted") / "adapted"
    told = dataclasses.replace(pretrained, origin=origin)
    return checkpoint.write_encoder(folder, network, told)
