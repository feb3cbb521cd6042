"""What each kind of thing says of itself, against the files that it was made from."""

import dataclasses
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet
import pytest

from histo_simclr import checkpoint, fingerprint
from histo_simclr.errors import InputError
from histo_simclr.inspecting import report
from histo_simclr.weights import label, names

SAMPLE = "data/sample"


@pytest.fixture(autouse=True)
def repository_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_a_checkpoint_tells_encoder_data_terms_results_and_that_it_holds(workdir, network):
    found = report.inspect(workdir)
    assert found["kind"] == "checkpoint"
    assert (found["step"], found["steps"], found["finished"]) == (40, [40], True)
    assert found["encoder"] == {
        "arch": "resnet18",
        "num_features": 512,
        "px": 80,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "mpp": [0.0, 0.5, 1.0],
        "head": [512, 128],
    }
    digest = label.model_sha256(names.to_torch(network))
    assert found["weights"]["model_sha256"] == digest
    assert found["weights"]["fingerprint"] == "matches"
    (stage,) = found["stages"]
    mix = json.loads(Path(f"{SAMPLE}/mix/mix.json").read_text())
    counts = {cohort["name"]: cohort["patches"] for cohort in stage["cohorts"]}
    assert counts == {name: cohort["rows"] for name, cohort in mix["cohorts"].items()}
    assert found["terms"]["commercial_use"] == mix["commercial_use"] == "yes"
    assert found["related"]["shares_pixels_with"] == {"CAMELYON16": ["pcam"]}
    assert "rings_prostate" in found["related"]["unregistered"]
    assert [(row["set"], row["what"], row["value"]) for row in found["results"]] == [
        ("pcam", "random init", 0.75),
        ("pcam", "pretrained", 0.75),
    ]


def test_what_an_adapted_encoder_started_from_counts_for_data_and_terms(adapted):
    found = report.inspect(adapted)
    assert [stage["cohorts"] is None for stage in found["stages"]] == [False, True]
    assert found["terms"]["commercial_use"] == "unknown"
    assert "theirs, whose patches are unknown (MIT)" in found["terms"]["commercial_use_because"]


def test_terms_stricter_in_the_registry_hold(tmp_path):
    mix = shutil.copytree(f"{SAMPLE}/mix", tmp_path / "mix")
    info = json.loads((mix / "mix.json").read_text())
    info["cohorts"]["TCGA-BRCA"] = info["cohorts"]["pcam"] | {"license": "CC-BY-NC-4.0"}
    (mix / "mix.json").write_text(json.dumps(info))
    terms = report.inspect(mix)["terms"]
    assert terms["commercial_use"] == "no"
    assert terms["commercial_use_because"].startswith("this mix may not be used commercially")


def test_a_record_set_tells_what_its_manifest_holds():
    found = report.inspect(f"{SAMPLE}/records/osteosarcoma")
    (stage,) = found["stages"]
    manifest = pyarrow.parquet.read_table(
        f"{SAMPLE}/records/osteosarcoma/1.0.0/manifest.parquet"
    ).to_pydict()
    (cohort,) = stage["cohorts"]
    assert cohort["patches"] == stage["size"] == len(manifest["key"])
    assert cohort["patients"] == len(set(manifest["patient"]))
    assert stage["counts"] == {
        split: manifest["split"].count(split) for split in set(manifest["split"])
    }


def test_results_of_a_probe_are_told(workdir):
    for place in (workdir / "evaluation/pcam", workdir / "evaluation/pcam/results.json"):
        found = report.inspect(place)
        assert found["kind"] == "results of a linear evaluation"
        assert len(found["results"]) == 2


def test_results_of_a_suite_are_told(tmp_path):
    metric = {"value": 0.5, "low": 0.4, "high": 0.6, "sd": None}
    row = {"task": "t", "encoder": "e", "protocol": "probe", "metrics": {"auroc": metric}}
    content = {
        "format": 1,
        "date": "2026-11-26",
        "encoders": {"e": {"kind": "checkpoint", "description": "what it is"}},
        "tasks": {"t": {"metric": "auroc"}},
        "rows": [row | {"fraction": 1}, row | {"fraction": 0.1}],
        "notes": [],
    }
    (tmp_path / "results.json").write_text(json.dumps(content))
    (only,) = report.inspect(tmp_path)["results"]
    assert (only["set"], only["metric"], only["value"]) == ("t", "auroc", 0.5)


