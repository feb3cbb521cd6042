"""Planted leaks are found, named and refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate.leaks import Report
from histo_simclr.provenance import Provenance
from histo_simclr.suite import exposure


def columns(keys, *, pixels, cohort="toy", patients=None):
    count = len(keys)
    return {
        "key": np.array(keys, object),
        "cohort": np.full(count, cohort, object),
        "slide": np.full(count, "", object),
        "patient": np.array(patients or [""] * count, object),
        # The first 64 bits are what is compared.
        "pixels_sha256": np.array([format(n, "016x").ljust(64, "0") for n in pixels], object),
    }


def task(name, train, test):
    return SimpleNamespace(
        name=name, train=SimpleNamespace(columns=train), test=SimpleNamespace(columns=test)
    )


def candidate(name, kind, mix=None):
    looks = (0.5, 0.5, 0.5)
    source = Provenance("resnet18", 0, 0, 96, looks, looks, (), mix or {}, {}, {}, "")
    return SimpleNamespace(name=name, kind=kind, provenance=source)


CLEAN = task("clean", columns(["a", "b"], pixels=[1, 2]), columns(["c", "d"], pixels=[3, 4]))
PLANTED = task("planted", columns(["a", "b"], pixels=[1, 2]), columns(["c", "d"], pixels=[3, 2]))


def test_pixels_of_the_training_split_in_the_test_split_are_found_and_refused():
    found = exposure.find([CLEAN, PLANTED], [], distance=4)
    assert not found["clean"][exposure.TRAINING].leaks
    (leak,) = found["planted"][exposure.TRAINING].leaks
    assert (leak.kind, leak.patches, leak.examples) == ("pixels", 1, ("d = b",))
    with pytest.raises(InputError, match="allow_leaks=True") as error:
        exposure.refuse(found)
    assert "planted, the training split: 1 of 2 test patches with the same pixels" in str(
        error.value
    )
    exposure.refuse(exposure.find([CLEAN], [], distance=4))


def test_a_checkpoint_that_saw_the_cohort_is_found_where_its_mix_is_gone():
    found = exposure.find(
        [CLEAN],
        [candidate("saw", "checkpoint", {"name": "m", "cohorts": {"TOY": {}}})],
        distance=4,
    )
    (leak,) = found["clean"]["saw"].leaks
    assert (leak.kind, leak.patches) == ("cohort", 2)
    blind = exposure.find([CLEAN], [candidate("blind", "checkpoint")], distance=4)
    assert blind["clean"]["blind"].leaks == ()
    assert "unknown: leaks are possible" in blind["clean"]["blind"].notes[0]


def test_of_features_and_floors_nothing_is_claimed():
    found = exposure.find(
        [CLEAN], [candidate("theirs", "features"), candidate("random init", "random")], distance=4
    )
    assert found["clean"]["theirs"] == Report(
        (), ("what these features were trained on is unknown to us",)
    )
    assert "random init" not in found["clean"]


def test_a_mix_that_is_another_now_leaves_its_cohorts(tmp_path):
    for name, content in (("mix.json", {"digest": "new", "cohorts": {}, "record_sets": []}),):
        (tmp_path / name).write_text(json.dumps(content))
    saw = candidate("saw", "checkpoint", {"name": "m", "digest": "old", "cohorts": {"far": {}}})
    saw.provenance.config["data"] = {"mix": str(tmp_path)}
    report = exposure.find([CLEAN], [saw], distance=4)["clean"]["saw"]
    assert not report.leaks
    assert any("its cohorts alone were compared" in note for note in report.notes)
