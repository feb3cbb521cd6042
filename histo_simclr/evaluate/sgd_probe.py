"""The linear probe as papers train it: minibatches, a rate, so many epochs. Arrays in, arrays out.

For comparison with published numbers; where the paper's own settings matter they are unknown (its
optimizer, rate, epochs and batch size could not be recovered), and RECIPE is that of Stacke et al.
(arXiv 2112.05760). The convex probe (`probe.py`) is the one whose result depends on no rate.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks

# Stacke et al. (ssl-pathology), linear probe: Adam 1e-3, decay 1e-6, batch 512, 100 epochs.
# standardize False is ours: the paper gives no sign that features were scaled.
RECIPE: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 512,
    "rate": 1e-3,
    "decay": 1e-6,
    "standardize": False,
}


class Trained(NamedTuple):
    """What a trained probe says of the test split.

    Fields:
      probabilities: (m, K).
      losses: (epochs,) mean training cross-entropy of each epoch, each batch before its update.
    """

    probabilities: np.ndarray
    losses: np.ndarray


def train_probe(
    train: np.ndarray,
    test: np.ndarray,
    *,
    labels: np.ndarray,
    num_classes: int,
    epochs: int,
    batch_size: int,
    rate: float,
    decay: float,
    standardize: bool,
    seed: int,
) -> Trained:
    """Trains weight and bias from 0 by Adam on cross-entropy, at a constant rate.

    Args:
      train, test: (n, D), (m, D) features.
      labels: (n,) integers in [0, K).
      num_classes: K.
      epochs: passes over train, each in an order of its own; 1 or more.
      batch_size: examples an update; the last of an epoch is smaller where n is no multiple.
      rate: Adam's learning rate, > 0.
      decay: times weight and bias, added to the gradient (as torch's Adam does); 0 or more.
      standardize: to zero mean and unit variance of train; False takes features as they are.
      seed: of the order of examples.

    Raises:
      InputError: features, labels or settings that cannot be used.
    """
    checks.check_features(train, test)
    checks.check_labels(labels, count=len(train), num_classes=num_classes)
    for name, value, wrong in (
        ("epochs", epochs, epochs < 1),
        ("batch_size", batch_size, batch_size < 1),
        ("rate", rate, not rate > 0),
        ("decay", decay, not decay >= 0),
    ):
        if wrong:
            raise InputError(f"cannot be {value}", where=name, way_out="give a value above 0")
    mean, scale = np.zeros(train.shape[1]), np.ones(train.shape[1])
    if standardize:
        mean, scale = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
        scale[scale <= 1e-6 * np.abs(mean)] = 1
    train, test = (((part - mean) / scale).astype(np.float32) for part in (train, test))
    with jax.default_matmul_precision("highest"):
        (weight, bias), losses = _train(
            jnp.asarray(train),
            jnp.asarray(labels),
            jax.random.key(seed),
            (rate, decay),
            num_classes=num_classes,
            epochs=epochs,
            batch_size=min(batch_size, len(train)),
        )
    logits = test @ np.asarray(weight).T + np.asarray(bias)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return Trained(shares / shares.sum(1, keepdims=True), np.asarray(losses))


@functools.partial(jax.jit, static_argnames=("num_classes", "epochs", "batch_size"))
def _train(features, labels, key, settings, *, num_classes, epochs, batch_size):
    rate, decay = settings
    count = len(features)
    padding = -count % batch_size
    optimizer = optax.chain(
        optax.add_decayed_weights(decay), optax.scale_by_adam(), optax.scale_by_learning_rate(rate)
    )

    def loss_of(params, examples, counted):
        logits = features[examples] @ params[0].T + params[1][None]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[examples])
        return jnp.sum(losses * counted) / counted.sum()

    def update(carry, batch):
        params, state = carry
        loss, gradient = jax.value_and_grad(loss_of)(params, *batch)
        change, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, change), state), loss * batch[1].sum()

    def epoch(carry, number):
        order = jax.random.permutation(jax.random.fold_in(key, number), count)
        examples = jnp.pad(order, (0, padding)).reshape(-1, batch_size)
        counted = (jnp.arange(count + padding) < count).astype(features.dtype)
        carry, losses = jax.lax.scan(update, carry, (examples, counted.reshape(examples.shape)))
        return carry, losses.sum() / count

    params = (jnp.zeros((num_classes, features.shape[1])), jnp.zeros(num_classes))
    (params, _), losses = jax.lax.scan(
        epoch, (params, optimizer.init(params)), jnp.arange(epochs, dtype=jnp.uint32)
    )
    return params, losses
