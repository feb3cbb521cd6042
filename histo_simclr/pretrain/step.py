"""The SimCLR train step: arrays in, arrays out. Knows nothing of data, files or flags."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from histo_simclr import update
from histo_simclr.pretrain import gradient_cache, objective
from histo_simclr.views import compose

Views = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
Objective = Callable[[jax.Array], jax.Array]


def pretrain_step(
    arrays: nnx.State,
    patches: jax.Array,
    seed_key: jax.Array,
    *,
    graph: nnx.GraphDef,
    views: Views,
    loss_of: Objective,
    rate: optax.Schedule,
    microbatches: int = 1,
    similarity_rows: int = 0,
) -> tuple[nnx.State, dict[str, jax.Array]]:
    """One SimCLR update on the global batch (arXiv 2002.05709, algorithm 1).

    BatchNorm statistics and negatives are over the global batch because the program is written for
    it: under jit on a mesh the compiler inserts the collectives.

    Args:
      arrays: the state's arrays (`state.Split`); donated when jitted by `update.compile_step`.
      patches: (B, px, px, 3) uint8.
      seed_key: typed key of the run; the step's own key is folded from it and the step number.
      graph: the state's graph.
      views: (chances, patches) → two views (B, px, px, 3), normalised.
      loss_of: projections (B, 2, D) → scalar.
      rate: learning rate of an optimizer step, for the metrics only.
      microbatches: parts that the batch goes through the network in, a divisor of B
        (`gradient_cache`); batch statistics are then those of a part.
      similarity_rows: as in `objective`, for the metrics.

    Returns:
      The new arrays, and metrics of this step as float32 scalars (see `measure`).
    """

    def embed(model: nnx.Module, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        # One forward: both views share statistics. Pair by pair: no view leaves its device.
        pairs = jnp.stack(views(*inputs), axis=1)
        outputs = model(pairs.reshape(-1, *pairs.shape[2:]))
        return tuple(output.reshape(len(pairs), 2, -1) for output in outputs)

    def differentiate(model: nnx.Module, key: jax.Array) -> tuple[tuple, nnx.State]:
        inputs = compose.chances(key, len(patches), count=2), patches
        return gradient_cache.value_and_grad(
            embed, lambda outputs: loss_of(outputs[1]), model, inputs, parts=microbatches
        )

    done = update.update(arrays, seed_key, graph=graph, differentiate=differentiate)
    metrics = measure(done.loss, *done.outputs, done.gradients, similarity_rows=similarity_rows)
    return done.arrays, metrics | {"learning_rate": jnp.float32(rate(done.step))}


def measure(
    loss: jax.Array,
    features: jax.Array,
    projections: jax.Array,
    gradients: nnx.State,
    *,
    similarity_rows: int = 0,
) -> dict[str, jax.Array]:
    """What tells a healthy run from a sick one, as float32 scalars.

    Args:
      loss: scalar.
      features: (B, 2, F).
      projections: (B, 2, D).
      gradients: of the model.
      similarity_rows: as in `objective`.

    Returns:
      loss; contrastive_top1 in [0, 1]; alignment and uniformity (Wang and Isola, arXiv 2005.10242);
      feature_std, the mean over features of their standard deviation in the batch relative to the
      features' root mean square (0: collapse); gradient_norm.
    """
    spread = jnp.std(features, axis=(0, 1)).mean() / (jnp.sqrt(jnp.mean(features**2)) + 1e-12)
    metrics = {
        "loss": loss,
        "contrastive_top1": objective.contrastive_top1(
            projections, similarity_rows=similarity_rows
        ),
        "alignment": objective.alignment(projections),
        "uniformity": objective.uniformity(projections, similarity_rows=similarity_rows),
        "feature_std": spread,
        "gradient_norm": optax.tree.norm(gradients),
    }
    return {name: value.astype(jnp.float32) for name, value in metrics.items()}
