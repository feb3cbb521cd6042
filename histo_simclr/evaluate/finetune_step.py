"""The fine-tuning step and the state it starts from: arrays in, arrays out. Knows no data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from histo_simclr import optimizer as rules
from histo_simclr import state, update
from histo_simclr.errors import InputError
from histo_simclr.model.classifier import Classifier, depth_of
from histo_simclr.model.resnet import ResNet
from histo_simclr.views import compose

View = Callable[[jax.Array, jax.Array], tuple[jax.Array]]
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def finetune_step(
    arrays: nnx.State,
    batch: tuple[jax.Array, jax.Array],
    seed_key: jax.Array,
    *,
    graph: nnx.GraphDef,
    view: View,
    loss_of: Loss,
) -> tuple[nnx.State, jax.Array]:
    """One supervised update on the global batch.

    Args:
      arrays: the state's arrays (`state.Split`).
      batch: patches (B, px, px, 3) uint8, labels (B,) as `encode` gives them.
      seed_key: typed key of the run.
      graph: the state's graph.
      view: (chances, patches) → one view (B, px, px, 3), normalized, in a tuple.
      loss_of: (outputs (B, outputs), labels) → scalar.

    Returns:
      The new arrays, and the loss as a float32 scalar.
    """
    patches, labels = batch

    def loss(model: nnx.Module, key: jax.Array) -> tuple[jax.Array, None]:
        (seen,) = view(compose.chances(key, len(patches), count=1), patches)
        return loss_of(model(seen), labels), None

    differentiate = nnx.value_and_grad(loss, has_aux=True)
    done = update.update(arrays, seed_key, graph=graph, differentiate=differentiate)
    return done.arrays, done.loss


def start(
    encoder: ResNet,
    arch: str,
    *,
    outputs: int,
    rule: optax.GradientTransformation,
    freeze_statistics: bool,
    dtype: jnp.dtype,
    sharding: jax.sharding.Sharding,
) -> state.Split:
    """The state before the first update: the encoder's arrays, a linear layer of zeros."""

    def build(rngs: nnx.Rngs) -> Classifier:
        model = Classifier(arch, outputs=outputs, rngs=rngs, dtype=dtype)
        if freeze_statistics:
            model.eval()
        return model

    graph, arrays = state.init(build, rule, seed=0, sharding=sharding)
    stored = state.parts(arrays)
    given = nnx.split_state(nnx.state(encoder), nnx.Param, nnx.BatchStat)
    for name, part in zip(("params", "batch_stats"), given, strict=True):
        # Copies, by way of the host: the step writes into the state it is given.
        whole = jax.device_put(jax.tree.map(np.array, nnx.to_pure_dict(part)), sharding)
        stored[name] = stored[name] | {"encoder": whole}
    return state.Split(graph, state.join(arrays, stored))


def rule(
    *,
    name: str,
    rate: optax.ScalarOrSchedule,
    momentum: float,
    weight_decay: float,
    layer_decay: float,
) -> optax.GradientTransformation:
    """Update rule of a Classifier, its rate decaying from the linear layer to the stem."""
    if not 0 <= layer_decay <= 1:
        raise InputError(
            f"layer decay of {layer_decay}",
            where="optimizer.layer_decay",
            way_out="give 1 (none) or less, at least 0",
        )
    made = rules.make(name, rate=rate, weight_decay=weight_decay, momentum=momentum)
    return rules.layerwise(made, decay=layer_decay, depth_of=depth_of)
