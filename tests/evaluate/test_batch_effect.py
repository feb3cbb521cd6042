import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from histo_simclr.evaluate import batch_effect, folds

OPTIONS = {"folds": 4, "strength": 0.1, "resamples": 200, "seed": 0}
COHORTS, SLIDES, PATCHES, WIDTH = 3, 6, 12, 32


@pytest.fixture
def make():
    """make(scanner, tissue, slide) -> features, cohorts, classes, slides; strengths of each."""

    def made(scanner, tissue, slide=0.0):
        rng = np.random.default_rng(3)
        number = np.repeat(np.arange(COHORTS * SLIDES), PATCHES)
        cohort, kind = number % COHORTS, np.tile([0, 1], len(number) // 2)
        features = rng.normal(size=(len(number), WIDTH))
        features += scanner * rng.normal(size=(COHORTS, WIDTH))[cohort]
        features += tissue * rng.normal(size=(2, WIDTH))[kind]
        features += slide * rng.normal(size=(COHORTS * SLIDES, WIDTH))[number]
        names = np.array(["lab a", "lab b", "lab c"])[cohort], np.array(["tumor", "stroma"])[kind]
        return features.astype(np.float32), *names, np.char.add("s", number.astype(str))

    return made


def test_a_planted_batch_effect_is_measured(make):
    found = batch_effect.contrast(*make(scanner=1.0, tissue=0.0), **OPTIONS)
    assert found.nuisance.low > 0.9
    assert found.nuisance.chance == pytest.approx(1 / 3)
    assert found.nuisance.above_chance > 0.9
    assert found.tissue.low < 0.5 < found.tissue.high
    assert found.association == pytest.approx(0, abs=1e-12)


def test_features_of_tissue_alone_do_not_tell_the_cohort(make):
    found = batch_effect.contrast(*make(scanner=0.0, tissue=1.0), **OPTIONS)
    assert found.tissue.low > 0.9
    # Held-out groups of noise lie a little below chance: what is fitted has less of their label.
    assert found.nuisance.balanced_accuracy < 0.4


def test_what_only_tells_slides_apart_does_not_tell_cohorts(make):
    """Judged on patches of known slides, such features would name the cohort nearly always."""
    features, cohorts, _, slides = make(scanner=0.0, tissue=0.0, slide=2.0)
    found = batch_effect.separability(features, cohorts, slides, **OPTIONS)
    patches = np.arange(len(slides)).astype(str)
    careless = batch_effect.separability(features, cohorts, patches, **OPTIONS)
    assert careless.balanced_accuracy > 0.9
    assert found.balanced_accuracy < 0.6


def test_separability_is_scikit_learns_on_the_same_folds(make):
    features, cohorts, _, slides = make(scanner=0.25, tissue=0.0)
    found = batch_effect.separability(features, cohorts, slides, **OPTIONS)
    label = np.unique(cohorts, return_inverse=True)[1]
    part = folds.grouped_folds(label, slides, folds=4, seed=0)
    predicted = np.empty_like(label)
    for number in range(4):
        fitted = part != number
        scaler = StandardScaler().fit(features[fitted])
        probe = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000)
        probe.fit(scaler.transform(features[fitted]), label[fitted])
        predicted[~fitted] = probe.predict(scaler.transform(features[~fitted]))
    expected = balanced_accuracy_score(label, predicted)
    assert 0.4 < expected < 0.95
    assert found.balanced_accuracy == pytest.approx(expected, abs=1e-9)


def test_a_cohort_of_one_slide_is_left_out_by_name(make):
    features, cohorts, _, slides = make(scanner=1.0, tissue=0.0)
    slides = np.where(cohorts == "lab b", "only", slides)
    found = batch_effect.separability(features, cohorts, slides, **OPTIONS)
    assert (found.labels, found.left_out) == (("lab a", "lab c"), ("lab b",))
    assert found.chance == 0.5


def test_one_cohort_cannot_be_judged(make):
    features, cohorts, _, slides = make(scanner=1.0, tissue=0.0)
    one = np.full_like(cohorts, "lab a")
    found = batch_effect.contrast(features, one, cohorts, slides, **OPTIONS)
    assert np.isnan(found.nuisance.balanced_accuracy)
    assert found.association == 0


def test_association_is_cramers(make):
    features, cohorts, classes, slides = make(scanner=0.0, tissue=0.0)
    skewed = np.where(cohorts == "lab a", "tumor", classes)
    found = batch_effect.contrast(features, cohorts, skewed, slides, **OPTIONS)
    names = np.unique(cohorts), np.unique(skewed)
    table = [
        [np.sum((cohorts == one) & (skewed == other)) for other in names[1]] for one in names[0]
    ]
    expected = np.sqrt(chi2_contingency(table, correction=False).statistic / len(cohorts))
    assert found.association == pytest.approx(expected)
    assert batch_effect.contrast(
        features, cohorts, cohorts, slides, **OPTIONS
    ).association == pytest.approx(1)


def test_labels_that_no_parts_of_whole_groups_hold_apart_are_not_judged():
    """Group c holds the rest of both labels, so that wherever it goes, one is not fitted."""
    groups = np.repeat(["a", "b", "c"], 4)
    labels = np.array(["x"] * 4 + ["y"] * 4 + ["x", "x", "y", "y"])
    features = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    found = batch_effect.separability(features, labels, groups, **OPTIONS | {"folds": 2})
    assert np.isnan(found.balanced_accuracy)
    assert found.labels == ("x", "y")


def test_mixing_is_that_of_scikit_learns_neighbors(make):
    features, cohorts, classes, slides = make(scanner=0.3, tissue=0.3)
    found = batch_effect.mixing(features, cohorts, classes, slides, count=5)
    order = (
        NearestNeighbors(metric="cosine")
        .fit(features)
        .kneighbors(features, len(features), return_distance=False)
    )
    other, biology, confounded = [], 0, 0
    for row, ranked in enumerate(order):
        near = ranked[slides[ranked] != slides[row]][:5]
        other.extend(cohorts[near] != cohorts[row])
        biology += np.sum((cohorts[near] != cohorts[row]) & (classes[near] == classes[row]))
        confounded += np.sum((cohorts[near] == cohorts[row]) & (classes[near] != classes[row]))
    assert found.other == pytest.approx(np.mean(other))
    assert found.robustness == pytest.approx(biology / (biology + confounded))
    # 12 of the 17 other slides are of another cohort.
    assert found.expected == pytest.approx(12 / 17)


def test_mixing_tells_a_scanner_from_a_tissue(make):
    scanner = batch_effect.mixing(*make(scanner=2.0, tissue=0.0), count=5)
    tissue = batch_effect.mixing(*make(scanner=0.0, tissue=2.0), count=5)
    assert scanner.other < 0.05
    assert scanner.robustness < 0.05
    assert tissue.other == pytest.approx(tissue.expected, abs=0.05)
    assert tissue.robustness > 0.95
