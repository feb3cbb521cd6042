import numpy as np
import pytest

from histo_simclr.evaluate import metrics

EDGES = (
    "class 2 never predicted",
    "class 2 predicted but absent",
    "one class only",
    "all wrong",
    "binary",
)


@pytest.mark.parametrize("name", ["synthetic", "histogram", "binary"])
@pytest.mark.parametrize("strength", ["0.001", "1", "100"])
def test_values_are_scikit_learns(name, strength, reference):
    key = f"{name}/C{strength}"
    labels = reference.arrays[f"{'synthetic' if name == 'binary' else name}/test_y"]
    labels = (labels == 0).astype(int) if name == "binary" else labels
    found = metrics.values(labels, reference.arrays[f"{key}/test_probabilities"])
    expected = reference.numbers[key]["test"]
    for metric in metrics.METRICS:
        assert found[metric] == pytest.approx(expected[metric], abs=1e-12), metric


@pytest.mark.parametrize("case", EDGES)
def test_edges_are_scikit_learns(case, reference):
    edge = reference.numbers["metric_edges"][case]
    matrix = metrics.confusion(np.array(edge["y"]), np.array(edge["prediction"]), num_classes=3)
    np.testing.assert_array_equal(matrix, edge["confusion_labels_0_1_2"])
    assert metrics.accuracy(matrix) == pytest.approx(edge["accuracy"], abs=1e-15)
    assert metrics.macro_f1(matrix) == pytest.approx(edge["macro_f1"], abs=1e-15)
    assert metrics.balanced_accuracy(matrix) == pytest.approx(edge["balanced_accuracy"], abs=1e-15)


def test_auroc_counts_ties_half(reference):
    edge = reference.numbers["metric_edges"]["auroc with ties"]
    scores = np.array(edge["score"])
    area = metrics.auroc(np.array(edge["y"]), np.stack([1 - scores, scores], axis=1))
    assert area == pytest.approx(edge["auroc"], abs=1e-15)


def test_auroc_of_one_class_is_undefined():
    assert np.isnan(metrics.auroc(np.zeros(4, int), np.full((4, 2), 0.5)))


def test_per_class_is_scikit_learns(reference):
    from sklearn.metrics import precision_recall_fscore_support

    labels = reference.arrays["bootstrap/y"]
    predictions = reference.arrays["bootstrap/a"]
    table = metrics.per_class(metrics.confusion(labels, predictions, num_classes=5))
    expected = precision_recall_fscore_support(labels, predictions)
    for key, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(table[key], column, atol=1e-15)


def _given_weights(reference):
    drawn = reference.arrays["bootstrap/resamples"].astype(int)
    return np.stack([np.bincount(row, minlength=drawn.shape[1]) for row in drawn]).astype(float)


def test_the_given_resamples_give_scikit_learns_values(reference):
    labels, predictions = reference.arrays["bootstrap/y"], reference.arrays["bootstrap/a"]
    weights = _given_weights(reference)
    matrices = metrics.confusion(labels, predictions, num_classes=5, weights=weights)
    for metric in ("macro_f1", "accuracy"):
        found = getattr(metrics, metric)(matrices)
        expected = reference.arrays[f"bootstrap/{metric}_a_of_each_resample"]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        interval = reference.numbers["intervals_and_tests"][
            f"{metric}_a_percentile_95_of_the_500_given_resamples"
        ]
        np.testing.assert_allclose(metrics.interval(found), interval, atol=1e-12)


@pytest.mark.parametrize("decimals", [None, 2], ids=["distinct", "tied"])
def test_weighted_auroc_is_that_of_the_repeated_examples(decimals, reference):
    from sklearn.metrics import roc_auc_score

    labels = reference.arrays["bootstrap/y"]
    table = reference.arrays["synthetic/C1/test_probabilities"]
    table = table if decimals is None else np.round(table, decimals)
    drawn = reference.arrays["bootstrap/resamples"][:5].astype(int)
    found = metrics.auroc(labels, table, weights=_given_weights(reference)[:5])
    for area, row in zip(found, drawn, strict=True):
        expected = [roc_auc_score(labels[row] == c, table[row, c]) for c in range(5)]
        assert area == pytest.approx(np.mean(expected), abs=1e-12)


def test_intervals_are_those_of_the_reference_bootstrap(reference):
    labels = reference.arrays["bootstrap/y"]
    tables = {name: np.eye(5)[reference.arrays[f"bootstrap/{name}"]] for name in "ab"}
    drawn = metrics.bootstrap(labels, tables, None, resamples=20_000, seed=3)
    expected = reference.numbers["intervals_and_tests"]
    for metric in ("macro_f1", "accuracy"):
        np.testing.assert_allclose(
            metrics.interval(drawn["a"][metric]),
            expected[f"{metric}_a_percentile_95_of_20000"],
            atol=0.004,
        )
        np.testing.assert_allclose(
            metrics.interval(drawn["a"][metric] - drawn["b"][metric]),
            expected[f"paired_bootstrap_{metric}_difference_95_of_20000"],
            atol=0.004,
        )


def test_groups_are_drawn_whole():
    groups = np.repeat(["p", "q", "r"], [2, 3, 1])
    weights = np.concatenate(
        list(metrics.resamples_of(np.zeros(6, int), groups, resamples=200, seed=0))
    )
    assert weights.shape == (200, 6)
    for name, size in zip("pqr", (2, 3, 1), strict=True):
        assert (np.ptp(weights[:, groups == name], axis=1) == 0).all(), size
    np.testing.assert_array_equal(weights[:, [0, 2, 5]].sum(1), 3)


def test_interval_by_groups_is_wider_where_groups_agree_within():
    # Ten groups, each all right or all wrong: ten observations, not two hundred.
    right = np.repeat([True, False] * 5, 20)
    labels = np.tile([0, 1], 100)
    table = {"x": np.eye(2)[np.where(right, labels, 1 - labels)]}
    spans = [
        np.ptp(metrics.interval(drawn["x"]["accuracy"]))
        for groups in (np.repeat(np.arange(10).astype(str), 20), None)
        for drawn in [metrics.bootstrap(labels, table, groups, resamples=2000, seed=1)]
    ]
    # Standard errors 0.5/√10 and 0.5/√200: 4.5 times apart.
    assert 3.5 < spans[0] / spans[1] < 5.5
