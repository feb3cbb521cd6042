"""One optimizer update on the global batch, and how a train step is compiled for a mesh.

What every training shares, pretraining and fine-tuning alike. Knows no data, views or objective.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh

from histo_simclr import mesh as meshes

# Steps that Python may be ahead of the device: enough to hide dispatch, and input wait stays true.
AHEAD = 2

Differentiate = Callable[[nnx.Module, jax.Array], tuple[tuple[jax.Array, Any], nnx.State]]


class Updated(NamedTuple):
    """What one update gives.

    Fields:
      arrays: the new state (`state.Split`).
      step: number of the update, from 0; int32 scalar.
      loss: scalar.
      outputs: what the loss gave beside it.
      gradients: of the model's nnx.Param leaves.
    """

    arrays: nnx.State
    step: jax.Array
    loss: jax.Array
    outputs: Any
    gradients: nnx.State


def update(
    arrays: nnx.State, seed_key: jax.Array, *, graph: nnx.GraphDef, differentiate: Differentiate
) -> Updated:
    """Gradients of one loss, and the optimizer's update by them.

    Args:
      arrays: the state's arrays (`state.Split`).
      seed_key: typed key of the run; the step's own key is folded from it and the step number.
      graph: the state's graph.
      differentiate: (model, key of the step) → (loss, any pytree of outputs), and the gradients of
        the model's nnx.Param leaves; `nnx.value_and_grad(…, has_aux=True)` of a loss, or a program
        that gives as much. What it changes of the model (batch statistics) stays changed.
    """
    model, optimizer = nnx.merge(graph, arrays)
    step = optimizer.step[...]
    key = jax.random.fold_in(seed_key, step)
    (loss, outputs), gradients = differentiate(model, key)
    optimizer.update(model, gradients)
    return Updated(nnx.state((model, optimizer)), step, loss, outputs, gradients)


def compile_step(step: Callable[..., tuple[nnx.State, Any]], mesh: Mesh) -> Callable:
    """(arrays, batch, seed_key) → (arrays, metrics), jitted for a mesh.

    Batch statistics and whatever else the step takes over the batch are over the global batch,
    because the program is written for it: the compiler inserts the collectives.

    Args:
      step: the program of one step; everything but its three arguments is bound.
      mesh: every array of the batch (any pytree) is split over `data`; the state is whole on each
        device, and donated.
    """
    whole, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    return jax.jit(
        step,
        in_shardings=(whole, split, whole),
        out_shardings=(whole, whole),
        donate_argnums=0,
        compiler_options=meshes.compiler_options(mesh),
    )


def seed_key(seed: int, mesh: Mesh) -> jax.Array:
    """The key of a run, whole on each device. Not of the stream that drew the parameters."""
    draw = jax.jit(
        lambda: jax.random.fold_in(jax.random.key(seed), 1), out_shardings=meshes.replicated(mesh)
    )
    return draw()
