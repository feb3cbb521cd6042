"""Random resized crop, flips and quarter turns as one pair of interpolation matrices per view.

`out = Wy · patch · Wxᵀ`: the box gives the columns that are not zero, flips reverse the rows of a
matrix. A quarter turn is a flip and a transposition. Patches are transposed, not views: it is then
bytes that are read crosswise, in the pass that makes numbers of them, and the box turns with them.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

# torchvision draws a box up to ten times before it falls back on a central one.
CROP_TRIES = 10
# Uniform numbers that `draw` needs: two for each try, two for the corner, four for flips and turns.
CHANCES = 2 * CROP_TRIES + 6


class Placement(NamedTuple):
    """Where a view lies in its patch; each field a scalar, or (B,) for a batch.

    Fields:
      transpose: bool, exchange rows and columns of the patch first.
      top, left, height, width: int32, the box in pixels, after the transposition.
      flip_y, flip_x: bool, reverse the rows or the columns of the resampled box.
    """

    transpose: jax.Array
    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array
    flip_y: jax.Array
    flip_x: jax.Array


def draw(
    chances: jax.Array,
    *,
    shape: tuple[int, int],
    crop_scale: tuple[float, float],
    crop_ratio: tuple[float, float],
    horizontal_flip: float,
    vertical_flip: float,
    quarter_turn: float,
) -> Placement:
    """The placement of one view: crop, then flips, then counter-clockwise quarter turns.

    Args:
      chances: (CHANCES,) float32, independent U(0, 1).
      shape: (height, width) of the patch.
      crop_scale: range of the box's share of the patch's area.
      crop_ratio: range of width / height, > 0; uniform in the logarithm.
      horizontal_flip, vertical_flip: probabilities.
      quarter_turn: probability that the number of turns is drawn from 0, 1, 2, 3 with equal
        chances, instead of being 0.
    """
    box, flip = chances[:-4], chances[-4:]
    top, left, height, width = _draw_box(box, shape=shape, scale=crop_scale, ratio=crop_ratio)
    flip_x, flip_y = flip[0] < horizontal_flip, flip[1] < vertical_flip
    turns = jnp.where(flip[2] < quarter_turn, jnp.floor(4 * flip[3]).astype(jnp.int32), 0)
    return turned(Placement(turns < 0, top, left, height, width, flip_y, flip_x), turns)


def turned(placement: Placement, turns: jax.Array) -> Placement:
    """An upright placement followed by `turns` (int, 0 to 3) counter-clockwise quarter turns.

    Same sense as numpy.rot90. `placement.transpose` must be False.
    """
    odd = turns % 2 == 1
    flip_y = placement.flip_y ^ (turns >= 2)
    flip_x = placement.flip_x ^ ((turns == 1) | (turns == 2))

    def either(upright: jax.Array, lying: jax.Array) -> jax.Array:
        return jnp.where(odd, lying, upright)

    return Placement(
        transpose=odd,
        top=either(placement.top, placement.left),
        left=either(placement.left, placement.top),
        height=either(placement.height, placement.width),
        width=either(placement.width, placement.height),
        flip_y=either(flip_y, flip_x),
        flip_x=either(flip_x, flip_y),
    )


def interpolation(
    start: jax.Array, size: jax.Array, flip: jax.Array, *, length: int, px: int, dtype: jnp.dtype
) -> jax.Array:
    """Matrix that resamples pixels [start, start + size) of `length` pixels to `px` pixels.

    Antialiased bilinear as torchvision's and PIL's: a triangle as wide as max(1, size / px) on
    either side of the output pixel's center. torchvision crops before it resamples, so columns
    outside the box are zero and the rows are normalized to sum 1.

    Args:
      start, size: int32 scalars, in input pixels; size >= 1.
      flip: bool scalar, reverses the output.

    Returns:
      (px, length) of dtype; float16 types are rounded after the normalization.
    """
    exact = jnp.promote_types(dtype, jnp.float32)
    out = jnp.arange(px, dtype=exact)
    out = jnp.where(flip, px - 1 - out, out)
    scale = jnp.asarray(size, exact) / px
    center = (out + 0.5) * scale
    pixel = (jnp.arange(length) - start).astype(exact)
    distance = jnp.abs(pixel[None, :] + 0.5 - center[:, None]) / jnp.maximum(scale, 1)
    inside = (pixel >= 0) & (pixel < size)
    weight = jnp.where(inside[None, :], jnp.maximum(1 - distance, 0), 0)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(dtype)


def planes_of(patches: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """(B, H, W, 3) uint8 to row planes (B, H, 3, W) of dtype in [0, 1]."""
    exact = jnp.promote_types(dtype, jnp.float32)
    return (patches.transpose(0, 1, 3, 2).astype(exact) / 255).astype(dtype)


def resample(patches: jax.Array, placement: Placement, *, px: int, dtype: jnp.dtype) -> jax.Array:
    """Turns, cuts, resamples and flips one view of each patch.

    Args:
      patches: (B, H, W, 3) uint8.
      placement: fields of (B,).
      px: side of the views.
      dtype: of patches, matrices and views in memory; sums are float32 at least.

    Returns:
      (B, px, 3, px) of dtype in [0, 1].
    """
    height, width = patches.shape[1:3]
    side = max(height, width)
    # A patch that is not square is made so before it is turned; no box reaches into the margin.
    patches = jnp.pad(patches, ((0, 0), (0, side - height), (0, side - width), (0, 0)))
    crosswise = placement.transpose[:, None, None, None]
    patches = jnp.where(crosswise, patches.transpose(0, 2, 1, 3), patches)
    return resized(
        planes_of(patches, dtype),
        _matrices(placement.top, placement.height, placement.flip_y, side, px, dtype),
        _matrices(placement.left, placement.width, placement.flip_x, side, px, dtype),
    )


def resized(planes: jax.Array, down: jax.Array, across: jax.Array) -> jax.Array:
    """(B, H, 3, W) by matrices (B, h, H) and (B, w, W), or (1, …) for all: (B, h, 3, w)."""
    batch, height, _, width = planes.shape
    # HIGHEST: the default would round float32 factors to 10 bits on GPUs and 8 on TPUs.
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    planes = product(down, planes.reshape(batch, height, 3 * width))
    planes = product(planes.reshape(batch, -1, width), across.transpose(0, 2, 1))
    return planes.reshape(batch, down.shape[1], 3, across.shape[1])


def _matrices(
    start: jax.Array, size: jax.Array, flip: jax.Array, length: int, px: int, dtype: jnp.dtype
) -> jax.Array:
    one = functools.partial(interpolation, length=length, px=px, dtype=dtype)
    return jax.vmap(one)(start, size, flip)


def _draw_box(
    chances: jax.Array,
    *,
    shape: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[jax.Array, ...]:
    """(top, left, height, width) as torchvision's RandomResizedCrop.get_params draws them."""
    high, wide = shape
    areas = high * wide * _between(chances[:CROP_TRIES], *scale)
    ratios = jnp.exp(_between(chances[CROP_TRIES:-2], math.log(ratio[0]), math.log(ratio[1])))
    widths = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= wide) & (heights > 0) & (heights <= high)
    # A sum instead of an index: XLA:CPU would repeat the look-up for each element of the matrices.
    first = fits & (jnp.cumsum(fits) == 1)
    height, width = (jnp.sum(jnp.where(first, sides, 0)) for sides in (heights, widths))
    top = jnp.floor(chances[-2] * (high - height + 1)).astype(jnp.int32)
    left = jnp.floor(chances[-1] * (wide - width + 1)).astype(jnp.int32)
    central = _central_box(high, wide, ratio)
    found = fits.any()
    return tuple(
        jnp.where(found, *pair) for pair in zip((top, left, height, width), central, strict=True)
    )


def _central_box(high: int, wide: int, ratio: tuple[float, float]) -> tuple[int, ...]:
    """The largest central box whose width / height lies in ratio."""
    height, width = high, wide
    if wide / high < ratio[0]:
        height = round(wide / ratio[0])
    elif wide / high > ratio[1]:
        width = round(high * ratio[1])
    return (high - height) // 2, (wide - width) // 2, height, width


def _between(chance: jax.Array, low: jax.Array | float, high: jax.Array | float) -> jax.Array:
    return low + (high - low) * chance
