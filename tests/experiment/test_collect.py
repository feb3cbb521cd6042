"""Points from results: means, intervals and standard deviations against the standard library's."""

import math
import statistics

import pytest

from histo_simclr.errors import InputError
from histo_simclr.experiment import collect, declared

ENCODERS = {(f"n{size}", seed): f"n{size}_seed{seed}" for size in (10, 20) for seed in (0, 1)}
SCORES = {"n10_seed0": 0.50, "n10_seed1": 0.60, "n20_seed0": 0.70, "n20_seed1": 0.74}


@pytest.fixture
def rows(row):
    made = [row("pcam", name, score) for name, score in SCORES.items()]
    made += [row("bach", name, score - 0.2, half=0.2) for name, score in SCORES.items()]
    made += [row(task, "random init", 0.4) for task in ("pcam", "bach")]
    return made


def _found(collected, series, value, task):
    (point,) = (p for p in collected.points if (p.series, p.value, p.task) == (series, value, task))
    return point


def test_a_point_is_the_mean_of_its_seeds_with_their_scatter(experiment, rows, write_results):
    collected = collect.read(experiment, ENCODERS, write_results(rows))
    point = _found(collected, "pretrained", 10, "pcam")
    assert point.score == pytest.approx(statistics.mean([0.5, 0.6]))
    assert point.sd == pytest.approx(statistics.stdev([0.5, 0.6]))
    assert (point.low, point.high) == pytest.approx((0.45, 0.65))
    assert point.seeds == {0: 0.5, 1: 0.6}


def test_the_mean_over_tasks_has_the_interval_of_independent_test_sets(
    experiment, rows, write_results
):
    point = _found(
        collect.read(experiment, ENCODERS, write_results(rows)), "pretrained", 20, "mean"
    )
    assert point.score == pytest.approx((0.72 + 0.52) / 2)
    assert point.high - point.score == pytest.approx(math.hypot(0.1, 0.2) / 2)
    assert point.sd == pytest.approx(statistics.stdev([0.6, 0.64]))


def test_curves_are_in_the_order_of_the_runs_and_others_beside_them(
    experiment, rows, write_results
):
    collected = collect.read(experiment, ENCODERS, write_results(rows[::-1]))
    order = [(p.series, p.value) for p in collected.points if p.task == "mean"]
    assert order == [("pretrained", 10), ("pretrained", 20), ("random init", None)]


def test_a_mean_is_of_the_tasks_that_all_have(experiment, rows, row, write_results):
    with_one_more = [*rows, row("lymph", "n10_seed0", 0.99), row("lymph", "n10_seed1", 0.99)]
    for given in (rows, with_one_more):
        collected = collect.read(experiment, ENCODERS, write_results(given))
        assert _found(collected, "pretrained", 10, "mean").score == pytest.approx(0.45)
    assert _found(collected, "pretrained", 10, "lymph").score == pytest.approx(0.99)


def test_missing_runs_are_named_and_the_rest_stays(experiment, rows, write_results):
    there = [each for each in rows if not each["encoder"].startswith("n20_seed1")]
    collected = collect.read(experiment, ENCODERS, write_results(there))
    assert collected.missing == [("n20", 1)]
    assert _found(collected, "pretrained", 20, "pcam").seeds == {0: 0.7}
    assert math.isnan(_found(collected, "pretrained", 20, "pcam").sd)


def test_label_fractions_are_the_variable_where_runs_have_no_value(experiment, row, write_results):
    labels = experiment._replace(runs=(declared.Run("mix", None, {"size": 20}),), seeds=(0,))
    rows = [
        row("pcam", name, score, fraction=fraction, per_seed=[score - 0.01, score, score + 0.01])
        for name, shift in (("mix_seed0", 0.0), ("random init", -0.3))
        for fraction, score in ((0.05, 0.6 + shift), (1.0, 0.8 + shift))
    ]
    rows.append(row("pcam", "mix_seed0", 0.1) | {"fraction": None, "subset": "10-shot"})
    collected = collect.read(labels, {("mix", 0): "mix_seed0"}, write_results(rows))
    points = {(p.series, p.value): p for p in collected.points if p.task == "pcam"}
    assert [*points] == [
        ("pretrained", 0.05),
        ("pretrained", 1.0),
        ("random init", 0.05),
        ("random init", 1.0),
    ]
    # One run: the scatter is that of the subsets of labels.
    assert points["pretrained", 0.05].sd == pytest.approx(statistics.stdev([0.59, 0.6, 0.61]))


def test_fractions_metrics_and_tasks_of_another_kind_are_left_out(
    experiment, rows, row, write_results
):
    few = row("pcam", "n10_seed0", 0.1, fraction=0.05)
    regression = row("breastpathq", "n10_seed0", 0.1)
    regression["metrics"] = {"l1": regression["metrics"]["macro_f1"]}
    failed = row("pcam", "random init", 0.1, protocol="knn")
    failed["metrics"]["macro_f1"] |= {"value": None, "low": None, "high": None}
    plain = collect.read(experiment, ENCODERS, write_results(rows)).points
    more = collect.read(experiment, ENCODERS, write_results([few, regression, failed, *rows]))
    assert more.points == plain


def test_an_interval_that_is_not_known_is_no_number(experiment, rows, write_results):
    rows[0]["metrics"]["macro_f1"] |= {"low": None, "high": None}
    collected = collect.read(experiment, ENCODERS, write_results(rows))
    assert math.isnan(_found(collected, "pretrained", 10, "pcam").low)
    assert _found(collected, "pretrained", 10, "pcam").score == pytest.approx(0.55)


def test_differences_are_those_between_runs_of_one_seed(experiment, rows, write_results):
    def difference(first, second, metric="macro_f1"):
        return {"first": first, "second": second, "metric": metric, "value": 0.1}

    wanted = difference("n20_seed0", "n10_seed0")
    others = [
        difference("n20_seed0", "n10_seed1"),
        difference("n20_seed0", "random init"),
        difference("n20_seed0", "n10_seed0", "accuracy"),
    ]
    path = write_results(rows, differences=[*others, wanted])
    assert collect.read(experiment, ENCODERS, path).differences == [wanted]


def test_results_that_cannot_be_used_are_one_line(experiment, rows, row, write_results, tmp_path):
    with pytest.raises(InputError, match="no results yet; run the experiment first"):
        collect.read(experiment, ENCODERS, tmp_path / "nothing.json")
    with pytest.raises(InputError, match="format 2, this version reads 1"):
        collect.read(experiment, ENCODERS, write_results(rows, number=2))
    with pytest.raises(InputError, match="none of the experiment's runs"):
        collect.read(experiment, ENCODERS, write_results([row("pcam", "random init", 0.4)]))
    del rows[0]["protocol"]
    with pytest.raises(InputError, match="rows of another form.*protocol"):
        collect.read(experiment, ENCODERS, write_results(rows))
    path = tmp_path / "results.json"
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        collect.read(experiment, ENCODERS, path)


def test_tasks_of_one_cohort_count_once_in_the_mean(experiment, row, write_results):
    scores = {"bach": 0.9, "breakhis_40": 0.5, "breakhis_400": 0.7}
    cohorts = {"breakhis_40": "BreakHis", "breakhis_400": "BreakHis"}
    rows = [row(task, "n10_seed0", score) for task, score in scores.items()]
    found = collect.read(experiment, ENCODERS, write_results(rows, cohorts=cohorts))
    (mean,) = [each for each in found.points if each.task == "mean"]
    assert mean.score == pytest.approx((0.9 + 0.6) / 2)
