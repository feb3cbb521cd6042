"""Gaussian blur with a sigma of its own for each example, on row planes (B, H, 3, W)."""

import jax
import jax.numpy as jnp

# Uniform numbers that `draw` needs.
CHANCES = 2


def draw(
    chances: jax.Array, *, blur_probability: float, blur_sigma: tuple[float, float]
) -> jax.Array:
    """Sigma of one view in pixels, U(blur_sigma); 0 = no blur. float32 scalar.

    Args:
      chances: (CHANCES,) float32, independent U(0, 1).
      blur_probability: in [0, 1].
      blur_sigma: (low, high), > 0.
    """
    low, high = blur_sigma
    return jnp.where(chances[0] < blur_probability, low + (high - low) * chances[1], 0)


def radius_of(px: int) -> int:
    """Taps on either side of the middle: a kernel of 10 % of the side, as in SimCLR (23 at 224)."""
    return px // 10 // 2


def kernel(sigma: jax.Array, *, radius: int, dtype: jnp.dtype) -> jax.Array:
    """(B,) sigmas in pixels to (B, 2 · radius + 1) weights of sum 1; sigma 0: a single 1."""
    distance = jnp.arange(-radius, radius + 1, dtype=dtype)[None, :]
    sigma = sigma.astype(dtype)[:, None]
    weight = jnp.exp(-0.5 * (distance / jnp.where(sigma > 0, sigma, 1)) ** 2)
    weight = jnp.where(sigma > 0, weight, distance == 0)
    return weight / weight.sum(axis=1, keepdims=True)


def blurred(planes: jax.Array, sigma: jax.Array, *, radius: int) -> jax.Array:
    """Separable Gaussian blur; reflects at the border without repeating it, as torchvision does.

    Args:
      planes: (B, H, 3, W), any float; H and W > radius.
      sigma: (B,) in pixels; examples with 0 stay as they are.
      radius: taps on either side of the middle one.

    Returns:
      As planes.
    """
    weights = kernel(sigma, radius=radius, dtype=jnp.promote_types(planes.dtype, jnp.float32))
    # CPU at 224 px, measured: shifted pictures 0.6 ms a view, dense products 3.0. On GPUs and
    # TPUs the products (135 MFLOP) are small for the matrix units; which wins was not measured.
    return jax.lax.platform_dependent(planes, weights, cpu=by_taps, default=by_products)


def by_taps(planes: jax.Array, weights: jax.Array) -> jax.Array:
    """Blur as a sum of shifted pictures; weights (B, 2 · radius + 1), symmetric."""
    for axis in (1, 3):
        planes = _taps_along(planes, weights, axis)
    return planes


def by_products(planes: jax.Array, weights: jax.Array) -> jax.Array:
    """Blur as two batched products with banded matrices; arguments as for `by_taps`."""
    batch, height, _, width = planes.shape
    down = _banded(weights, height).astype(planes.dtype)
    across = down if width == height else _banded(weights, width).astype(planes.dtype)
    precision = jax.lax.Precision.HIGHEST
    planes = planes.reshape(batch, height, 3 * width)
    planes = jnp.einsum("bih,bhn->bin", down, planes, precision=precision)
    planes = planes.reshape(batch, height * 3, width)
    planes = jnp.einsum("bnw,bjw->bnj", planes, across, precision=precision)
    return planes.reshape(batch, height, 3, width)


def _taps_along(planes: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    radius = weights.shape[1] // 2
    length = planes.shape[axis]
    start = jax.lax.slice_in_dim(planes, 1, radius + 1, axis=axis)
    end = jax.lax.slice_in_dim(planes, length - 1 - radius, length - 1, axis=axis)
    padded = jnp.concatenate([jnp.flip(start, axis), planes, jnp.flip(end, axis)], axis)
    # Without the barrier XLA makes a padded copy for the taps on each side and a third for the
    # middle, and computes the colors anew for each: 1.6 instead of 0.6 ms a view at 224 px.
    padded = jax.lax.optimization_barrier(padded)

    def shifted(offset: int) -> jax.Array:
        return jax.lax.slice_in_dim(padded, offset, offset + length, axis=axis)

    weights = weights.astype(planes.dtype)[:, :, None, None, None]
    total = weights[:, radius] * shifted(radius)
    for tap in range(radius):
        total += weights[:, tap] * (shifted(tap) + shifted(2 * radius - tap))
    return total


def _banded(weights: jax.Array, length: int) -> jax.Array:
    """(B, length, length): row i holds the kernel around column i, folded back at the border."""
    radius = weights.shape[1] // 2
    row, column = jnp.arange(length)[:, None], jnp.arange(length)[None, :]
    matrix = jnp.zeros((), weights.dtype)
    for source in (column, -column, 2 * (length - 1) - column):
        offset = source - row + radius
        inside = (offset >= 0) & (offset <= 2 * radius)
        # The border pixel is its own reflection and must count once.
        if source is not column:
            inside &= source != column
        matrix = matrix + jnp.where(inside[None], weights[:, jnp.clip(offset, 0, 2 * radius)], 0)
    return matrix
