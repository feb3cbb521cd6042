import functools

import numpy as np
import pytest
from scipy import stats

from histo_simclr.evaluate import metrics, overlap_metrics, regression_metrics, statistics
from histo_simclr.evaluate.statistics import Estimate


def mean_error(truth, predictions, *, weights=None):
    """A metric whose replicates and swaps textbooks know: a mean."""
    weights = np.ones((1, len(truth))) if weights is None else weights
    found = weights @ (predictions - truth) / weights.sum(1)
    return {"mean": found[0] if len(found) == 1 else found}


def _two_encoders(count, seed, shift):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=count)
    return truth, truth + rng.normal(shift, 1, count), truth + rng.normal(0, 1, count)


def test_exact_p_is_scipys():
    truth, first, second = _two_encoders(10, 3, 0.8)
    found = statistics.permutation_test(
        mean_error, truth, first, second, None, permutations=1000, seed=0
    )["mean"]
    expected = stats.permutation_test(
        (first - truth, second - truth),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert found.is_exact
    assert found.swaps == 2**9
    assert found.difference == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert 0.01 < found.p < 0.9


def test_exact_p_of_a_classification_is_scipys():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 2, 9)
    first, second = (rng.dirichlet((1, 1), 9) for _ in range(2))
    first[np.arange(9), labels] += 0.4
    found = statistics.permutation_test(
        metrics.values, labels, first, second, None, permutations=256, seed=0
    )

    def difference(rows, others, *, name):
        tables = (np.concatenate([first, second])[each.astype(int)] for each in (rows, others))
        mine, theirs = (float(metrics.values(labels, table)[name]) for table in tables)
        return mine - theirs

    for name in metrics.METRICS:
        expected = stats.permutation_test(
            (np.arange(9), np.arange(9, 18)),
            functools.partial(difference, name=name),
            permutation_type="samples",
            vectorized=False,
            n_resamples=np.inf,
        )
        # scipy doubles the smaller tail, which for a symmetric distribution is the same, up to 1.
        assert found[name].p == pytest.approx(expected.pvalue, abs=1e-12), name


def test_random_swaps_come_near_the_exact_p():
    truth, first, second = _two_encoders(14, 4, 1.5)
    exact, random = (
        statistics.permutation_test(
            mean_error, truth, first, second, None, permutations=permutations, seed=1
        )["mean"]
        for permutations in (2**13, 2**13 - 1)
    )
    assert (exact.is_exact, random.is_exact) == (True, False)
    # Standard error at p 0.1 of 8,191 swaps: 0.003.
    assert random.p == pytest.approx(exact.p, abs=0.012)
    assert 0.01 < exact.p < 0.3


def test_random_p_is_never_zero():
    truth = np.zeros(40)
    found = statistics.permutation_test(
        mean_error, truth, truth + 1, truth, None, permutations=99, seed=0
    )["mean"]
    assert found.p == pytest.approx(1 / 100)


def test_groups_are_swapped_whole():
    # Eight patients of 50 patches that all say the same are eight observations, not 400.
    rng = np.random.default_rng(0)
    by_patient, patient = rng.normal(0.3, 1, 8), rng.permutation(np.repeat(np.arange(8), 50))
    first, zero, few = by_patient[patient], np.zeros(400), np.zeros(8)
    test = functools.partial(statistics.permutation_test, mean_error, permutations=1000, seed=0)
    found = test(zero, first, zero, patient.astype(str))["mean"]
    patches = test(zero, first, zero, None)["mean"]
    assert found.is_exact
    assert found.p == pytest.approx(test(few, by_patient, few, None)["mean"].p)
    assert patches.p < 0.01 < found.p


def test_p_is_uniform_when_encoders_are_exchangeable():
    p_values = [
        statistics.permutation_test(
            mean_error, *_two_encoders(9, seed, 0.0), None, permutations=256, seed=0
        )["mean"].p
        for seed in range(300)
    ]
    # Of 300 at 5 %: 15 ± 3.8.
    assert 4 <= np.sum(np.array(p_values) <= 0.05) <= 27
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_an_undefined_metric_has_no_p():
    one_class = np.zeros(6, int)
    table = np.full((6, 2), 0.5)
    found = statistics.permutation_test(
        metrics.values, one_class, table, table, None, permutations=100, seed=0
    )
    assert np.isnan(found["auroc"].p)
    assert found["accuracy"].p == 1


