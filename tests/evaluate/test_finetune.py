"""Fine-tuning of a small ResNet on 32 px patches whose class is their color, and early stopping."""

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr import records, state, update
from histo_simclr.errors import InputError
from histo_simclr.evaluate import finetune, metrics, splits
from histo_simclr.evaluate.finetune import Examples
from histo_simclr.input import device
from histo_simclr.model import resnet

ROOT = Path(__file__).parents[2]
LOOKS = SimpleNamespace(arch="small", px=32, mean=(0.6, 0.4, 0.65), std=(0.2, 0.2, 0.2))
ADAM = {"name": "adamw", "rate": 3e-3, "momentum": 0.9, "weight_decay": 0.01, "layer_decay": 1.0}
SGD = ADAM | {"name": "sgd", "rate": 0.05}


@pytest.fixture(scope="module", autouse=True)
def small():
    """An architecture of two blocks: seconds to compile where ResNet-18 takes a minute."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 0, 0))
        yield


@pytest.fixture(scope="module")
def defaults():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT)
        from configs.finetune import finetune_defaults

        return finetune_defaults().to_dict()


@pytest.fixture(scope="module")
def encoder():
    encoder = resnet.ResNet("small", rngs=nnx.Rngs(3))
    encoder.eval()
    return encoder


@pytest.fixture(scope="module")
def parts(toy):
    """Train, validation and test: 30, 6 and 36 patches of slides apart, half of each class."""
    train, test = (records.load_record_set(toy, split) for split in ("train", "test"))
    labels, test_labels, _ = splits.encode_labels(
        train.columns["label"], test.columns["label"], ["a", "b"], where=toy
    )
    held = train.columns["slide"] == train.columns["slide"][0]
    return SimpleNamespace(
        train=Examples(train.rows.take(~held), labels[~held]),
        validation=Examples(train.rows.take(held), labels[held]),
        test=Examples(test.rows, test_labels),
    )


@pytest.fixture(scope="module")
def tuned(defaults, encoder, parts):
    """(devices, **changes) → Finetuned."""

    def run(devices=1, *, train=parts.train, validation=parts.validation, **changes):
        settings = {"num_classes": 2, "seed": 0, "dtype": jnp.float32, **defaults}
        # The planted class is a color: it must survive the views.
        views = defaults["views"] | {"jitter_probability": 0.0}
        settings |= {"batch_size": 8, "optimizer": ADAM, "views": views} | changes
        mesh = meshes.make(devices)
        test = parts.test.rows
        return finetune.finetune(encoder, LOOKS, train, validation, test, mesh=mesh, **settings)

    return run


@pytest.fixture(scope="module")
def overfitted(tuned):
    return tuned(epochs=10, patience=10)


def test_a_random_encoder_learns_planted_classes(overfitted, parts):
    # The linear layer starts at 0: both classes equally likely.
    assert overfitted.training[0] == pytest.approx(np.log(2), abs=0.1)
    assert overfitted.training[-1] < 0.1
    assert np.mean(overfitted.probabilities.argmax(1) == parts.test.labels) > 0.9
    np.testing.assert_allclose(overfitted.probabilities.sum(1), 1, rtol=1e-6)


def test_the_tested_network_is_the_best_epochs(tuned, parts):
    found = tuned(epochs=6, patience=6, stop_on="macro_f1", validation=parts.test)
    chosen = metrics.values(parts.test.labels, found.probabilities)["macro_f1"]
    assert found.validation[found.best_epoch - 1] == max(found.validation) == chosen
    assert found.best_epoch < found.epochs == 6


def test_eight_devices_and_a_second_run_give_the_same(tuned):
    settings = {"epochs": 1, "warmup_epochs": 0, "optimizer": SGD}
    one, again, eight = (tuned(devices, **settings) for devices in (1, 1, 8))
    np.testing.assert_array_equal(one.probabilities, again.probabilities)
    # Sums over the batch in another order: float32 rounding, amplified by three updates.
    np.testing.assert_allclose(eight.probabilities, one.probabilities, atol=1e-4)
    assert np.ptp(one.probabilities[:, 0]) > 0.05


def test_a_regression_finds_planted_targets_in_their_units(tuned, parts):
    train, validation = (
        Examples(part.rows, 40 + 10.0 * part.labels) for part in (parts.train, parts.validation)
    )
    settings = {"num_classes": None, "optimizer": ADAM | {"rate": 1e-2}}
    found = tuned(epochs=10, patience=10, train=train, validation=validation, **settings)
    assert found.probabilities is None
    error = np.abs(found.values - (40 + 10 * parts.test.labels)).mean()
    assert error < 2.5  # 5 for whoever says 45 to all
    # Before anything is learned, the variance of standardized targets.
    assert found.training[0] == pytest.approx(1, abs=0.4)


class Small(nnx.Module):
    """One kernel, in place of a network."""

    def __init__(self, rngs: nnx.Rngs):
        self.kernel = nnx.Param(jnp.zeros(()))


def fitted(scores, *, epochs=9, patience=2, more_is_better=False):
    """`fit` of a network that counts its updates; validation says `scores`, one an epoch."""
    mesh = meshes.make(1)
    split = state.init(Small, optax.sgd(1.0), seed=0, sharding=meshes.replicated(mesh))

    def count(arrays, batch, key):
        del batch
        done = update.update(
            arrays,
            key,
            graph=split.graph,
            differentiate=nnx.value_and_grad(
                lambda model, _: (-model.kernel[...], None), has_aux=True
            ),
        )
        return done.arrays, done.loss

    left = iter(scores)
    batches = (np.zeros((1,), np.float32) for _ in range(2 * epochs))
    with device.Feed(batches, meshes.batch_sharding(mesh)) as ready:
        return finetune.fit(
            update.compile_step(count, mesh),
            split,
            ready,
            update.seed_key(0, mesh),
            judge=lambda model: next(left),
            more_is_better=more_is_better,
            epochs=epochs,
            steps=2,
            patience=patience,
            tell=lambda line: None,
        )


@pytest.mark.parametrize(
    ("scores", "more_is_better", "best", "trained"),
    [
        ([3, 2, 1, 1, 2], False, 3, 5),  # of equal scores the first; two epochs later it ends
        ([3, 2, 3, 1, 2, 2], False, 4, 6),  # one worse epoch is no end
        ([0.5, 0.4, 0.3], True, 1, 3),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], False, 9, 9),
    ],
)
def test_training_stops_after_its_best_and_keeps_it(scores, more_is_better, best, trained):
    found = fitted(scores, more_is_better=more_is_better)
    assert (found.best_epoch, len(found.validation)) == (best, trained)
    assert float(found.model.kernel[...]) == 2 * best  # two updates of 1 an epoch


def test_a_loss_that_is_not_finite_is_no_result():
    with pytest.raises(InputError, match=r"nan in epoch 2.*smaller optimizer\.rate"):
        fitted([1.0, float("nan")])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 12}, r"finetune\.batch_size: cannot be 12 .*set it to 8"),
        ({"epochs": 0}, r"finetune\.epochs"),
        ({"patience": 0}, r"finetune\.patience"),
        ({"stop_on": "auroc"}, "choose loss or macro_f1"),
        ({"stop_on": "macro_f1", "num_classes": None}, "choose loss"),
        ({"label_smoothing": 1.0}, r"finetune\.label_smoothing"),
        ({"num_classes": 1}, "training part: labels are 0 to 1, not integers from 0 to 0"),
        ({"optimizer": ADAM | {"layer_decay": 2.0}}, r"optimizer\.layer_decay"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message, tuned):
    with pytest.raises(InputError, match=message):
        tuned(8, **changes)


def test_parts_without_patches_or_labels_are_refused(tuned, parts):
    rows, labels = parts.validation
    with pytest.raises(InputError, match="validation part: 0 patches"):
        tuned(validation=Examples(rows.take(np.arange(0)), labels[:0]))
    with pytest.raises(InputError, match="validation part: 6 patches with 5 labels"):
        tuned(validation=Examples(rows, labels[:5]))
    targets = np.where(np.arange(len(rows)) == 2, np.nan, 1.0)
    with pytest.raises(InputError, match="validation part: 1 target"):
        tuned(validation=Examples(rows, targets), num_classes=None)
