"""NT-Xent and its relatives: arrays in, scalar out. Knows nothing of devices, files or config.

Everywhere `projections` is (B, 2, D), any float: the two views of each patch, 2B rows. They lie
side by side so that on a mesh partners are on one device: the loss then costs one all-gather and
one all-reduce. Rows are normalized to unit length here. Computed in float32 (float64 when given
float64). Written for the global batch: under jit with sharded projections every row meets all
others.

`similarity_rows` is everywhere the number of rows of the (2B, 2B) similarity matrix that are in
memory at a time, forward and backward: a divisor of 2B; 0 means all. The results are the same but
for the order of sums.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def nt_xent(projections: jax.Array, *, temperature: float, similarity_rows: int = 0) -> jax.Array:
    """Mean NT-Xent loss over both directions (SimCLR, arXiv 2002.05709, eq. 1).

    Args:
      projections: (B, 2, D), any float. Normalized to unit length here.
      temperature: > 0; divides the cosine similarities.
      similarity_rows: of the similarity matrix at a time; 0: all.

    Returns:
      float32 scalar; ln(2B - 1) when all projections coincide.
    """
    unit = _unit(projections)

    def spread(similarities: jax.Array, own: jax.Array) -> jax.Array:
        logits = jnp.where(_is_self(similarities, own), -jnp.inf, similarities / temperature)
        return jax.nn.logsumexp(logits, axis=1)

    spreads = _by_rows(unit, spread, similarity_rows)
    return jnp.mean(spreads) - jnp.mean(_positives(unit)) / temperature


def dcl(projections: jax.Array, *, temperature: float, similarity_rows: int = 0) -> jax.Array:
    """Mean decoupled contrastive loss, unweighted (DCL, arXiv 2110.06848, eq. 6).

    NT-Xent whose denominator leaves the positive out: it keeps its gradient in small batches.

    Args:
      projections: (B, 2, D), any float, B > 1. Normalized to unit length here.
      temperature: > 0; divides the cosine similarities.
      similarity_rows: of the similarity matrix at a time; 0: all.

    Returns:
      float32 scalar; ln(2B - 2) when all projections coincide. May be negative.
    """
    unit = _unit(projections)

    def spread(similarities: jax.Array, own: jax.Array) -> jax.Array:
        left_out = _is_self(similarities, own) | _is_self(similarities, _partner(own))
        logits = jnp.where(left_out, -jnp.inf, similarities / temperature)
        return jax.nn.logsumexp(logits, axis=1)

    spreads = _by_rows(unit, spread, similarity_rows)
    return jnp.mean(spreads) - jnp.mean(_positives(unit)) / temperature


def contrastive_top1(projections: jax.Array, *, similarity_rows: int = 0) -> jax.Array:
    """Share of the 2B rows whose nearest among the other 2B - 1 is their partner, in [0, 1].

    (B, 2, D) -> float32 scalar; chance is 1 / (2B - 1).
    """
    unit = _unit(projections)

    def nearest(similarities: jax.Array, own: jax.Array) -> jax.Array:
        return jnp.argmax(jnp.where(_is_self(similarities, own), -jnp.inf, similarities), axis=1)

    partner = _partner(jnp.arange(2 * len(unit)))
    return jnp.mean(_by_rows(unit, nearest, similarity_rows) == partner, dtype=unit.dtype)


def alignment(projections: jax.Array) -> jax.Array:
    """Mean squared distance of partners on the unit sphere, in [0, 4]; 0 is best.

    (B, 2, D) -> float32 scalar. Wang and Isola, arXiv 2005.10242, alpha = 2.
    """
    unit = _unit(projections)
    return jnp.mean(jnp.sum((unit[:, 0] - unit[:, 1]) ** 2, axis=1))


def uniformity(projections: jax.Array, *, similarity_rows: int = 0) -> jax.Array:
    """Log mean exp(-2 d^2) over all pairs of distinct rows on the unit sphere, in [-8, 0].

    (B, 2, D) -> float32 scalar; 0 when all rows coincide. Wang and Isola, arXiv 2005.10242, t = 2.
    """
    unit = _unit(projections)

    def closeness(similarities: jax.Array, own: jax.Array) -> jax.Array:
        # Squared distances on the unit sphere; each device needs its own rows alone.
        exponents = -2 * (2 - 2 * similarities)
        exponents = jnp.where(_is_self(similarities, own), -jnp.inf, exponents)
        return jax.nn.logsumexp(exponents, axis=1)

    pairs = 2 * len(unit) * (2 * len(unit) - 1)
    total = jax.nn.logsumexp(_by_rows(unit, closeness, similarity_rows))
    return total - jnp.log(jnp.asarray(pairs, unit.dtype))


def _unit(projections: jax.Array) -> jax.Array:
    # float32: at T = 0.1 bf16 logits keep about two digits, and the softmax needs more.
    x = projections.astype(jnp.promote_types(projections.dtype, jnp.float32))
    # Norms are clamped at 1e-6 as in tf.math.l2_normalize, which SimCLR uses: the gradient of a row
    # of zeros stays finite.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=2, keepdims=True), 1e-12))


def _by_rows(
    unit: jax.Array, of_rows: Callable[[jax.Array, jax.Array], jax.Array], at_a_time: int
) -> jax.Array:
    """A function of each row of the similarity matrix.

    Args:
      unit: (B, 2, D).
      of_rows: (similarities (R, 2B) of R rows, their numbers (R,)) -> (R,).
      at_a_time: R, a divisor of 2B; 0: all.

    Returns:
      (2B,).
    """
    unit = unit.reshape(-1, unit.shape[2])
    numbers = jnp.arange(len(unit))
    if at_a_time in (0, len(unit)):
        return of_rows(_similarities(unit, unit), numbers)
    blocks = len(unit) // at_a_time

    # Backward, each block's similarities are computed anew.
    @jax.checkpoint
    def of_block(block: tuple[jax.Array, jax.Array]) -> jax.Array:
        rows, own = block
        return of_rows(_similarities(rows, unit), own)

    # A block is every blocks-th row, not a run of rows: dealt out so, no row leaves its device in
    # the reshape. (For the product the compiler gathers a block's rows and shares the columns.)
    rows = unit.reshape(at_a_time, blocks, -1).swapaxes(0, 1)
    own = numbers.reshape(at_a_time, blocks).T
    return jax.lax.map(of_block, (rows, own)).T.reshape(-1)


def _similarities(rows: jax.Array, unit: jax.Array) -> jax.Array:
    # HIGHEST: the default multiplies float32 as bf16 on TPU and as TF32 on GPU.
    return jnp.matmul(rows, unit.T, precision=jax.lax.Precision.HIGHEST)


def _positives(unit: jax.Array) -> jax.Array:
    return jnp.sum(unit[:, 0] * unit[:, 1], axis=1)


def _is_self(similarities: jax.Array, own: jax.Array) -> jax.Array:
    return jnp.arange(similarities.shape[1])[None, :] == own[:, None]


def _partner(row: jax.Array) -> jax.Array:
    return row ^ 1
