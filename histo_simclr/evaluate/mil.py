"""Slide level: all patches of a slide are one bag with one label. Arrays in, arrays out.

Two baselines: the mean of a bag's features (then any head of patches does), and gated attention
(Ilse et al., arXiv 1802.04712, eq. 9), which learns which patches count.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from histo_simclr.errors import InputError
from histo_simclr.evaluate import checks
from histo_simclr.evaluate.bags import Bags


class GatedAttention(nnx.Module):
    """Bag → weights of its patches → weighted mean → class logits.

    Args:
      dimensions: D of the features.
      hidden: width of the attention's two branches; 128 in Ilse et al.
      num_classes: K.
      rngs: `params` stream.
    """

    def __init__(self, dimensions: int, *, hidden: int, num_classes: int, rngs: nnx.Rngs):
        self.content = nnx.Linear(dimensions, hidden, use_bias=False, rngs=rngs)
        self.gate = nnx.Linear(dimensions, hidden, use_bias=False, rngs=rngs)
        self.score = nnx.Linear(hidden, 1, use_bias=False, rngs=rngs)
        self.classify = nnx.Linear(dimensions, num_classes, rngs=rngs)

    def __call__(self, features: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits and attention.

        Args:
          features: (B, P, D); what stands where the mask is False does not matter.
          mask: (B, P) booleans, True for patches; one or more a bag.

        Returns:
          logits (B, K) and attention (B, P); attention sums to 1 in each bag, 0 outside the mask.
        """
        gated = jnp.tanh(self.content(features)) * jax.nn.sigmoid(self.gate(features))
        scores = jnp.where(mask, self.score(gated)[..., 0], -jnp.inf)
        attention = jax.nn.softmax(scores, axis=1)
        return self.classify(jnp.einsum("bp,bpd->bd", attention, features)), attention


class Attended(NamedTuple):
    """What the attention says of the test slides.

    Fields:
      probabilities: (m, K).
      attention: (m, P), 0 where a bag has no patch; rows sum to 1.
      epochs: passes after which the validation loss was least; those weights are used.
      validation: (passes made,) cross-entropy of the held-out slides after each pass.
    """

    probabilities: np.ndarray
    attention: np.ndarray
    epochs: int
    validation: np.ndarray


def attend(
    train: Bags,
    test: Bags,
    *,
    labels: np.ndarray,
    held: np.ndarray,
    num_classes: int,
    hidden: int,
    epochs: int,
    patience: int,
    batch_size: int,
    rate: float,
    decay: float,
    seed: int,
) -> Attended:
    """Trains gated attention with AdamW, stops early on the held-out slides, predicts test.

    Args:
      train, test: bags of n and m slides, features of one encoder; standardized here with the
        statistics of the patches of the fitted slides.
      labels: (n,) of the training slides, integers in [0, K).
      held: (n,) booleans, the validation part, in whole patients (`splits.grouped_holdout`);
        every class also occurs outside.
      num_classes: K.
      hidden: width of the attention.
      epochs: most passes over the fitted slides.
      patience: passes without a lower validation loss before it stops.
      batch_size: slides an update.
      rate, decay: AdamW's learning rate and weight decay.
      seed: of initial weights and the order of slides.

    Raises:
      InputError: features, labels, validation part or settings that cannot be used.
    """
    _check(train, test, labels, held, num_classes)
    for name, value in (
        ("hidden", hidden),
        ("epochs", epochs),
        ("patience", patience),
        ("batch_size", batch_size),
        ("rate", rate),
    ):
        if not value > 0:
            raise InputError(f"cannot be {value}", where=name, way_out="give a value above 0")
    fitted = train.features[~held][train.mask[~held]]
    mean, scale = fitted.mean(0, dtype=np.float64), fitted.std(0, dtype=np.float64)
    scale[scale <= 1e-6 * np.abs(mean)] = 1
    parts = [
        (jnp.asarray((part.features - mean) / scale, jnp.float32), jnp.asarray(part.mask))
        for part in (train.take(~held), train.take(held), test)
    ]
    model = GatedAttention(
        len(mean), hidden=hidden, num_classes=num_classes, rngs=nnx.Rngs(params=seed)
    )
    graph, params = nnx.split(model)
    with jax.default_matmul_precision("highest"):
        best, passes, validation = _fit(
            params,
            (*parts[0], jnp.asarray(labels[~held])),
            (*parts[1], jnp.asarray(labels[held])),
            jax.random.key(seed),
            (rate, decay, patience),
            graph=graph,
            epochs=epochs,
            batch_size=min(batch_size, int((~held).sum())),
        )
        logits, attention = nnx.merge(graph, best)(*parts[2])
    made = np.asarray(validation)
    made = made[~np.isnan(made)]
    probabilities = np.asarray(jax.nn.softmax(logits))
    return Attended(probabilities, np.asarray(attention), int(passes), made)


class _Progress(NamedTuple):
    """Of training: weights, optimizer, best weights, their loss and pass, losses, passes made."""

    params: nnx.State
    state: optax.OptState
    best: nnx.State
    lowest: jax.Array
    passes: jax.Array
    losses: jax.Array
    made: jax.Array


@functools.partial(jax.jit, static_argnames=("graph", "epochs", "batch_size"))
def _fit(params, train, held, key, settings, *, graph, epochs, batch_size):
    """Weights with the least validation loss, after how many passes, and all validation losses."""
    rate, decay, patience = settings
    features, mask, labels = train
    padding = -len(labels) % batch_size
    optimizer = optax.adamw(rate, weight_decay=decay)

    def loss_of(params, features, mask, labels, counted):
        logits, _ = nnx.merge(graph, params)(features, mask)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(losses * counted) / counted.sum()

    def update(carry, batch):
        params, state = carry
        chosen, counted = batch
        gradient = jax.grad(loss_of)(
            params, features[chosen], mask[chosen], labels[chosen], counted
        )
        change, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, change), state), None

    def epoch(at):
        order = jax.random.permutation(jax.random.fold_in(key, at.made), len(labels))
        chosen = jnp.pad(order, (0, padding)).reshape(-1, batch_size)
        counted = (jnp.arange(len(labels) + padding) < len(labels)).astype(features.dtype)
        (params, state), _ = jax.lax.scan(
            update, (at.params, at.state), (chosen, counted.reshape(chosen.shape))
        )
        loss = loss_of(params, *held, jnp.ones(len(held[2])))
        better = loss < at.lowest
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, at.best)
        return _Progress(
            params,
            state,
            best,
            jnp.where(better, loss, at.lowest),
            jnp.where(better, at.made + 1, at.passes),
            at.losses.at[at.made].set(loss),
            at.made + 1,
        )

    def unfinished(at):
        return (at.made < epochs) & (at.made - at.passes < patience)

    start = _Progress(
        params,
        optimizer.init(params),
        params,
        jnp.float32(jnp.inf),
        jnp.int32(0),
        jnp.full(epochs, jnp.nan),
        jnp.int32(0),
    )
    end = jax.lax.while_loop(unfinished, epoch, start)
    return end.best, end.passes, end.losses


def _check(train, test, labels, held, num_classes):
    checks.check_features(train.features[train.mask], test.features[test.mask])
    checks.check_labels(labels, count=len(train.names), num_classes=num_classes)
    if not held.any():
        raise InputError(
            "no slide is held out", where="held", way_out="hold out slides to stop early on"
        )
    missing = np.setdiff1d(labels, labels[~held])
    if len(missing):
        raise InputError(
            f"all slides of class {missing[0]} are held out",
            where="held",
            way_out="hold out fewer, or add slides of this class",
        )
