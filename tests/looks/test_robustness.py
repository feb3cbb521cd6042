import json

import numpy as np
import pytest

from histo_simclr.evaluate import batch_effect
from histo_simclr.looks import robustness
from histo_simclr.looks.sample import ALONE

OPTIONS = {
    "neighbors": 5,
    "folds": 4,
    "strength": 0.1,
    "resamples": 200,
    "seed": 0,
}
COHORTS, SLIDES, PATCHES, WIDTH = 2, 6, 12, 24


@pytest.fixture
def make(make_sample):
    """make(lab, tissue) -> features and sample of two cohorts that have the same two classes."""

    def made(lab, tissue, **changes):
        rng = np.random.default_rng(3)
        slide = np.repeat(np.arange(COHORTS * SLIDES), PATCHES)
        cohort, kind = slide % COHORTS, np.tile([0, 1], len(slide) // 2)
        features = rng.normal(size=(len(slide), WIDTH))
        features += lab * rng.normal(size=(COHORTS, WIDTH))[cohort]
        features += tissue * rng.normal(size=(2, WIDTH))[kind]
        given = {
            "task": np.array(["aachen", "boston"])[cohort],
            "label": np.array(["tumor", "stroma"])[kind],
            "group": np.char.add("slide:", slide.astype(str)),
        }
        return features.astype(np.float32), make_sample(**given | changes)

    return made


def test_a_planted_batch_effect_is_measured(make):
    (found,) = robustness.effects(*make(lab=2.0, tissue=0.0), **OPTIONS)
    assert found.tasks == "aachen + boston"
    assert found.nuisances == ("cohort",)
    assert found.values == {"aachen": 72, "boston": 72}
    assert found.contrast.nuisance.low > 0.9
    assert found.contrast.tissue.low < 0.5 < found.contrast.tissue.high
    assert found.mixing.other < 0.05
    assert found.mixing.robustness < 0.05
    assert robustness.reading(found).startswith("The cohort is nearly always told.")
    assert "rather than by tissue" in robustness.reading(found)


def test_without_one_the_probe_is_near_chance_and_neighbors_go_by_tissue(make):
    (found,) = robustness.effects(*make(lab=0.0, tissue=2.0), **OPTIONS)
    # Held-out groups of noise lie a little below chance: what is fitted has less of their label.
    assert found.contrast.nuisance.balanced_accuracy < 0.6
    assert found.contrast.tissue.low > 0.9
    assert found.mixing.other == pytest.approx(found.mixing.expected, abs=0.07)
    assert found.mixing.robustness > 0.95
    assert robustness.reading(found).startswith("No cohort shown to be told.")


def test_where_each_cohort_has_its_own_classes_nothing_can_be_told(make):
    features, sample = make(lab=2.0, tissue=0.0)
    label = np.where(sample.task == "aachen", np.char.add("a ", sample.label), sample.label)
    (found,) = robustness.effects(features, sample._replace(label=label), **OPTIONS)
    assert found.tasks == "all tasks"
    assert found.contrast.association == pytest.approx(1)
    assert np.isnan(found.mixing.robustness)
    assert robustness.reading(found).startswith("Cannot be told: each cohort has its own classes")
    (said,) = robustness.numbers([found])
    assert said["can_be_told"] is False
    assert said["robustness_index"] is None


def test_only_classes_of_several_cohorts_count_for_the_robustness_index(make):
    """Patches of a class that one cohort has alone could never agree with another cohort's."""
    features, sample = make(lab=0.5, tissue=0.5)
    lonely = (sample.task == "boston") & (np.arange(len(sample.row)) % 4 == 0)
    label = np.where(lonely, "fat", sample.label)
    of_one_task = sample._replace(task=np.full(len(sample.row), "both"), label=label)
    (found,) = robustness.effects(features, of_one_task, **OPTIONS)
    kept = sample.take(~lonely)
    expected = batch_effect.mixing(
        features[~lonely], kept.cohort, kept.label, kept.group, count=OPTIONS["neighbors"]
    )
    assert found.mixing.robustness == pytest.approx(expected.robustness)
    assert 0 < expected.robustness < 1


def test_the_index_of_noise_is_that_of_blind_neighbors_however_many_classes(make_sample):
    """Six classes: noise agrees in the class seldom, which is not yet a batch effect."""
    count = 600
    rng = np.random.default_rng(0)
    label, task = rng.integers(0, 6, count).astype(str), rng.integers(0, 2, count).astype(str)
    sample = make_sample(task, label, (np.arange(count) // 5).astype(str))
    features = rng.normal(size=(count, 4)).astype(np.float32)
    (found,) = robustness.effects(features, sample, **OPTIONS)
    assert found.blind == pytest.approx(1 / 6, abs=0.02)
    assert found.mixing.robustness == pytest.approx(found.blind, abs=0.04)
    assert "neighbors" not in robustness.reading(found)


def test_nuisances_that_divide_the_patches_alike_are_one(make):
    task = make(lab=1.0, tissue=0.0)[1].task
    mpp = np.where(task == "aachen", 0.2499, 1.0)
    stain = np.where(np.arange(len(task)) % 2, "H&E", "PAS")
    found = robustness.effects(*make(lab=1.0, tissue=0.0, mpp=mpp, stain=stain), **OPTIONS)
    assert [each.nuisances for each in found] == [("cohort", "magnification"), ("stain",)]


def test_patches_of_unknown_stain_are_left_out(make):
    count = COHORTS * SLIDES * PATCHES
    stain = np.array(["", "H&E", "PAS"])[np.arange(count) % 3]
    found = robustness.effects(*make(lab=1.0, tissue=0.0, stain=stain), **OPTIONS)
    assert found[1].values == {"H&E": count // 3, "PAS": count // 3}


def test_one_value_of_everything_is_no_row_but_a_sentence(make):
    features, sample = make(lab=1.0, tissue=0.0)
    sample = sample._replace(cohort=np.full(len(sample.row), "one"))
    found = robustness.effects(features, sample, **OPTIONS)
    assert found == []
    assert "nothing to compare" in robustness.table(found)["note"]


def test_cohorts_of_one_slide_cannot_be_told(make):
    features, sample = make(lab=1.0, tissue=0.0)
    (found,) = robustness.effects(features, sample._replace(group=sample.task), **OPTIONS)
    assert robustness.reading(found).startswith("Cannot be told: too few patients or slides")
    (row,) = robustness.table([found])["rows"]
    assert row[robustness.COLUMNS.index("probe of nuisance")] == "cannot be told"
    json.dumps(robustness.numbers([found]), allow_nan=False)


def test_patches_of_unknown_patients_are_counted(make):
    features, sample = make(lab=1.0, tissue=0.0)
    alone = np.char.add(ALONE, np.arange(len(sample.row)).astype(str))
    group = np.where(sample.task == "aachen", alone, sample.group)
    (found,) = robustness.effects(features, sample._replace(group=group), **OPTIONS)
    assert found.alone == 0.5
    assert "50% of the patches are of unknown patients" in robustness.reading(found)


def test_magnifications_are_alike_after_rounding():
    found = robustness.magnifications(np.array([0.499, 0.502, 0.25, 0.0]))
    assert found.tolist() == ["0.5 µm/px", "0.5 µm/px", "0.25 µm/px", ""]
