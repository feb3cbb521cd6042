"""config.json as timm defines it: keys that it refuses, and what it would assume."""

import dataclasses
import json

import pytest

from histo_simclr.weights import exporting, label, timm_folder

# Of timm.models._pretrained.PretrainedCfg (0.9.16 to 1.0.31): any other key makes timm raise.
KNOWN = {
    "input_size",
    "fixed_input_size",
    "interpolation",
    "crop_pct",
    "crop_mode",
    "mean",
    "std",
    "num_classes",
    "pool_size",
    "first_conv",
    "classifier",
    "license",
    "custom_load",
    "paper_ids",
}


@pytest.fixture(scope="module")
def folder(checkpoint_at, tmp_path_factory):
    return exporting.export(checkpoint_at, "timm", tmp_path_factory.mktemp("timm") / "encoder")


def test_the_folder_holds_what_timm_and_the_hub_read(folder):
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "fingerprint_patches.png",
    }


def test_nothing_is_left_to_timms_defaults(folder, looks):
    config = json.loads((folder / "config.json").read_text())
    cfg = config["pretrained_cfg"]
    assert set(cfg) == KNOWN
    assert (cfg["mean"], cfg["std"]) == (list(looks.mean), list(looks.std))
    assert cfg["input_size"] == [3, 64, 64]
    assert cfg["pool_size"] == [2, 2]
    assert (cfg["interpolation"], cfg["crop_pct"]) == ("bilinear", 1.0)
    assert config["num_features"] == 512
    assert config["num_classes"] == cfg["num_classes"] == 0


def test_resolution_stains_and_label_stand_beside_what_timm_reads(folder, looks):
    ours = json.loads((folder / "config.json").read_text())["histo_simclr"]
    assert ours["mpp"] == [0.972]
    assert ours["patch_size_um"] == [62.208]
    assert ours["stains"] == ["H&E", "PAS"]
    assert ours["datasets_sha256"] == "d1g"
    assert label.read(ours, where=folder).provenance == looks.published()


@pytest.mark.parametrize(("px", "pool"), [(224, 7), (96, 3), (80, 3)])
def test_the_pool_is_that_of_the_last_map(looks, made_up, px, pool):
    provenance = dataclasses.replace(looks, px=px)
    content = {"model_sha256": "", "exported_by": ""}
    found = timm_folder.config(made_up("resnet18"), provenance, content)
    assert found["pretrained_cfg"]["pool_size"] == [pool, pool]
