"""Color jitter and gray as torchvision defines them, on row planes (B, H, 3, W) in [0, 1].

Elementwise, but for the mean that contrast needs, so that the compiler makes one pass of it.
Factors are (B,) arrays; 1 (hue: 0) leaves a picture as it is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# ITU-R BT.601 luma, with torchvision's digits (Rec. 601 itself has 0.299 and 0.114).
LUMA = (0.2989, 0.587, 0.114)
# Uniform numbers that `draw` needs.
CHANCES = 6


class Jitter(NamedTuple):
    """Color changes of one view; each field a float32 scalar, or (B,) for a batch.

    Fields:
      brightness, contrast, saturation: factors, 1 = none.
      hue: shift in turns, 0 = none.
      gray: bool, drop the color at the end.
    """

    brightness: jax.Array
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array
    gray: jax.Array


def draw(
    chances: jax.Array,
    *,
    jitter_probability: float,
    jitter_strength: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    gray_probability: float,
) -> Jitter:
    """The color changes of one view.

    Args:
      chances: (CHANCES,) float32, independent U(0, 1).
      jitter_probability: that the four changes happen at all; gray is drawn apart.
      jitter_strength: multiplies the four ranges that follow.
      brightness, contrast, saturation: b gives a factor from U(max(0, 1 - b), 1 + b).
      hue: h gives a shift from U(-h, h), in turns.
      gray_probability: in [0, 1].
    """
    happens = chances[0] < jitter_probability

    def factor(chance: jax.Array, reach: float) -> jax.Array:
        low, high = max(0.0, 1 - reach * jitter_strength), 1 + reach * jitter_strength
        return jnp.where(happens, low + (high - low) * chance, 1)

    return Jitter(
        factor(chances[1], brightness),
        factor(chances[2], contrast),
        factor(chances[3], saturation),
        jnp.where(happens, (2 * chances[4] - 1) * (hue * jitter_strength), 0),
        chances[5] < gray_probability,
    )


def jittered(planes: jax.Array, jitter: Jitter) -> jax.Array:
    """Brightness, contrast, saturation, hue, gray, in this order.

    torchvision draws the order anew for each picture. Drawing it per example costs 1.1 (loop over
    examples) to 3.7 (compute all, select) times the whole of the views; one order for all fuses.

    Args:
      planes: (B, H, 3, W) float32 or float64 in [0, 1].
      jitter: fields of (B,).

    Returns:
      As planes.
    """
    planes = brightness(planes, jitter.brightness)
    planes = contrast(planes, jitter.contrast)
    planes = saturation(planes, jitter.saturation)
    planes = hue(planes, jitter.hue)
    return jnp.where(_per_example(jitter.gray), gray(planes), planes)


def brightness(planes: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with black: clip(factor · x). Shapes as in `jittered`."""
    return jnp.clip(planes * _per_example(factor, planes.dtype), 0, 1)


def contrast(planes: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the mean of the gray picture, one number an example."""
    # The gray of the mean color, which is the mean of the gray, in one pass over the picture.
    mean = gray(planes.mean(axis=(1, 3), keepdims=True))
    return _blend(planes, mean, factor)


def saturation(planes: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends each pixel with its gray value."""
    return _blend(planes, gray(planes), factor)


def gray(planes: jax.Array) -> jax.Array:
    """Luma: (B, H, 3, W) to (B, H, 1, W)."""
    red, green, blue = _channels(planes)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def hue(planes: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns the hue of HSV by `shift` turns (any real number), at constant S and V.

    The way back from HSV is written for all channels alike: with t = hue in sixths of a turn,
    red = low + chroma · clip(|t - 3| - 1), green = low + chroma · clip(2 - |t - 2|), blue likewise
    with 4.
    """
    red, green, blue = _channels(planes)
    high = jnp.maximum(jnp.maximum(red, green), blue)
    low = jnp.minimum(jnp.minimum(red, green), blue)
    chroma = high - low
    safe = jnp.where(chroma > 0, chroma, 1)
    other = jnp.where(high == green, blue - red, red - green)
    opposite = jnp.where(high == red, green - blue, other)
    sector = jnp.where(high == red, 0, jnp.where(high == green, 2, 4)).astype(planes.dtype)
    turn = (sector + opposite / safe) / 6 + _per_example(shift, planes.dtype)
    # floor, not %: the remainder of floats is a slow library call on CPU.
    sixths = 6 * (turn - jnp.floor(turn))
    middle, slope, offset = (
        jnp.array(values, planes.dtype).reshape(1, 1, 3, 1)
        for values in ((3, 2, 4), (1, -1, -1), (-1, 2, 2))
    )
    return low + chroma * jnp.clip(slope * jnp.abs(sixths - middle) + offset, 0, 1)


def _blend(planes: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    factor = _per_example(factor, planes.dtype)
    return jnp.clip(factor * planes + (1 - factor) * other, 0, 1)


def _channels(planes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return planes[:, :, 0:1], planes[:, :, 1:2], planes[:, :, 2:3]


def _per_example(values: jax.Array, dtype: jnp.dtype | None = None) -> jax.Array:
    return values.astype(dtype or values.dtype)[:, None, None, None]
