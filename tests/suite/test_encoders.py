"""What is judged, by what the command line names."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from histo_simclr import checkpoint
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract, linear_eval, precomputed
from histo_simclr.provenance import Provenance
from histo_simclr.records import load_record_set
from histo_simclr.suite import encoders

SOURCE = Provenance(
    arch="resnet18",
    hidden=8,
    out=8,
    px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    mpp=(0.5,),
    mix={"name": "mix", "cohorts": {"a": {}}},
    config={},
    versions={},
    revision="",
)
FLOORS = (encoders.RANDOM, encoders.HISTOGRAM)


@pytest.fixture
def known(monkeypatch, tmp_path):
    """Checkpoints by the names of their workdirs: r18, and r50 of another architecture."""
    sources = {"r18": SOURCE, "r50": dataclasses.replace(SOURCE, arch="resnet50")}

    def resolve(path):
        if str(path) not in sources:
            raise InputError("no such checkpoint", where=path, way_out="give a workdir")
        return tmp_path / str(path) / checkpoint.FOLDER / "7"

    monkeypatch.setattr(checkpoint, "resolve", resolve)
    monkeypatch.setattr(checkpoint, "read_provenance", lambda path: sources[path.parents[1].name])
    monkeypatch.setattr(checkpoint, "digest", lambda path: f"digest of {path.parents[1].name}")


def names(items, floors=FLOORS):
    return [each.name for each in encoders.candidates(items, floors, seed=0)]


def test_floors_stand_first_and_each_architecture_has_its_own(known):
    assert names("r18") == ["random init", "color histogram", "r18"]
    assert names("r18, again=r18") == ["random init", "color histogram", "r18", "again"]
    assert names("a=r18,b=r50") == [
        "random init resnet18 32 px",
        "random init resnet50 32 px",
        "color histogram",
        "a",
        "b",
    ]


def test_random_parameters_of_another_seed_are_another_encoder(known):
    first, other = (encoders.candidates("r18", FLOORS, seed=seed)[0] for seed in (0, 1))
    assert first.digest != other.digest
    assert encoders.candidates("r18", FLOORS, seed=0)[0].digest == first.digest


def test_features_of_others_need_no_network_and_have_no_random_floor(known, tmp_path):
    about = {"name": "theirs", "weights": "w", "normalization": "n", "px": 224}
    precomputed.write(tmp_path / "f", about, "toy", "train", ["k"], np.ones((1, 3), np.float32))
    found = encoders.candidates(f"theirs=features:{tmp_path / 'f'}", FLOORS, seed=0)
    assert [each.name for each in found] == ["color histogram", "theirs"]
    assert not found[1].has_network
    assert found[1].about["weights"] == "w"


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("", "no encoder given"),
        (" , ", "no encoder given"),
        ("r18,R18=r50", "two encoders are named"),
        ("a/b=r18", "'a/b' cannot name an encoder"),
        ("color histogram=r18", "two encoders are named 'color histogram'"),
        ("nowhere", "no such checkpoint"),
        ("x=features:/nowhere", "no such folder"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(known, items, said):
    with pytest.raises(InputError, match=said):
        names(items)


def test_features_are_those_of_the_extraction_and_of_the_histogram(known, toy):
    sets = [load_record_set(toy, split) for split in ("train", "test")]
    parts = [SimpleNamespace(rows=each.rows, columns=each.columns) for each in sets]
    task = SimpleNamespace(
        path=sets[0].path, splits=("train", "test"), train=parts[0], test=parts[1]
    )
    random, histogram, _ = encoders.candidates("r18", FLOORS, seed=5)
    mesh = meshes.make(1)
    network = encoders.network(random, seed=5)
    found = encoders.features(random, network, task, batch_size=16, mesh=mesh)
    expected = extract.features(
        linear_eval.untrained("resnet18", 5),
        sets[1].rows,
        px=32,
        mean=SOURCE.mean,
        std=SOURCE.std,
        batch_size=16,
        mesh=mesh,
    )
    np.testing.assert_array_equal(found[1], expected)
    colors = encoders.features(histogram, None, task, batch_size=16, mesh=mesh)
    np.testing.assert_array_equal(
        colors[0], extract.color_histogram(sets[0].rows, bins=32, batch_size=16)
    )
