"""Blocks measured: means over seeds, and what is resampled."""

from types import SimpleNamespace

import numpy as np
import pytest

from histo_simclr.evaluate import metrics, overlap_metrics
from histo_simclr.suite import summary
from histo_simclr.suite.cells import WHOLE, Outcome


def block(groups, grouping, *, kind="classification"):
    rng = np.random.default_rng(0)
    truth = np.arange(len(groups)) % 2
    table = rng.dirichlet((1, 1), len(groups))
    task = SimpleNamespace(name="t", kind=kind, metric="macro_f1", classes=["x", "y"], about={})
    made = Outcome(truth, table, np.array(groups), grouping, 9, {"C": 1}, ["said"], {})
    return summary.Block(task, "linear", WHOLE, {"a": {0: made}}, set())


def test_the_mean_over_seeds_is_taken_within_each_resample():
    rng = np.random.default_rng(1)
    truth, tables = rng.integers(0, 3, 50), rng.dirichlet((1, 1, 1), (50, 4))
    weights = rng.integers(0, 3, (7, 50)).astype(float)
    found = summary.over_seeds(metrics.values)(truth, tables, weights=weights)
    each = [
        metrics.values(truth, tables[:, seed], weights=weights)["macro_f1"] for seed in range(4)
    ]
    np.testing.assert_allclose(found["macro_f1"], np.mean(each, axis=0))


@pytest.mark.parametrize(
    ("groups", "grouping", "unit", "units"),
    [
        ([f"patient:{n // 2}" for n in range(20)], "patient", "patient", 10),
        ([f"patient:{n // 10}" for n in range(20)], "patient", "patch", 20),
        ([f"example:{n}" for n in range(20)], "example", "patch", 20),
    ],
)
def test_few_groups_are_resampled_by_patch_and_it_is_said(groups, grouping, unit, units):
    judged = summary.judge(block(groups, grouping), resamples=50)
    assert (judged.unit, judged.units) == (unit, units)
    row = summary.rows(judged)[0]
    assert row["resampled"] == {"unit": unit, "units": units}
    assert row["notes"] == ["said"]
    assert np.isnan(row["metrics"]["macro_f1"]["sd"])
    assert np.sum(row["calibration"]["count"]) == 20


def test_segmentations_are_told_by_class_and_objects():
    rng = np.random.default_rng(2)
    confusions = rng.integers(1, 50, (6, 2, 2))
    objects = rng.integers(0, 5, (6, 2, 3))
    truth, predictions = overlap_metrics.counts_of(confusions, objects)
    task = SimpleNamespace(
        name="t", kind="segmentation", metric="dice", classes=["none", "gland"], about={}
    )
    groups = np.array([f"example:{n}" for n in range(6)])
    made = Outcome(truth, predictions, groups, "example", 9, {}, [], {})
    judged = summary.judge(
        summary.Block(task, "unet", WHOLE, {"a": {0: made}}, set()), resamples=30
    )
    assert judged.unit == "image"
    row = summary.rows(judged)[0]
    total, counted = confusions.sum(0), objects.sum(0)
    for number, each in enumerate(row["per_class"]):
        both = total[number].sum() + total[:, number].sum()
        assert each["dice"] == pytest.approx(2 * total[number, number] / both)
        hits, extra, missed = counted[number]
        assert each["object_f1"] == pytest.approx(2 * hits / (2 * hits + extra + missed))
    assert row["metrics"]["dice"]["value"] == pytest.approx(
        np.mean([each["dice"] for each in row["per_class"]])
    )
