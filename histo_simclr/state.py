"""The training state: model and optimizer, split into a graph (static) and plain arrays.

The jitted step takes and returns the arrays; `nnx.merge(graph, arrays)` inside it makes objects.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from flax import nnx


class Split(NamedTuple):
    """A (model, optimizer) pair as nnx sees it: graph is static and hashable, arrays a pytree."""

    graph: nnx.GraphDef
    arrays: nnx.State


def init(
    build_model: Callable[[nnx.Rngs], nnx.Module],
    transformation: optax.GradientTransformation,
    *,
    seed: int,
    sharding: jax.sharding.Sharding,
) -> Split:
    """Initialises model and optimizer in one jitted program, straight into `sharding`.

    Args:
      build_model: makes the module from its random streams.
      transformation: optax transformation over the model's nnx.Param leaves.
      seed: of the `params` stream; same seed, same parameters on any number of devices.
      sharding: of every array of the state.
    """

    def build() -> tuple[nnx.GraphDef, nnx.State]:
        model = build_model(nnx.Rngs(params=seed))
        return nnx.split((model, nnx.Optimizer(model, transformation, wrt=nnx.Param)))

    graph, _ = nnx.eval_shape(build)
    arrays = jax.jit(lambda: build()[1], out_shardings=sharding)()
    return Split(graph, arrays)


def parts(arrays: nnx.State) -> dict[str, Any]:
    """The state as the plain nested dicts that a checkpoint stores, one per item.

    Returns:
      {"params": …, "batch_stats": …, "optimizer": …}; names of parameters are torchvision's
      (`encoder/layer1/0/conv1/kernel`), the optimizer's are optax's.
    """
    model, optimizer = arrays[0], arrays[1]
    params, batch_stats = nnx.split_state(model, nnx.Param, nnx.BatchStat)
    named = {"params": params, "batch_stats": batch_stats, "optimizer": optimizer}
    return {name: nnx.to_pure_dict(part) for name, part in named.items()}


def join(arrays: nnx.State, stored: dict[str, Any]) -> nnx.State:
    """`arrays` with the leaves of `stored` (structured as by `parts`) in place of its own."""
    old, structure = jax.tree.flatten(parts(arrays))
    new = jax.tree.structure(stored)
    if new != structure:
        raise ValueError(f"stored state has structure {new}, expected {structure}")
    by_identity = dict(zip(map(id, old), jax.tree.leaves(stored), strict=True))
    return jax.tree.map(lambda leaf: by_identity[id(leaf)], arrays)
