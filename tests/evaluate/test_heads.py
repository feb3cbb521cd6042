import warnings

import jax
import numpy as np
import pytest

from histo_simclr.evaluate import heads

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


def _data(arrays, name, dtype):
    stored = "synthetic" if name == "binary" else name
    train, test = (arrays[f"{stored}/{part}_x"].astype(dtype) for part in ("train", "test"))
    labels = arrays[f"{stored}/train_y"]
    return train, (labels == 0).astype(np.int64) if name == "binary" else labels, test


def _fit(
    train, labels, *, tolerance, strengths=STRENGTHS, folds=None, standardize=False, most=5000
):
    folds = np.ones((1, len(labels)), bool) if folds is None else folds
    return heads.fit_linear(
        train,
        labels,
        folds,
        num_classes=int(labels.max()) + 1,
        strengths=strengths,
        standardize=standardize,
        tolerance=tolerance,
        max_iterations=most,
    )


def _objective(weight, bias, train, labels, strength):
    """scikit-learn's objective over C n, written out in float64; two classes: its single logit."""
    logits = train @ weight.T + bias
    shifted = logits - logits.max(1, keepdims=True)
    entropy = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    if len(bias) == 2:
        weight = weight[1:] - weight[:1]
    return entropy.mean() + (weight**2).sum() / (2 * strength * len(labels))


@pytest.mark.parametrize("name", ["synthetic", "histogram", "binary"])
def test_float64_probe_is_scikit_learns(name, reference):
    train, labels, test = _data(reference.arrays, name, np.float64)
    with jax.enable_x64(True):
        solved = _fit(train, labels, tolerance=1e-9)
    for index, strength in enumerate(STRENGTHS):
        key = f"{name}/C{strength:g}"
        weight, bias = (np.asarray(leaf[0, index]) for leaf in solved[:2])
        optimum = reference.numbers[key]["optimum"]
        assert _objective(weight, bias, train, labels, strength) == pytest.approx(optimum, rel=1e-9)
        found = heads.probabilities(solved, test, fold=0, strength=index)
        expected = reference.arrays[f"{key}/test_probabilities"]
        tolerance = 1e-5 if name == "binary" else 1e-4
        np.testing.assert_allclose(found, expected, atol=tolerance)
        np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("name", ["synthetic", "histogram", "binary"])
def test_float32_probe_is_near_scikit_learns(name, reference):
    # Strong to moderate penalties, those that a validation split chooses. The weak end has flat
    # directions along which a gradient of 1e-5 still leaves probabilities 5e-3 apart.
    train, labels, test = _data(reference.arrays, name, np.float32)
    solved = _fit(train, labels, tolerance=1e-5, strengths=STRENGTHS[:4])
    for index, strength in enumerate(STRENGTHS[:4]):
        expected = reference.arrays[f"{name}/C{strength:g}/test_probabilities"]
        found = heads.probabilities(solved, test, fold=0, strength=index)
        np.testing.assert_allclose(found, expected, atol=5e-4)
        assert (found.argmax(1) != expected.argmax(1)).sum() <= 1


def test_each_fold_is_standardized_and_fitted_on_its_own_examples(reference):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, labels, test = _data(reference.arrays, "histogram", np.float64)
    train = np.concatenate([train, np.full((len(train), 1), 0.1)], axis=1)  # a constant feature
    test = np.concatenate([test, np.full((len(test), 1), 0.1)], axis=1)
    folds = np.random.default_rng(0).random((2, len(labels))) < [[0.5], [0.8]]
    strengths = (0.01, 1.0)
    with jax.enable_x64(True):
        solved = _fit(
            train, labels, tolerance=1e-8, strengths=strengths, folds=folds, standardize=True
        )
    for fold, members in enumerate(folds):
        for index, strength in enumerate(strengths):
            judge = make_pipeline(
                StandardScaler(), LogisticRegression(C=strength, tol=1e-10, max_iter=10_000)
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its line search gives up below 1e-8
                expected = judge.fit(train[members], labels[members]).predict_proba(test)
            found = heads.probabilities(solved, test, fold=fold, strength=index)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_cross_entropy_is_the_mean_over_examples(reference):
    from sklearn.metrics import log_loss

    train, labels, _ = _data(reference.arrays, "histogram", np.float32)
    solved = _fit(train, labels, tolerance=1e-5, strengths=(1.0,))
    found = heads.cross_entropy(solved, train, labels, fold=0, strength=0)
    table = heads.probabilities(solved, train, fold=0, strength=0).astype(np.float64)
    assert found == pytest.approx(log_loss(labels, table / table.sum(1, keepdims=True)), rel=1e-5)


def test_unconverged_probe_is_an_error(reference):
    train, labels, _ = _data(reference.arrays, "synthetic", np.float32)
    with pytest.raises(heads.NotConverged, match=r"strength 100: gradient norm .* after 3 iter"):
        _fit(train, labels, tolerance=1e-5, strengths=(100.0,), most=3)


def test_features_that_are_not_numbers_do_not_pass_as_converged(reference):
    train, labels, _ = _data(reference.arrays, "synthetic", np.float32)
    train = train.copy()
    train[3, 4] = np.nan
    with pytest.raises(heads.NotConverged):
        _fit(train, labels, tolerance=1e-5, strengths=(100.0,), most=3)
