"""Segmentation: a U-Net decoder on an encoder, learned from masks, asked for whole images.

Arrays in, arrays out, on a mesh as pretraining is. Knows nothing of files, flags or config.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr import optimizer as optimizers
from histo_simclr.errors import InputError
from histo_simclr.evaluate import segment_step, stitch
from histo_simclr.evaluate.overlap import IGNORE
from histo_simclr.evaluate.segment_step import Pixels
from histo_simclr.model.resnet import ResNet
from histo_simclr.model.unet import UNet
from histo_simclr.views import compose

_BETA1 = 0.9  # AdamW's (arXiv 1711.05101)


class Fitted(NamedTuple):
    """model: in eval mode, on the mesh; losses: (steps,) float32, before each update."""

    model: UNet
    losses: np.ndarray


def fit(
    encoder: ResNet,
    images: np.ndarray,
    masks: np.ndarray,
    *,
    num_classes: int,
    pixels: Pixels,
    tile: int,
    batch_size: int,
    widths: Sequence[int],
    steps: int,
    warmup_fraction: float,
    rate: float,
    weight_decay: float,
    encoder_rate: float,
    seed: int,
    mesh: jax.sharding.Mesh,
) -> Fitted:
    """Learns from tiles drawn anywhere in the images, each flipped and turned at random.

    Args:
      encoder: stays as it is; a copy is used.
      images: (n, H, W, 3) uint8.
      masks: (n, H, W) uint8: class numbers, IGNORE where none.
      num_classes: K.
      pixels: what the encoder expects.
      tile: side in pixels; smaller images are mirrored to that size.
      batch_size: tiles a step over all devices; rounded up to a multiple of their number.
      widths: channels of the decoder's blocks, see `UNet`.
      steps: optimizer steps of AdamW, warmed up and decayed to 0 by a cosine.
      warmup_fraction: share of the steps.
      rate: peak learning rate of the decoder.
      weight_decay: decoupled, kernels only.
      encoder_rate: share of `rate` for the encoder; 0: it is frozen, its statistics too.
      seed: of the decoder's weights, the tiles and their turns.
      mesh: with the axis `data`.

    Raises:
      InputError: masks of another size than the images, or with values that are no class.
    """
    check(images, masks, num_classes)
    warmup = round(warmup_fraction * steps)
    schedule = optimizers.schedule(rate, warmup_steps=warmup, total_steps=steps)
    adamw = optimizers.make("adamw", rate=schedule, weight_decay=weight_decay, momentum=_BETA1)
    transformation = optax.chain(adamw, slowed_encoder(encoder_rate))
    learned = nnx.All(nnx.Param, nnx.PathContains("decoder")) if not encoder_rate else nnx.Param

    def build(structure: nnx.GraphDef, state: nnx.State) -> tuple[nnx.GraphDef, nnx.State]:
        copy = nnx.merge(structure, state)
        model = UNet(
            copy,
            widths=widths,
            num_classes=num_classes,
            rngs=nnx.Rngs(params=seed),
            dtype=encoder.bn1.dtype,
        )
        model.train()
        if not encoder_rate:
            model.encoder.eval()
        return nnx.split((model, nnx.Optimizer(model, transformation, wrt=learned)))

    graph, arrays = _init(build, encoder, mesh)
    step = segment_step.compile_step(mesh, graph=graph, learned=learned, pixels=pixels)
    images = np.stack([stitch.padded(image, tile) for image in images])
    masks = _padded_masks(masks, tile)
    size = -(-batch_size // mesh.size) * mesh.size
    key, losses = jax.random.key(seed), []
    for number in range(steps):
        batch = _draw(images, masks, tile, size, np.random.default_rng([seed, number]))
        arrays, loss = step(arrays, *_on_mesh(mesh, *batch), key)
        losses.append(loss)
        # One step behind: tiles are cut while the device works, and no queue builds up.
        jax.block_until_ready(losses[-2:][0])
    model, _ = nnx.merge(graph, arrays)
    model.eval()
    return Fitted(model, np.array([float(loss) for loss in losses], np.float32))


def check(images: np.ndarray, masks: np.ndarray, num_classes: int) -> None:
    """InputError unless there is a mask of each image's size, and its values are classes."""
    if masks.shape != images.shape[:3]:
        raise InputError(
            f"masks of shape {masks.shape} for images of shape {images.shape[:3]}",
            where="masks",
            way_out="give a mask of the same height and width for each image",
        )
    unknown = np.setdiff1d(masks, [*range(num_classes), IGNORE])
    if len(unknown):
        raise InputError(
            f"value {unknown[0]} is none of the {num_classes} classes",
            where="masks",
            way_out=f"number the classes from 0; {IGNORE} marks pixels of none",
        )


