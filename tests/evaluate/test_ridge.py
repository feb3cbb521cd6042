import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import ridge
from histo_simclr.evaluate.folds import target_folds

STRENGTHS = (0.1, 10.0, 1000.0)


@pytest.fixture(scope="module", params=[8, 150], ids=["more examples", "more dimensions"])
def data(request):
    rng = np.random.default_rng(0)
    train, test = (rng.normal(size=(count, request.param)) * 3 + 50 for count in (90, 30))
    train[:, 1] = test[:, 1] = 0.1  # a constant feature
    targets = (train - 50) @ rng.normal(size=request.param) / 30 + rng.normal(size=90) / 10 + 4
    groups = np.random.default_rng(1).integers(0, 18, 90).astype(str)
    return train, test, targets, groups


def _judge(strength):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge(strength))


def test_all_strengths_at_once_are_scikit_learns_ridge(data):
    train, test, targets, _ = data
    found = ridge.predict(train, test, targets=targets, strengths=STRENGTHS)
    for values, strength in zip(found, STRENGTHS, strict=True):
        expected = _judge(strength).fit(train, targets).predict(test)
        np.testing.assert_allclose(values, expected, rtol=1e-8)


def test_several_targets_at_once_are_scikit_learns_ridge_classifier(data):
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test, targets, _ = data
    labels = np.digitize(targets, np.quantile(targets, [0.3, 0.6]))
    found = ridge.predict(train, test, targets=np.eye(3)[labels], strengths=STRENGTHS)
    assert found.shape == (3, 30, 3)
    for table, strength in zip(found, STRENGTHS, strict=True):
        judge = make_pipeline(StandardScaler(), RidgeClassifier(strength)).fit(train, labels)
        # Its targets are -1 and 1.
        np.testing.assert_allclose(2 * table - 1, judge.decision_function(test), rtol=1e-8)


def test_the_strength_is_that_of_scikit_learns_grid_search_on_the_same_folds(data):
    from sklearn.model_selection import GridSearchCV, PredefinedSplit

    train, test, targets, groups = data
    found = ridge.cross_validated(
        train, test, targets=targets, groups=groups, strengths=STRENGTHS,
        bounds=(-np.inf, np.inf), folds=3, seed=2,
    )  # fmt: skip
    fold = target_folds(targets, groups, folds=3, seed=2)
    search = GridSearchCV(
        _judge(1.0),
        {"ridge__alpha": STRENGTHS},
        cv=PredefinedSplit(fold),
        scoring="neg_mean_squared_error",
    ).fit(train, targets)
    # scikit-learn's mean is over folds, ours over examples.
    shares = np.bincount(fold) / len(fold)
    losses = sum(
        -share * search.cv_results_[f"split{number}_test_score"]
        for number, share in enumerate(shares)
    )
    np.testing.assert_allclose(found.validation, losses, rtol=1e-8)
    assert found.strength == STRENGTHS[int(np.argmin(losses))]
    expected = _judge(found.strength).fit(train, targets).predict(test)
    np.testing.assert_allclose(found.values, expected, rtol=1e-8)


def test_no_prediction_leaves_the_bounds_of_the_targets(data):
    train, test, targets, groups = data
    targets = (targets > np.median(targets)).astype(float)
    found = ridge.cross_validated(
        train, 50 + 10 * (test - 50), targets=targets, groups=groups, strengths=(0.1,),
        bounds=(0.0, 1.0), folds=3, seed=0,
    )  # fmt: skip
    assert found.values.min() == 0
    assert found.values.max() == 1


def test_a_strength_of_zero_and_a_single_group_are_refused(data):
    train, test, targets, groups = data
    settings = {"targets": targets, "bounds": (-np.inf, np.inf), "folds": 3, "seed": 0}
    with pytest.raises(InputError, match="strengths: cannot be"):
        ridge.cross_validated(train, test, groups=groups, strengths=(0.0,), **settings)
    with pytest.raises(InputError, match="only one group"):
        ridge.cross_validated(train, test, groups=np.full(90, "a"), strengths=STRENGTHS, **settings)
