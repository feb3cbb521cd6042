import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import knn

T = 0.07


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 236)])
    centers = rng.normal(size=(4, 8))
    train = centers[labels] + rng.normal(size=(240, 8))
    test = centers[rng.integers(0, 4, 50)] + rng.normal(size=(50, 8))
    return train.astype(np.float32), labels, test.astype(np.float32)


def _judge(neighbors):
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(
        neighbors, metric="cosine", weights=lambda distance: np.exp((1 - distance) / T)
    )


def _predict(train, labels, test, neighbors):
    settings = {"num_classes": 4, "temperature": T}
    return knn.predict(train, test, labels=labels, neighbors=neighbors, **settings)


@pytest.mark.parametrize("chunk", [2**24, 240 * 7])
def test_votes_are_scikit_learns_for_every_k_and_chunk(data, chunk, monkeypatch):
    train, labels, test = data
    # 7 rows at a time: the last block is smaller.
    monkeypatch.setattr("histo_simclr.evaluate.neighbors._BLOCK", chunk)
    found = _predict(train, labels, test, (1, 10, 200))
    for table, neighbors in zip(found, (1, 10, 200), strict=True):
        expected = _judge(neighbors).fit(train, labels).predict_proba(test)
        # float32 similarities over T: differences of 1e-7 / 0.07.
        np.testing.assert_allclose(table, expected, atol=2e-5)


def test_k_beyond_the_training_split_takes_all_of_it(data):
    train, labels, test = data
    found = _predict(train, labels, test, (10, 1000))
    expected = _judge(240).fit(train, labels).predict_proba(test)
    np.testing.assert_allclose(found[1], expected, atol=2e-5)


def test_k_is_chosen_by_scikit_learns_macro_f1_on_the_same_folds(data):
    from sklearn.metrics import f1_score

    from histo_simclr.evaluate.folds import grouped_folds

    train, labels, test = data
    groups = np.random.default_rng(1).integers(0, 30, 240).astype(str)
    found = knn.cross_validated(
        train, test, labels=labels, groups=groups, num_classes=4, neighbors=(1, 7, 60),
        temperature=T, folds=5, seed=2,
    )  # fmt: skip
    fold = grouped_folds(labels, groups, folds=5, seed=2)
    for score, neighbors in zip(found.validation, (1, 7, 60), strict=True):
        predicted = np.empty(240, int)
        for number in range(5):
            judge = _judge(neighbors).fit(train[fold != number], labels[fold != number])
            predicted[fold == number] = judge.predict(train[fold == number])
        assert score == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-9)
    assert found.neighbors == (1, 7, 60)[int(np.argmax(found.validation))]
    expected = _judge(found.neighbors).fit(train, labels).predict_proba(test)
    np.testing.assert_allclose(found.probabilities, expected, atol=2e-5)
    assert found.folds == 5


@pytest.mark.parametrize(("neighbors", "temperature"), [((), T), ((0, 5), T), ((5,), 0.0)])
def test_settings_that_mean_nothing_are_refused(data, neighbors, temperature):
    train, labels, test = data
    with pytest.raises(InputError, match="cannot be"):
        knn.predict(
            train, test, labels=labels, num_classes=4, neighbors=neighbors, temperature=temperature
        )
