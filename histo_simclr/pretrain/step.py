"""The SimCLR train step: arrays in, arrays out. Knows nothing of data, files or flags."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from histo_simclr import update
from histo_simclr.pretrain import objective

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
) -> tuple[nnx.State, dict[str, jax.Array]]:
    """One SimCLR update on the global batch (arXiv 2002.05709, algorithm 1).

    BatchNorm statistics and negatives are over the global batch because the program is written for
    it: under jit on a mesh the compiler inserts the collectives.

    Args:
      arrays: the state's arrays (`state.Split`); donated when jitted by `compile_step`.
      patches: (B, px, px, 3) uint8.
      seed_key: typed key of the run; the step's own key is folded from it and the step number.
      graph: the state's graph.
      views: (key, patches) → two views (B, px, px, 3), normalised.
      loss_of: projections (2B, D) → scalar.
      rate: learning rate of an optimizer step, for the metrics only.

    Returns:
      The new arrays, and metrics of this step as float32 scalars (see `measure`).
    """

    def simclr_loss(model: nnx.Module, key: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        # One forward: both views share statistics. Pair by pair: no view leaves its device.
        pairs = jnp.stack(views(key, patches), axis=1)
        features, projections = model(pairs.reshape(-1, *pairs.shape[2:]))
        projections = jnp.concatenate((projections[0::2], projections[1::2]))
        return loss_of(projections), (features, projections)

    done = update.update(arrays, seed_key, graph=graph, loss_of=simclr_loss)
    metrics = measure(done.loss, *done.outputs, done.gradients)
    return done.arrays, metrics | {"learning_rate": jnp.float32(rate(done.step))}


def measure(
    loss: jax.Array, features: jax.Array, projections: jax.Array, gradients: nnx.State
) -> dict[str, jax.Array]:
    """What tells a healthy run from a sick one, as float32 scalars.

    Returns:
      loss; contrastive_top1 in [0, 1]; alignment and uniformity (Wang and Isola, arXiv 2005.10242);
      feature_std, the mean over features of their standard deviation in the batch relative to the
      features' root mean square (0: collapse); gradient_norm.
    """
    spread = jnp.std(features, axis=0).mean() / (jnp.sqrt(jnp.mean(features**2)) + 1e-12)
    metrics = {
        "loss": loss,
        "contrastive_top1": objective.contrastive_top1(projections),
        "alignment": objective.alignment(projections),
        "uniformity": objective.uniformity(projections),
        "feature_std": spread,
        "gradient_norm": optax.tree.norm(gradients),
    }
    return {name: value.astype(jnp.float32) for name, value in metrics.items()}


def compile_step(
    mesh: Mesh, *, graph: nnx.GraphDef, views: Views, loss_of: Objective, rate: optax.Schedule
) -> Callable:
    """`pretrain_step` jitted for a mesh: batch sharded over `data`, state whole and donated."""
    bound = partial(pretrain_step, graph=graph, views=views, loss_of=loss_of, rate=rate)
    return update.compile_step(bound, mesh)
