"""Provenance survives JSON, and names what is missing."""

import json

import pytest

from histo_simclr import provenance
from histo_simclr.errors import InputError

PROVENANCE = provenance.Provenance(
    arch="resnet18",
    hidden=512,
    out=128,
    px=80,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    mpp=(0.5, 1.0),
    mix={"digest": "d"},
    config={"seed": 1, "views": {"px": 80}},
    versions=provenance.package_versions(),
    revision=provenance.git_revision(),
)


def test_json_round_trip():
    stored = json.loads(json.dumps(PROVENANCE.to_json()))
    assert provenance.Provenance.from_json(stored, where="here") == PROVENANCE


def test_a_missing_field_is_named():
    stored = PROVENANCE.to_json()
    del stored["mean"]
    with pytest.raises(InputError, match=r"ckpt: provenance lacks mean"):
        provenance.Provenance.from_json(stored, where="ckpt")


def test_a_mix_is_kept_without_the_places_on_this_disk():
    mix = {"digest": "d", "cohorts": {}, "shards": ["/home/me/x"], "record_sets": [{"path": "p"}]}
    assert provenance.mix_summary(mix) == {"digest": "d", "cohorts": {}}
