import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr.errors import InputError
from histo_simclr.evaluate import bags, metrics, mil, splits

SETTINGS = {
    "num_classes": 2,
    "hidden": 16,
    "epochs": 150,
    "patience": 30,
    "batch_size": 16,
    "rate": 3e-3,
    "decay": 1e-4,
    "seed": 0,
}


def _planted(seed, slides):
    """Slides of 20 to 40 patches of noise; half of them hold one witness of the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(slides) % 2
    features, names, witness = [], [], []
    for slide, label in enumerate(labels):
        patches = rng.normal(size=(rng.integers(20, 40), 8))
        patches[0, :2] += 6 * label
        features.append(patches)
        names += [f"slide:{slide:03}"] * len(patches)
        witness += [label == 1] + [False] * (len(patches) - 1)
    return np.concatenate(features).astype(np.float32), np.array(names), labels, np.array(witness)


@pytest.fixture(scope="module")
def planted():
    """Bags, labels and witnesses of train and test, and what attention makes of them."""
    train, names, labels, _ = _planted(0, 80)
    patients = np.array([f"patient:{slide // 2}" for slide in range(80)])
    held, _ = splits.grouped_holdout(labels, patients, fraction=0.25, seed=0)
    test, test_names, test_labels, witness = _planted(1, 40)
    pair = bags.bags_of(train, names), bags.bags_of(test, test_names)
    found = mil.attend(*pair, labels=labels, held=held, **SETTINGS)
    return pair, (labels, held), (test_labels, witness), found


def test_attention_is_the_papers_equation_written_as_a_loop():
    """Ilse et al., eq. 8 and 9: a_k = softmax(w (tanh(V h_k) * sigm(U h_k))), z = sum a_k h_k."""
    model = mil.GatedAttention(5, hidden=4, num_classes=3, rngs=nnx.Rngs(params=1))
    rng = np.random.default_rng(0)
    features, sizes = rng.normal(size=(3, 7, 5)).astype(np.float32), (7, 1, 4)
    mask = np.arange(7) < np.array(sizes)[:, None]
    logits, attention = model(jnp.asarray(features), jnp.asarray(mask))
    v, u, w, c = (
        np.asarray(layer.kernel[...], np.float64)
        for layer in (model.content, model.gate, model.score, model.classify)
    )
    for bag, size in enumerate(sizes):
        score = np.array(
            [w[:, 0] @ (np.tanh(h @ v) / (1 + np.exp(-(h @ u)))) for h in features[bag, :size]]
        )
        share = np.exp(score) / np.exp(score).sum()
        pooled = sum(a * h for a, h in zip(share, features[bag, :size], strict=True))
        np.testing.assert_allclose(attention[bag, :size], share, rtol=1e-5)
        assert not np.asarray(attention[bag, size:]).any()
        np.testing.assert_allclose(logits[bag], pooled @ c, rtol=1e-4, atol=1e-5)


def test_attention_finds_the_planted_witness(planted):
    (_, test), _, (labels, witness), found = planted
    positive = labels == 1
    most = test.rows[np.arange(40), found.attention.argmax(1)]
    assert witness[most[positive]].mean() > 0.9
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(labels, found.probabilities[:, 1]) > 0.95
    np.testing.assert_allclose(found.attention.sum(1), 1, rtol=1e-5)
    assert not found.attention[~test.mask].any()


def test_it_stops_when_the_validation_loss_no_longer_falls(planted):
    found = planted[3]
    losses = found.validation
    assert found.epochs == int(np.argmin(losses)) + 1
    assert len(losses) == min(150, found.epochs + SETTINGS["patience"])


def test_the_weights_used_are_those_of_the_best_pass(planted):
    """Run again for just so many passes, nothing else changes."""
    pair, (labels, held), _, found = planted
    again = mil.attend(*pair, labels=labels, held=held, **(SETTINGS | {"epochs": found.epochs}))
    np.testing.assert_allclose(again.probabilities, found.probabilities, atol=1e-5)


def test_padding_changes_nothing(planted):
    (train, test), (labels, held), _, expected = planted
    wider = train._replace(
        features=np.pad(train.features, ((0, 0), (0, 9), (0, 0)), constant_values=1e6),
        mask=np.pad(train.mask, ((0, 0), (0, 9))),
    )
    found = mil.attend(wider, test, labels=labels, held=held, **SETTINGS)
    # Sums over a longer axis round otherwise, at every one of the steps.
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def test_patients_are_judged_by_the_mean_of_their_slides(planted):
    from sklearn.metrics import roc_auc_score

    _, _, (labels, _), found = planted
    patients = np.array([f"patient:{slide % 20}" for slide in range(40)])
    tables, names = bags.mean_of_group(found.probabilities, patients)
    truth, same = bags.one_label(labels, patients)
    np.testing.assert_array_equal(names, same)
    expected = [found.probabilities[patients == name, 1].mean() for name in names]
    np.testing.assert_allclose(tables[:, 1], expected, rtol=1e-6)
    assert metrics.auroc(truth, tables) == pytest.approx(roc_auc_score(truth, expected))


@pytest.mark.parametrize(
    ("held", "said"),
    [(np.zeros(80, bool), "no slide is held out"), (np.arange(80) % 2 == 1, "all slides of cl")],
)
def test_a_validation_part_that_cannot_stop_it_is_refused(planted, held, said):
    pair, (labels, _), _, _ = planted
    with pytest.raises(InputError, match=said):
        mil.attend(*pair, labels=labels, held=held, **SETTINGS)


@pytest.mark.parametrize("name", ["hidden", "epochs", "patience", "batch_size", "rate"])
def test_settings_that_mean_nothing_are_refused_by_name(planted, name):
    pair, (labels, held), _, _ = planted
    with pytest.raises(InputError, match=f"{name}: cannot be 0"):
        mil.attend(*pair, labels=labels, held=held, **(SETTINGS | {name: 0}))