def test_features_tell_how_they_were_made(tmp_path):
    """As TRIDENT writes them; files of coordinates alone are passed over."""
    for slide in ("a", "b"):
        (tmp_path / "features_x").mkdir(exist_ok=True)
        with h5py.File(tmp_path / "features_x" / f"{slide}.h5", "w") as file:
            file["features"] = np.zeros((3, 512), np.float32)
            file["features"].attrs["encoder"] = "x"
            file["coords"] = np.zeros((3, 2), np.int64)
            file["coords"].attrs["patch_size"] = np.int64(224)
    (tmp_path / "patches").mkdir()
    h5py.File(tmp_path / "patches" / "a_patches.h5", "w").close()
    found = report.inspect(tmp_path)
    assert (found["patches"], len(found["slides"])) == (6, 2)
    assert found["made"]["encoder"] == ["x"]
    assert found["made"]["patch_size"] == ["224"]
    with pytest.raises(InputError, match="holds no features"):
        report.inspect(tmp_path / "patches" / "a_patches.h5")


def test_a_checkpoint_whose_weights_give_other_features_is_refused(
    workdir, network, pretrained, tmp_path, monkeypatch
):
    wrong = fingerprint.compute(network, px=80, mean=(0.5,) * 3, std=(1.0,) * 3)
    monkeypatch.setattr(fingerprint, "compute", lambda *_, **__: wrong)
    checkpoint.write_encoder(tmp_path / "wrong", network, pretrained)
    monkeypatch.undo()
    with pytest.raises(InputError, match="gives other features than it was written with"):
        report.inspect(tmp_path / "wrong")


def test_a_checkpoint_without_provenance_says_what_it_lacks(network, pretrained, tmp_path):
    class Silent:
        def to_json(self):
            return {}

        def __getattr__(self, name):
            return getattr(pretrained, name)

    checkpoint.write_encoder(tmp_path / "silent", network, Silent())
    with pytest.raises(InputError, match="provenance lacks arch, config"):
        report.inspect(tmp_path / "silent")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "no such file or folder; give a checkpoint or workdir, a mix"),
        ("notes.txt", b"hello", "is not a file of weights"),
        ("mix.json", b"{", "is not a file of weights"),
    ],
)
def test_what_is_none_of_these_is_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        report.inspect(tmp_path / name)


@pytest.mark.parametrize("content", ["{", "[]", '{"size": 3}'])
def test_a_torn_mix_is_one_line(tmp_path, content):
    (tmp_path / "mix.json").write_text(content)
    with pytest.raises(InputError, match=r"mix\.json"):
        report.inspect(tmp_path)


def test_seen_asks_a_mix_a_record_set_and_the_mix_of_a_checkpoint(workdir, adapted):
    for place in (f"{SAMPLE}/mix", f"{SAMPLE}/records/osteosarcoma", workdir, adapted):
        assert report.seen(place, "osteosarcoma").seen == "yes"
    manifest = pyarrow.parquet.read_table(f"{SAMPLE}/mix/index.parquet").to_pydict()
    patient = next(each for each in manifest["patient"] if each)
    for place in (f"{SAMPLE}/mix", workdir, adapted):
        assert report.seen(place, patient).seen == "yes"
    assert report.seen(f"{SAMPLE}/records/pcam", "TCGA-UCEC").seen == "no"
    assert report.seen(workdir, "TCGA-UCEC").seen == "unknown"  # own cohorts, in no registry
    assert report.seen(adapted, "TCGA-UCEC").seen == "unknown"
    with pytest.raises(InputError, match="ask its checkpoint"):
        report.seen(workdir / "evaluation/pcam", "pcam")


def test_the_mix_of_what_it_started_from_may_be_named(tmp_path, network, pretrained):
    record = {"name": "before", "digest": "cd" * 32, "step": 40, "taken": ["encoder"]}
    record["provenance"] = pretrained.published().to_json()
    own = {"digest": "e" * 64, "name": "own", "size": 1, "px": 96, "cohorts": {"pcam": {}}}
    origin = {"kind": "pretrained", "init_from": record}
    told = dataclasses.replace(pretrained, mix=own, config={}, origin=origin)
    folder = checkpoint.write_encoder(tmp_path / "adapted", network, told)
    manifest = pyarrow.parquet.read_table(f"{SAMPLE}/mix/index.parquet").to_pydict()
    slide = next(each for each in manifest["slide"] if each)
    assert report.seen(folder, slide).seen == "unknown"
    assert report.seen(folder, slide, mix=f"{SAMPLE}/mix").seen == "yes"


def test_another_mix_than_the_checkpoints_is_refused(workdir, tmp_path):
    mix = shutil.copytree(f"{SAMPLE}/mix", tmp_path / "mix")
    assert report.seen(workdir, "osteosarcoma", mix=mix).seen == "yes"
    info = json.loads((mix / "mix.json").read_text())
    (mix / "mix.json").write_text(json.dumps(info | {"digest": "0" * 64}))
    with pytest.raises(InputError, match="is another mix than the encoder was trained on"):
        report.seen(workdir, "osteosarcoma", mix=mix)
    with pytest.raises(InputError, match="no mix in this folder"):
        report.seen(workdir, "osteosarcoma", mix=tmp_path)
