"""What the embedded mix holds, against its record sets: written by the project's own commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import leaks, seen
from histo_simclr.provenance import Provenance, mix_summary

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
OPTIONS = {"distance": 4, "overlaps": frozenset()}


@pytest.fixture
def provenance():
    """Of a checkpoint that was trained on the embedded mix; only mix and origin are looked at."""
    return _provenance(mix_summary(json.loads((SAMPLE / "mix/mix.json").read_text())))


def _provenance(mix, origin=None):
    looks = (0.5, 0.5, 0.5)
    return Provenance("resnet18", 0, 0, 96, looks, looks, (), mix, {}, {}, "", origin or {})


def _started_from(provenance, mix):
    """A run on `mix` that started from the weights of `provenance`."""
    return _provenance(mix, {"init_from": {"provenance": provenance.to_json()}})


def _split(name, split):
    return records.load_record_set(SAMPLE / "records" / name, split).columns


@pytest.mark.parametrize("name", ["pcam", "osteosarcoma"])
def test_the_embedded_test_sets_are_not_in_the_embedded_mix(name, provenance):
    found = seen.seen_by(provenance, SAMPLE / "mix")
    assert found.unhashed == 0
    assert not seen.check(leaks.patches_of(_split(name, "test")), found, **OPTIONS).leaks


def test_what_the_mix_drew_is_found_in_it(provenance):
    columns = _split("osteosarcoma", "train")
    found = seen.check(
        leaks.patches_of(columns), seen.seen_by(provenance, SAMPLE / "mix"), **OPTIONS
    )
    count = len(columns["key"])
    assert [(leak.kind, leak.patches) for leak in found.leaks] == [
        ("patient", count),
        ("pixels", count),
    ]


def test_another_picture_of_what_the_mix_drew_is_found_by_its_likeness(provenance):
    columns = _split("kather2016", "train")
    renamed = dict.fromkeys(("slide", "patient"), np.full(len(columns["key"]), "", object))
    renamed["pixels_sha256"] = np.array([each[::-1] for each in columns["pixels_sha256"]], object)
    test = leaks.patches_of(columns | renamed)
    found = seen.check(test, seen.seen_by(provenance, SAMPLE / "mix"), **OPTIONS)
    assert [leak.kind for leak in found.leaks] == ["near"]
    # All but those without contrast.
    assert found.leaks[0].patches == np.count_nonzero(test.perceptual) > 20


@pytest.mark.parametrize("mix", [None, Path("/nowhere")])
def test_without_the_mix_cohorts_are_compared(provenance, mix):
    found = seen.seen_by(provenance, mix)
    assert found.patches is None
    report = seen.check(leaks.patches_of(_split("osteosarcoma", "test")), found, **OPTIONS)
    assert [(leak.kind, leak.patches) for leak in report.leaks] == [("cohort", 240)]


def test_of_foreign_weights_nothing_is_known():
    found = seen.seen_by(_provenance({}), None)
    report = seen.check(leaks.patches_of(_split("pcam", "test")), found, **OPTIONS)
    assert not report.leaks
    assert report.notes == ("what the encoder was trained on is unknown: leaks are possible",)


def test_what_the_weights_saw_that_a_run_started_from_counts_too(provenance):
    """Adapted twice since, the last time to the mix that is at hand."""
    once = _started_from(provenance, {"name": "ours", "cohorts": {"ours": {}}})
    mix = provenance.mix | {"cohorts": {"other": {}}}
    found = seen.seen_by(_started_from(once, mix), None)
    assert [each.cohorts for each in found.before] == [("ours",), tuple(provenance.mix["cohorts"])]
    report = seen.check(leaks.patches_of(_split("osteosarcoma", "test")), found, **OPTIONS)
    (leak,) = report.leaks
    assert (leak.kind, leak.patches) == ("cohort", 240)
    assert leak.where == "the pretraining mix mix of the weights it started from"


def test_that_foreign_weights_saw_the_unknown_is_said_of_what_started_from_them(provenance):
    found = seen.seen_by(_started_from(_provenance({}), provenance.mix), SAMPLE / "mix")
    report = seen.check(leaks.patches_of(_split("pcam", "test")), found, **OPTIONS)
    assert not report.leaks
    note = "what the weights it started from were trained on is unknown: leaks are possible"
    assert note in report.notes


def test_another_mix_than_the_checkpoints_is_refused(provenance):
    provenance.mix["digest"] = "0" * 64
    with pytest.raises(InputError, match="another mix"):
        seen.seen_by(provenance, SAMPLE / "mix")


@pytest.fixture
def moved(tmp_path):
    """The mix alone, with one of its record sets."""
    shutil.copytree(SAMPLE / "mix", tmp_path / "mix")
    shutil.copytree(SAMPLE / "records/pcam", tmp_path / "records/pcam")
    return tmp_path


def test_record_sets_that_are_not_at_hand_are_counted(provenance, moved):
    found = seen.seen_by(provenance, moved / "mix")
    others = sum(
        cohort["rows"] for name, cohort in provenance.mix["cohorts"].items() if name != "pcam"
    )
    assert found.unhashed == others
    report = seen.check(leaks.patches_of(_split("pcam", "test")), found, **OPTIONS)
    assert any(note.startswith(f"{others:,} patches") for note in report.notes)


def test_record_sets_without_hashes_are_counted(provenance, moved):
    manifest = moved / "records/pcam/1.0.0/manifest.parquet"
    table = pyarrow.parquet.read_table(manifest).drop_columns(["perceptual_hash"])
    pyarrow.parquet.write_table(table, manifest)
    assert seen.seen_by(provenance, moved / "mix").unhashed == provenance.mix["size"]


def test_a_torn_index_is_refused(provenance, moved):
    index = moved / "mix/index.parquet"
    index.write_bytes(index.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"index\.parquet: cannot be read"):
        seen.seen_by(provenance, moved / "mix")


def test_a_cohort_that_shares_pixels_is_named_where_slides_are_unknown(provenance):
    """Patches of the same slides have other pixels; only names can tell."""
    test = leaks.patches_of(_split("pcam", "test"))
    found = seen.seen_by(provenance, SAMPLE / "mix")
    overlaps = frozenset({frozenset({"pcam", "brecahad"})})
    (leak,) = seen.check(test, found, distance=4, overlaps=overlaps).leaks
    assert (leak.kind, leak.patches) == ("cohort", 1000)
    assert not seen.check(test, found, **OPTIONS).leaks
