import jax
import numpy as np
import pytest

from histo_simclr.evaluate import probe
from histo_simclr.evaluate.folds import grouped_folds

STRENGTHS = (0.001, 0.03, 1.0)


def _judge(strength):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, tol=1e-9, max_iter=10_000)
    )


def test_cross_validation_and_the_final_probe_are_scikit_learns(reference, monkeypatch):
    from sklearn.metrics import log_loss

    # The weak end has flat directions, along which both must go on to meet.
    monkeypatch.setattr(probe, "TOLERANCE", 1e-9)
    train, test = (
        reference.arrays[f"histogram/{part}_x"].astype(np.float64) for part in ("train", "test")
    )
    labels = reference.arrays["histogram/train_y"].astype(np.int64)
    groups = np.random.default_rng(0).integers(0, 25, len(labels)).astype(str)
    settings = {"labels": labels, "groups": groups, "num_classes": labels.max() + 1}
    settings |= {"strengths": STRENGTHS, "folds": 4, "seed": 1}
    with jax.enable_x64(True):
        found = probe.cross_validated(train, test, **settings)
        kept = probe.fit(train, **settings)
    fold = grouped_folds(labels, groups, folds=4, seed=1)
    for loss, strength in zip(found.validation, STRENGTHS, strict=True):
        out_of_fold = np.empty((len(labels), labels.max() + 1))
        for number in range(4):
            fitted = _judge(strength).fit(train[fold != number], labels[fold != number])
            out_of_fold[fold == number] = fitted.predict_proba(train[fold == number])
        assert loss == pytest.approx(log_loss(labels, out_of_fold), rel=1e-6)
    assert found.strength == STRENGTHS[int(np.argmin(found.validation))]
    expected = _judge(found.strength).fit(train, labels).predict_proba(test)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    # The probe to keep takes features as they come.
    assert (kept.strength, kept.validation) == (found.strength, found.validation)
    shares = np.exp(test @ kept.weights + kept.bias)
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, expected, atol=1e-4)
