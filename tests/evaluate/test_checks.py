import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import bags, centroid, checks, knn, mil, probe, ridge, sgd_probe

GOOD = np.arange(24, dtype=np.float32).reshape(12, 2)
LABELS = np.arange(12) % 3
GROUPS = np.array([f"patient:{number}" for number in range(12)])


def _with(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (_with(GOOD, (4, 1), np.nan), GOOD, r"1 of 12 rows of the training .* row 4"),
        (GOOD, _with(GOOD, (0, 0), np.inf), "1 of 12 rows of the test"),
        (GOOD, np.ones((3, 5), np.float32), "have 2 dimensions, test features 5"),
        (GOOD, GOOD[:0], r"test features have the shape \(0, 2\)"),
        (GOOD[:, 0], GOOD, r"training features have the shape \(12,\)"),
    ],
)
def test_features_that_no_head_can_use_are_refused_by_name(train, test, said):
    with pytest.raises(InputError, match=said):
        checks.check_features(train, test)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.where(LABELS == 1, 0, LABELS), "class 1 of 3 has no training example"),
        (LABELS[:5], "12 training examples"),
        (LABELS.astype(float), "labels are float64"),
        (LABELS + 1, "label 3 is outside 0 to 2"),
        (LABELS - 1, "label -1 is outside 0 to 2"),
    ],
)
def test_labels_with_gaps_or_of_another_length_are_refused(labels, said):
    with pytest.raises(InputError, match=said):
        checks.check_labels(labels, count=12, num_classes=3)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (_with(np.full(12, 0.5), 3, np.nan), "1 of 12 targets are NaN or infinite .* row 3"),
        (_with(np.full(12, 0.5), 7, 1.5), "target 1.5 of row 7 is outside 0 to 1"),
        (_with(np.full(12, 0.5), 2, -0.1), "target -0.1 of row 2"),
        (np.full(3, 0.5), "there are 12 examples"),
    ],
)
def test_targets_out_of_range_are_refused_by_row(targets, said):
    with pytest.raises(InputError, match=said):
        checks.check_targets(targets, count=12, bounds=(0.0, 1.0))


def _mil(train, test, labels):
    train, test = (
        bags.bags_of(part, np.array([f"slide:{i}" for i in range(len(part))]))
        for part in (train, test)
    )
    mil.attend(
        train,
        test,
        labels=labels,
        held=np.arange(12) < 3,
        num_classes=3,
        hidden=2,
        epochs=1,
        patience=1,
        batch_size=4,
        rate=1e-3,
        decay=0.0,
        seed=0,
    )


COMMON = {"num_classes": 3}
FOLDS = {"folds": 3, "seed": 0}
PROTOCOLS = {
    "knn": lambda train, test, labels: knn.cross_validated(
        train, test, labels=labels, groups=GROUPS, neighbors=(1,), temperature=0.07, **COMMON,
        **FOLDS,
    ),
    "centroid": lambda train, test, labels: centroid.predict(
        train, test, labels=labels, metric="cosine", temperature=0.07, **COMMON
    ),
    "probe": lambda train, test, labels: probe.cross_validated(
        train, test, labels=labels, groups=GROUPS, strengths=(1.0,), **COMMON, **FOLDS
    ),
    "sgd_probe": lambda train, test, labels: sgd_probe.train_probe(
        train, test, labels=labels, seed=0, **COMMON, **sgd_probe.RECIPE
    ),
    "mil": _mil,
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_protocol_fits_what_the_checks_refuse(protocol):
    for train, test, labels, said in (
        (_with(GOOD, (4, 1), np.nan), GOOD, LABELS, "NaN"),
        (GOOD, np.ones((3, 5), np.float32), LABELS, "dimensions"),
        (GOOD, GOOD, np.where(LABELS == 1, 0, LABELS), "class 1"),
    ):
        with pytest.raises(InputError, match=said):
            PROTOCOLS[protocol](train, test, labels)


def test_ridge_refuses_the_same_and_bad_targets():
    settings = {"groups": GROUPS, "strengths": (1.0,), "bounds": (0.0, 1.0), **FOLDS}
    targets = np.linspace(0, 1, 12)
    for train, wanted, said in (
        (_with(GOOD, (4, 1), np.nan), targets, "NaN"),
        (GOOD, targets * 2, "outside 0 to 1"),
        (GOOD, targets * np.nan, "NaN"),
    ):
        with pytest.raises(InputError, match=said):
            ridge.cross_validated(train, GOOD, targets=wanted, **settings)
