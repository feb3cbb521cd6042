"""Slides as wholes: patients are judged by the mean of their slides."""

from types import SimpleNamespace

import numpy as np

from histo_simclr.evaluate.splits import groups_of
from histo_simclr.suite import slide_level
from histo_simclr.suite.cells import Inputs

ATTENTION = {"most": 4, "validation_fraction": 0.3, "hidden": 4, "epochs": 3, "patience": 3}
ATTENTION |= {"batch_size": 4, "rate": 1e-2, "decay": 0.0}


def part(labels, slides, patients):
    columns = {"slide": np.array(slides, object), "patient": np.array(patients, object)}
    return SimpleNamespace(truth=np.array(labels), columns=columns, groups=groups_of(columns))


def inputs(test_labels=None):
    """Eight patients of two slides of five patches in train, three patients in test."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(8), 10)
    slides = np.repeat(np.arange(16), 5)
    train = part(patients % 2, [f"s{n}" for n in slides], [f"p{n}" for n in patients])
    test_slides = np.repeat(np.arange(6), 5)
    labels = test_slides // 2 % 2 if test_labels is None else test_labels[test_slides]
    test = part(labels, [f"t{n}" for n in test_slides], [f"q{n // 2}" for n in test_slides])
    features = [
        (rng.normal(size=(len(each.truth), 6)) + each.truth[:, None]).astype(np.float32)
        for each in (train, test)
    ]
    task = SimpleNamespace(classes=["a", "b"], train=train, test=test)
    everything = np.ones(len(train.truth), bool)
    return Inputs(task, None, None, lambda: features, everything, None, None, 0, print)


def test_patients_are_judged_by_the_mean_of_their_slides():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    given = inputs()
    found = slide_level.mean_pool(given, strengths=(0.1,), folds=4)
    train, test = given.features()
    pooled = train.reshape(16, 5, -1).mean(1)
    labels = np.arange(16) // 2 % 2
    scaler = StandardScaler().fit(pooled)
    reference = LogisticRegression(C=0.1, tol=1e-8).fit(scaler.transform(pooled), labels)
    by_slide = reference.predict_proba(scaler.transform(test.reshape(6, 5, -1).mean(1)))
    np.testing.assert_allclose(found.predictions, by_slide.reshape(3, 2, 2).mean(1), atol=1e-4)
    assert found.truth.tolist() == [0, 1, 0]
    assert found.grouping == "patient"
    assert found.examples == 16
    assert found.groups.tolist() == ["patient:q0", "patient:q1", "patient:q2"]


def test_attention_gives_patients_too():
    found = slide_level.attention(inputs(), **ATTENTION)
    assert found.predictions.shape == (3, 2)
    np.testing.assert_allclose(found.predictions.sum(1), 1, atol=1e-6)


def test_a_patient_with_slides_of_two_classes_is_judged_by_slide():
    mixed = np.array([0, 1, 1, 1, 0, 0])
    found = slide_level.mean_pool(inputs(mixed), strengths=(0.1,), folds=4)
    assert found.truth.tolist() == mixed.tolist()
    assert found.predictions.shape == (6, 2)
    assert "slides are judged, not patients" in found.notes[-1]
