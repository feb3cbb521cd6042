"""The step that learns to segment: arrays in, arrays out, on the global batch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr.evaluate.overlap import IGNORE
from histo_simclr.views import compose

# nnU-Net's (arXiv 1904.08128, MemoryEfficientSoftDiceLoss): a class that is nowhere divides by 0.
_SMOOTH = 1e-5


class Pixels(NamedTuple):
    """What an encoder expects of its input, from its provenance: mean and std of R, G, B."""

    mean: Sequence[float]
    std: Sequence[float]


def loss_of(scores: jax.Array, masks: jax.Array) -> jax.Array:
    """Cross-entropy plus 1 - soft Dice, as nnU-Net (arXiv 1904.08128) adds them.

    Args:
      scores: (B, H, W, K) before softmax.
      masks: (B, H, W) uint8; IGNORE is left out of both terms.

    Returns:
      Scalar; Dice is over the whole batch and the mean of all classes.
    """
    counted = (masks != IGNORE).astype(scores.dtype)
    truth = jax.nn.one_hot(masks, scores.shape[-1], dtype=scores.dtype)
    logs = jax.nn.log_softmax(scores)
    entropy = -jnp.sum(truth * logs) / jnp.maximum(counted.sum(), 1)
    shares = jnp.exp(logs) * counted[..., None]
    hits = jnp.sum(truth * shares, axis=(0, 1, 2))
    sizes = jnp.sum(truth + shares, axis=(0, 1, 2))
    return entropy + 1 - jnp.mean((2 * hits + _SMOOTH) / (sizes + _SMOOTH))


def turned(key: jax.Array, images: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each image and its mask in one of the square's eight positions, all equally likely.

    Args:
      key: of the batch.
      images: (B, px, px, 3).
      masks: (B, px, px).
    """
    chances = jax.random.bernoulli(key, 0.5, (len(images), 3))

    def position(image: jax.Array, chance: jax.Array) -> jax.Array:
        image = jnp.where(chance[0], image.swapaxes(0, 1), image)
        image = jnp.where(chance[1], image[::-1], image)
        return jnp.where(chance[2], image[:, ::-1], image)

    return jax.vmap(position)(images, chances), jax.vmap(position)(masks, chances)


def segment_step(
    arrays: nnx.State,
    images: jax.Array,
    masks: jax.Array,
    seed_key: jax.Array,
    *,
    graph: nnx.GraphDef,
    learned: nnx.filterlib.Filter,
    pixels: Pixels,
) -> tuple[nnx.State, jax.Array]:
    """One update on the global batch: arrays of (model, optimizer) → new ones, and the loss."""
    model, optimizer = nnx.merge(graph, arrays)
    key = jax.random.fold_in(seed_key, optimizer.step[...])
    images, masks = turned(key, images, masks)
    views = compose.plain_view(images, px=images.shape[1], mean=pixels.mean, std=pixels.std)
    # Only what is learned is differentiated: nothing flows back into a frozen encoder.
    gradient = nnx.value_and_grad(
        lambda model: loss_of(model(views), masks), argnums=nnx.DiffState(0, learned)
    )
    loss, gradients = gradient(model)
    optimizer.update(model, gradients)
    return nnx.state((model, optimizer)), loss


def compile_step(
    mesh: jax.sharding.Mesh,
    *,
    graph: nnx.GraphDef,
    learned: nnx.filterlib.Filter,
    pixels: Pixels,
) -> Callable:
    """`segment_step` jitted for a mesh: batch sharded over `data`, state whole and donated."""
    whole, split = meshes.replicated(mesh), meshes.batch_sharding(mesh)
    return jax.jit(
        partial(segment_step, graph=graph, learned=learned, pixels=pixels),
        in_shardings=(whole, split, split, whole),
        out_shardings=(whole, whole),
        donate_argnums=0,
        compiler_options=meshes.compiler_options(mesh),
    )
