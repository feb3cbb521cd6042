"""Random views of each patch for training, one plain view for evaluation.

The one place that normalizes. Arrays in, arrays out: all numbers come as arguments.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from histo_simclr.views import blur, color, geometry

BLUR_REFERENCE_PX = 224  # the side at which SimCLR states its sigma
# Uniform numbers that a view needs.
CHANCES = geometry.CHANCES + color.CHANCES + blur.CHANCES


def chances(key: jax.Array, batch: int, *, count: int) -> jax.Array:
    """What the views of a batch are drawn from; example i's depend on (key, count, i) alone.

    Args:
      key: typed key of the step.
      batch: B, patches of the global batch.
      count: views of each patch.

    Returns:
      (B, count, CHANCES) float32, independent U(0, 1).
    """
    # One call compiles in a third of the time that a key for each example and operation takes.
    # JAX's partitionable generator (its default) counts elements in order, and the batch comes
    # first: the numbers of example i are the same in any batch and computed where i lies.
    return jax.random.uniform(key, (batch, count, CHANCES), jnp.float32)


def random_views(
    chances: jax.Array,
    patches: jax.Array,
    *,
    px: int,
    crop_scale: tuple[float, float],
    crop_ratio: tuple[float, float],
    horizontal_flip: float,
    vertical_flip: float,
    quarter_turn: float,
    jitter_probability: float,
    jitter_strength: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    gray_probability: float,
    blur_probability: float,
    blur_sigma: tuple[float, float],
    mean: Sequence[float],
    std: Sequence[float],
    dtype: jnp.dtype = jnp.float32,
) -> tuple[jax.Array, ...]:
    """Independent random views of each patch (SimCLR, arXiv 2002.05709, appendix A).

    In this order: random resized crop, flips, quarter turns; brightness, contrast, saturation,
    hue; gray; Gaussian blur; normalization. What happens to an example depends on its chances
    alone: not on the batch size, nor on how the batch lies on devices.

    Args:
      chances: (B, count, CHANCES) float32: `chances` of the step's key, or part of its examples.
      patches: (B, H, W, 3) uint8.
      px: side of the views.
      crop_scale: range of the box's share of the patch's area, in (0, 1].
      crop_ratio: range of the box's width / height.
      horizontal_flip, vertical_flip: probabilities.
      quarter_turn: probability that 0 to 3 quarter turns are drawn with equal chances.
      jitter_probability: of the four color changes together.
      jitter_strength: multiplies brightness, contrast, saturation and hue.
      brightness, contrast, saturation: b gives a factor from U(max(0, 1 - b), 1 + b).
      hue: h gives a shift from U(-h, h), in turns.
      gray_probability, blur_probability: probabilities.
      blur_sigma: range of sigma, in pixels of a view of 224 px; scaled with px.
      mean, std: per channel, of pixels in [0, 1].
      dtype: of the views and of what lies in memory on the way; parameters are drawn, and colors
        computed, in float32 at least.

    Returns:
      `count` views, each (B, px, px, 3) of dtype, normalized.
    """

    def draw(of_view: jax.Array) -> tuple[geometry.Placement, color.Jitter, jax.Array]:
        place, tint, soften = jnp.split(
            of_view, (geometry.CHANCES, geometry.CHANCES + color.CHANCES)
        )
        placement = geometry.draw(
            place,
            shape=patches.shape[1:3],
            crop_scale=crop_scale,
            crop_ratio=crop_ratio,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
            quarter_turn=quarter_turn,
        )
        jitter = color.draw(
            tint,
            jitter_probability=jitter_probability,
            jitter_strength=jitter_strength,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            gray_probability=gray_probability,
        )
        sigma = blur.draw(soften, blur_probability=blur_probability, blur_sigma=blur_sigma)
        # The kernel is a tenth of the side: scaled too, blur means the same at every size.
        return placement, jitter, sigma * (px / BLUR_REFERENCE_PX)

    def view(placement: geometry.Placement, jitter: color.Jitter, sigma: jax.Array) -> jax.Array:
        planes = geometry.resample(patches, placement, px=px, dtype=dtype)
        planes = color.jittered(planes.astype(_exact(dtype)), jitter).astype(dtype)
        planes = blur.blurred(planes, sigma, radius=blur.radius_of(px))
        return _normalized(planes, mean, std)

    return tuple(view(*jax.vmap(draw)(chances[:, number])) for number in range(chances.shape[1]))


def plain_view(
    patches: jax.Array,
    *,
    px: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: jnp.dtype = jnp.float32,
) -> jax.Array:
    """The view of evaluation: whole patches, resized (antialiased bilinear) and normalized.

    Args:
      patches: (B, H, W, 3) uint8; H = W = px is not resized.
      px: side of the views.
      mean, std: per channel, of pixels in [0, 1].
      dtype: of the views.

    Returns:
      (B, px, px, 3) of dtype.
    """
    height, width = patches.shape[1:3]
    planes = geometry.planes_of(patches, dtype)
    if (height, width) != (px, px):
        down, across = (
            geometry.interpolation(0, length, False, length=length, px=px, dtype=dtype)[None]
            for length in (height, width)
        )
        planes = geometry.resized(planes, down, across)
    return _normalized(planes, mean, std)


def _normalized(planes: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Row planes (B, px, 3, px) in [0, 1] to normalized pictures (B, px, px, 3)."""
    exact = planes.transpose(0, 1, 3, 2).astype(_exact(planes.dtype))
    shift, scale = (jnp.array(each, exact.dtype).reshape(1, 1, 1, 3) for each in (mean, std))
    return ((exact - shift) / scale).astype(planes.dtype)


def _exact(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)
