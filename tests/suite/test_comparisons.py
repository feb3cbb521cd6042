"""Encoders compared, on predictions that were made up."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from histo_simclr.evaluate import metrics, statistics
from histo_simclr.suite import comparisons, summary
from histo_simclr.suite.cells import WHOLE, Outcome

FOUND = [
    SimpleNamespace(name="random init", kind="random"),
    SimpleNamespace(name="color histogram", kind="histogram"),
    SimpleNamespace(name="a", kind="checkpoint"),
    SimpleNamespace(name="b", kind="features"),
]


def outcome(truth, predictions):
    groups = np.arange(len(truth)).astype(str)
    return Outcome(truth, predictions, groups, "example", len(truth), {}, [], {})


def block(name, skills, *, metric="macro_f1", cohort=None, seeds=(0,), size=60):
    """Predictions that are right with the probability `skills[encoder]`."""
    rng = np.random.default_rng(len(name))
    truth = rng.integers(0, 3, size)
    task = SimpleNamespace(
        name=name,
        kind="classification",
        metric=metric,
        bounds=(0, 1),
        classes=list("xyz"),
        about={"cohort": cohort or name},
    )
    made = {}
    for encoder, skill in skills.items():
        made[encoder] = {}
        for seed in seeds:
            right = rng.uniform(size=size) < skill
            said = np.where(right, truth, rng.integers(0, 3, size))
            made[encoder][seed] = outcome(truth, np.eye(3)[said] * 0.8 + 0.1)
    return summary.Block(task, "linear", WHOLE, made, set())


SKILLS = {"random init": 0.2, "color histogram": 0.4, "a": 0.9, "b": 0.6}


@pytest.fixture(scope="module")
def judged():
    blocks = [
        block("one", SKILLS, seeds=(0, 1)),
        block("three", SKILLS, metric="auroc"),
        block("seven", SKILLS | {"a": 0.3}, cohort="three"),
    ]
    return [summary.judge(each, resamples=200) for each in blocks]


def test_every_encoder_is_compared_with_every_floor_and_later_ones_with_earlier():
    assert comparisons.pairs_of(FOUND) == [
        ("a", "random init"),
        ("a", "color histogram"),
        ("b", "random init"),
        ("b", "color histogram"),
        ("b", "a"),
    ]


def test_values_are_means_over_seeds_of_the_metric(judged):
    first = judged[0]
    each = [
        float(metrics.values(o.truth, o.predictions)["macro_f1"])
        for o in first.block.outcomes["a"].values()
    ]
    assert first.measured.values["a"]["macro_f1"] == pytest.approx(np.mean(each))
    row = next(row for row in summary.rows(first) if row["encoder"] == "a")
    assert row["metrics"]["macro_f1"]["per_seed"] == pytest.approx(each)
    assert row["metrics"]["macro_f1"]["sd"] == pytest.approx(np.std(each, ddof=1))


def test_of_one_seed_intervals_and_tests_are_those_of_the_statistics_themselves(judged):
    second = judged[1]
    tables = {name: by_seed[0].predictions for name, by_seed in second.block.outcomes.items()}
    truth = second.block.one.truth
    reference = statistics.measure(
        metrics.values, truth, tables, None, resamples=200, seed=summary.SEED
    )
    assert second.measured.difference("a", "b", "auroc") == pytest.approx(
        reference.difference("a", "b", "auroc")
    )
    told = comparisons.differences([second], FOUND, permutations=99, margin=0.05)
    pair = next(each for each in told if (each["first"], each["second"]) == ("b", "a"))
    test = statistics.permutation_test(
        metrics.values,
        truth,
        tables["b"],
        tables["a"],
        None,
        permutations=99,
        seed=summary.SEED,
    )["auroc"]
    assert pair["p"] == pytest.approx(test.p)
    assert pair["value"] == pytest.approx(test.difference)
    assert pair["metric"] == "auroc"


def test_a_few_patients_are_too_few_whatever_their_patches_say():
    """Patches of one patient are alike: an interval over them is too narrow."""
    made = block("one", {"a": 0.95, "color histogram": 0.3}, size=300)
    groups = np.array([f"patient:{n % 3}" for n in range(300)])
    made = made._replace(
        outcomes={
            name: {
                seed: each._replace(groups=groups, grouping="patient")
                for seed, each in by_seed.items()
            }
            for name, by_seed in made.outcomes.items()
        }
    )
    judged = summary.judge(made, resamples=50)
    (told,) = comparisons.differences([judged], FOUND, permutations=49, margin=0.05)
    assert told["low"] > 0.3
    assert told["note"].startswith("too small to tell: 3 test patient(s)")


def test_holm_is_over_the_tasks_of_a_pair(judged):
    told = comparisons.differences(judged, FOUND, permutations=99, margin=0.05)
    family = [each for each in told if (each["first"], each["second"]) == ("a", "random init")]
    assert len(family) == 3
    smallest = min(family, key=lambda each: each["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, 3 * smallest["p"]))
    largest = max(family, key=lambda each: each["p"])
    assert largest["p_holm"] >= largest["p"]


def test_fine_tuning_is_paired_with_the_frozen_encoder_of_the_same_name(judged):
    frozen = judged[0]
    tuned = block("one", {"a": 0.99, "b": 0.1}, seeds=(0, 1))
    # The same test examples: those that `block` drew for the frozen encoders.
    truth = frozen.block.one.truth
    for by_seed in tuned.outcomes.values():
        for seed, each in by_seed.items():
            by_seed[seed] = each._replace(truth=truth)
    tuned = summary.judge(tuned._replace(protocol="finetune"), resamples=50)
    told = comparisons.tuning([frozen, tuned], resamples=50, permutations=49, margin=0.05)
    assert [each["encoder"] for each in told] == ["a", "b"]
    for each in told:
        values = [side.measured.values[each["encoder"]]["macro_f1"] for side in (tuned, frozen)]
        assert each["value"] == pytest.approx(values[0] - values[1])
        assert (each["first"], each["second"]) == ("finetune", "linear")
    assert comparisons.tuning([frozen], resamples=50, permutations=49, margin=0.05) == []


def test_tasks_of_one_cohort_count_as_one_in_the_average(judged):
    told = {each["encoder"]: each for each in comparisons.averages(judged)}
    scores = [each.measured.values["a"]["macro_f1"] for each in judged]
    assert told["a"]["value"] == pytest.approx(np.mean([scores[0], np.mean(scores[1:])]))
    assert told["a"]["tasks"] == ["one", "three", "seven"]


def test_an_encoder_that_lacks_a_task_has_no_average(judged):
    some = block("ten", {"a": 0.9, "color histogram": 0.4})
    told = comparisons.averages([*judged, summary.judge(some, resamples=20)])
    assert {each["encoder"] for each in told} == {"color histogram", "a"}


def test_ranks_are_scipys_and_one_task_has_none(judged):
    ranked = comparisons.rankings(judged)["linear"]
    scores = [
        [each.measured.values[name][each.block.task.metric] for name in ranked["encoders"]]
        for each in judged
    ]
    expected = scipy.stats.rankdata(-np.array(scores), axis=1).mean(0)
    np.testing.assert_allclose(ranked["ranks"], expected)
    assert comparisons.rankings(judged[:1]) == {}


def test_of_errors_less_is_better_in_ranks():
    truth = np.linspace(0, 1, 40)
    task = SimpleNamespace(
        name="t", kind="regression", metric="l1", bounds=(0, 1), classes=[], about={"cohort": "t"}
    )
    made = {
        "a": {0: outcome(truth, truth + 0.01)},
        "b": {0: outcome(truth, truth + 0.2)},
    }
    both = [
        summary.judge(summary.Block(task, "ridge", WHOLE, made, set()), resamples=20)
        for _ in range(2)
    ]
    ranked = comparisons.rankings(both)["ridge"]
    assert dict(zip(ranked["encoders"], ranked["ranks"], strict=True)) == {"a": 1.0, "b": 2.0}