@pytest.mark.parametrize("metric", ["accuracy", "l1"])
def test_intervals_by_group_cover_the_truth(metric):
    """300 simulated test sets of 40 patients: nominal 95 %, a little less of so few is known."""
    truth_inside, rng = 0, np.random.default_rng(11)
    groups = np.repeat(np.arange(40).astype(str), 5)
    for seed in range(300):
        skill = np.repeat(np.clip(rng.normal(0.7, 0.15, 40), 0, 1), 5)
        if metric == "accuracy":
            truth, right = rng.integers(0, 2, 200), rng.random(200) < skill
            table = np.eye(2)[np.where(right, truth, 1 - truth)]
            measured = statistics.measure(
                _accuracy, truth, {"a": table}, groups, resamples=400, seed=seed
            )
        else:
            measured = statistics.measure(
                _l1, np.zeros(200), {"a": skill}, groups, resamples=400, seed=seed
            )
        found = measured.estimate("a", metric)
        # 0.7 less what clipping at 1 takes away: 0.15 (phi(2) - 2 (1 - Phi(2))) = 0.0013.
        truth_inside += found.low <= 0.6987 <= found.high
    # 0.95 with 3 standard errors, 0.013 each, of which percentile intervals of 40 groups need one.
    assert 0.91 <= truth_inside / 300 <= 0.99


def _accuracy(labels, table, *, weights=None):
    matrix = metrics.confusion(labels, table.argmax(1), num_classes=2, weights=weights)
    return {"accuracy": metrics.accuracy(matrix)}


def _l1(targets, predictions, *, weights=None):
    return {"l1": regression_metrics.values(targets, predictions, weights=weights)["l1"]}


def test_standard_error_of_a_mean_is_the_textbooks():
    truth, first, second = _two_encoders(200, 1, 0.2)
    measured = statistics.measure(
        mean_error, truth, {"a": first, "b": second}, None, resamples=4000, seed=0
    )
    # 4,000 resamples give a standard deviation to about 1.1 %.
    assert measured.estimate("a", "mean").error == pytest.approx(stats.sem(first - truth), rel=0.04)
    paired = measured.difference("a", "b", "mean")
    assert paired.error == pytest.approx(stats.sem(first - second), rel=0.04)
    assert paired.value == pytest.approx(np.mean(first - second))
    opposite = measured.difference("b", "a", "mean")
    assert opposite[:3] == pytest.approx((-paired.value, -paired.high, -paired.low))


def test_dice_and_regression_are_bootstrapped_too():
    rng = np.random.default_rng(0)
    truth = rng.integers(50, 100, (30, 2))
    predictions = np.stack([truth, truth - rng.integers(0, 50, (30, 2))], axis=-1)
    measured = statistics.measure(
        overlap_metrics.values, truth, {"a": predictions}, None, resamples=200, seed=0
    )
    dice = measured.estimate("a", "dice")
    assert dice.low < dice.value < dice.high
    targets = rng.random(30)
    measured = statistics.measure(
        regression_metrics.values, targets, {"a": targets + 0.1}, None, resamples=200, seed=0
    )
    assert measured.estimate("a", "l1")[:3] == pytest.approx((0.1, 0.1, 0.1))


def test_the_detectable_difference_is_shown_in_four_of_five_cases():
    normal = np.random.default_rng(0).normal(statistics.detectable(0.1), 0.1, 100_000)
    assert np.mean(normal / 0.1 > 1.959964) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize(
    ("estimate", "units", "start"),
    [
        (Estimate(0.5, 0.4, 0.6, 0.05), 5, "too small to tell: with 5 test patients no p"),
        (Estimate(0.02, -0.08, 0.12, 0.05), 40, "too small to tell: 40 test patients show"),
        (Estimate(0.002, -0.008, 0.012, 0.005), 400, "no difference shown: 400 test patients"),
        (Estimate(0.05, 0.01, 0.09, 0.02), 40, ""),
        (Estimate(*[float("nan")] * 4), 40, "too small to tell: no interval"),
    ],
)
def test_the_note_says_what_the_test_set_is_too_small_for(estimate, units, start):
    note = statistics.power_note(estimate, units=units, unit="patients", margin=0.02)
    assert note.startswith(start)
    assert bool(note) == bool(start)


def test_five_groups_never_reach_five_percent_and_six_do():
    for units, reaches in ((5, False), (6, True)):
        zero = np.zeros(units)
        found = statistics.permutation_test(
            mean_error, zero, zero + 1, zero, None, permutations=100, seed=0
        )["mean"]
        assert (found.p <= statistics.LEVEL) == reaches
        note = statistics.power_note(Estimate(1, 1, 1, 0), units=units, unit="slides", margin=0.02)
        assert bool(note) != reaches


def test_spread_is_that_of_a_sample():
    assert statistics.spread([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx((5, np.sqrt(32 / 7), 8))
    assert np.isnan(statistics.spread([0.5]).sd)