def probabilities(
    model: UNet,
    images: Sequence[np.ndarray],
    *,
    pixels: Pixels,
    tile: int,
    overlap: float,
    batch_size: int,
    mesh: jax.sharding.Mesh,
) -> Iterator[np.ndarray]:
    """What the model says of whole images of any size, by overlapping tiles.

    Args:
      model: in eval mode.
      images: (H, W, 3) uint8 each.
      pixels: what the encoder expects.
      tile: side in pixels.
      overlap: of neighboring tiles, see `stitch.corners`.
      batch_size: tiles at a time over all devices. Does not change the result.
      mesh: with the axis `data`.

    Yields:
      (H, W, K) float32 for each image; each pixel's sum is 1.
    """
    graph, state = nnx.split(model)
    state = jax.device_put(jax.tree.map(np.asarray, state), meshes.replicated(mesh))

    def predict(state: nnx.State, tiles: jax.Array) -> jax.Array:
        views = compose.plain_view(tiles, px=tile, mean=pixels.mean, std=pixels.std)
        return jax.nn.softmax(nnx.merge(graph, state)(views))

    program = jax.jit(
        predict,
        out_shardings=meshes.replicated(mesh),
        compiler_options=meshes.compiler_options(mesh),
    )
    size = -(-batch_size // mesh.size) * mesh.size
    for image in images:
        whole = stitch.padded(image, tile)
        places = stitch.corners(whole.shape[:2], tile, overlap)
        tiles = [whole[y : y + tile, x : x + tile] for y, x in places]
        found = []
        for start in range(0, len(tiles), size):
            batch = np.stack(tiles[start : start + size])
            # The last batch is filled up, so that one program serves all.
            full = np.pad(batch, [(0, size - len(batch))] + [(0, 0)] * 3)
            found.append(np.asarray(program(state, *_on_mesh(mesh, full)))[: len(batch)])
        height, width = image.shape[:2]
        yield stitch.stitch(np.concatenate(found), places, whole.shape[:2])[:height, :width]


def _init(
    build: Callable, encoder: ResNet, mesh: jax.sharding.Mesh
) -> tuple[nnx.GraphDef, nnx.State]:
    structure, state = nnx.split(encoder)
    # By way of the host: what one device holds cannot go to those of other processes.
    state = jax.tree.map(np.asarray, state)
    graph, _ = nnx.eval_shape(lambda: build(structure, state))
    program = jax.jit(
        lambda state: build(structure, state)[1], out_shardings=meshes.replicated(mesh)
    )
    return graph, program(state)


def slowed_encoder(factor: float) -> optax.GradientTransformation:
    """Scales the updates of the encoder: behind AdamW, whose step is proportional to the rate."""

    def slow(path: tuple, update: jax.Array) -> jax.Array:
        return update * factor if "'encoder'" in jax.tree_util.keystr(path) else update

    return optax.stateless(lambda updates, _: jax.tree.map_with_path(slow, updates))


def _padded_masks(masks: np.ndarray, tile: int) -> np.ndarray:
    missing = [(0, max(0, tile - length)) for length in masks.shape[1:]]
    return np.pad(masks, [(0, 0), *missing], constant_values=IGNORE)


def _draw(
    images: np.ndarray, masks: np.ndarray, tile: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(count, tile, tile, 3) and (count, tile, tile), from anywhere in any image."""
    height, width = images.shape[1:3]
    rows = rng.integers(len(images), size=count)
    tops = rng.integers(height - tile + 1, size=count)
    lefts = rng.integers(width - tile + 1, size=count)
    places = list(zip(rows, tops, lefts, strict=True))
    return tuple(
        np.stack([each[row, y : y + tile, x : x + tile] for row, y, x in places])
        for each in (images, masks)
    )


def _on_mesh(mesh: jax.sharding.Mesh, *batches: np.ndarray) -> list[jax.Array]:
    split = meshes.batch_sharding(mesh)
    # Every process holds the whole batch and gives its devices their parts.
    return [jax.make_array_from_callback(each.shape, split, each.__getitem__) for each in batches]
