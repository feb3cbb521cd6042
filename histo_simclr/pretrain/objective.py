"""NT-Xent and its relatives: arrays in, scalar out. Knows nothing of devices, files or config.

Everywhere `projections` is (2B, D), any float: rows i and i + B are the two views of one patch.
Rows are normalized to unit length here. Computed in float32 (float64 when given float64). Written
for the global batch: under jit with sharded projections every row meets all others.
"""

import jax
import jax.numpy as jnp


def nt_xent(projections: jax.Array, *, temperature: float) -> jax.Array:
    """Mean NT-Xent loss over both directions (SimCLR, arXiv 2002.05709, eq. 1).

    Args:
      projections: (2B, D), any float; rows i and i + B are the two views of one patch.
        Normalized to unit length here.
      temperature: > 0; divides the cosine similarities.

    Returns:
      float32 scalar; ln(2B - 1) when all projections coincide.
    """
    unit = _unit(projections)
    logits = jnp.where(_is_self(unit), -jnp.inf, _similarities(unit) / temperature)
    positives = _positives(unit) / temperature
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - positives)


def dcl(projections: jax.Array, *, temperature: float) -> jax.Array:
    """Mean decoupled contrastive loss, unweighted (DCL, arXiv 2110.06848, eq. 6).

    NT-Xent whose denominator leaves the positive out: it keeps its gradient in small batches.

    Args:
      projections: (2B, D), any float, B > 1; rows i and i + B are the two views of one patch.
        Normalized to unit length here.
      temperature: > 0; divides the cosine similarities.

    Returns:
      float32 scalar; ln(2B - 2) when all projections coincide. May be negative.
    """
    unit = _unit(projections)
    left_out = _is_self(unit) | _is_positive(unit)
    logits = jnp.where(left_out, -jnp.inf, _similarities(unit) / temperature)
    positives = _positives(unit) / temperature
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - positives)


def contrastive_top1(projections: jax.Array) -> jax.Array:
    """Share of the 2B rows whose nearest among the other 2B - 1 is their partner, in [0, 1].

    (2B, D) -> float32 scalar; chance is 1 / (2B - 1).
    """
    unit = _unit(projections)
    nearest = jnp.argmax(jnp.where(_is_self(unit), -jnp.inf, _similarities(unit)), axis=1)
    rows = jnp.arange(len(unit))
    return jnp.mean(nearest == jnp.roll(rows, len(unit) // 2), dtype=unit.dtype)


def alignment(projections: jax.Array) -> jax.Array:
    """Mean squared distance of partners on the unit sphere, in [0, 4]; 0 is best.

    (2B, D) -> float32 scalar. Wang and Isola, arXiv 2005.10242, alpha = 2.
    """
    first, second = jnp.split(_unit(projections), 2)
    return jnp.mean(jnp.sum((first - second) ** 2, axis=1))


def uniformity(projections: jax.Array) -> jax.Array:
    """Log mean exp(-2 d^2) over all pairs of distinct rows on the unit sphere, in [-8, 0].

    (2B, D) -> float32 scalar; 0 when all rows coincide. Wang and Isola, arXiv 2005.10242, t = 2.
    """
    unit = _unit(projections)
    squares = jnp.sum(unit**2, axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * _similarities(unit)
    exponents = jnp.where(_is_self(unit), -jnp.inf, -2 * distances)
    pairs = len(unit) * (len(unit) - 1)
    return jax.nn.logsumexp(exponents) - jnp.log(jnp.asarray(pairs, unit.dtype))


def _unit(projections: jax.Array) -> jax.Array:
    # float32: at T = 0.1 bf16 logits keep about two digits, and the softmax needs more.
    x = projections.astype(jnp.promote_types(projections.dtype, jnp.float32))
    # Norms are clamped at 1e-6 as in tf.math.l2_normalize, which SimCLR uses: the gradient of a row
    # of zeros stays finite.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=1, keepdims=True), 1e-12))


def _similarities(unit: jax.Array) -> jax.Array:
    # HIGHEST: the default multiplies float32 as bf16 on TPU and as TF32 on GPU.
    return jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)


def _positives(unit: jax.Array) -> jax.Array:
    return jnp.sum(unit * jnp.roll(unit, len(unit) // 2, axis=0), axis=1)


def _is_self(unit: jax.Array) -> jax.Array:
    return jnp.eye(len(unit), dtype=bool)


def _is_positive(unit: jax.Array) -> jax.Array:
    return jnp.roll(_is_self(unit), len(unit) // 2, axis=1)
