"""Linear probe: features and labels in, solved heads out. Knows nothing of files or config.

Multinomial logistic regression is convex, so it is solved, not tuned: full-batch L-BFGS runs to a
stated gradient norm, for all strengths and all folds in one jitted program. The optimum is
scikit-learn's `LogisticRegression(C=strength)`; only the road to it differs: the search runs in the
principal axes of the features, each scaled by its expected curvature. On ResNet-18 features of
2,000 PCam patches at C = 1 that takes 15 iterations, along the raw axes 249 (measured).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

# Pairs of steps and gradients that L-BFGS remembers; 20 saved 2 of 99 (measured).
MEMORY = 10
# A step ends where the slope along it has fallen to this share. Measured: 99 iterations; 100 with
# 0.01, 105 with 0.5.
SLOPE_LEFT = 0.1
LINE_SEARCH_STEPS = 20


class Heads(NamedTuple):
    """Solved probes for F folds and S strengths, of D features and K classes.

    Fields:
      weight: (F, S, K, D), of standardised features.
      bias: (F, S, K).
      mean, scale: (F, D), feature statistics of the fold's own examples.
      gradient_norm: (F, S), at the solution, of the mean objective in principal axes.
      iterations: (F, S) int32.
    """

    weight: jax.Array
    bias: jax.Array
    mean: jax.Array
    scale: jax.Array
    gradient_norm: jax.Array
    iterations: jax.Array


class NotConverged(ArithmeticError):
    """A probe that stopped short of its optimum: its numbers would measure the solver."""


def fit_linear(
    features: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    *,
    num_classes: int,
    strengths: tuple[float, ...],
    standardize: bool,
    tolerance: float,
    max_iterations: int,
) -> Heads:
    """Solves a probe for each fold and strength.

    Minimises, per fold of n examples, mean cross-entropy + |w|²/(2 C n) with C the strength:
    scikit-learn's objective divided by C n; the bias is not penalised. Two classes are penalised
    as scikit-learn's single logit is (as a softmax at C/2).

    Args:
      features: (n, D) float32 or float64; the result has the same dtype.
      labels: (n,) integers in [0, num_classes).
      folds: (F, n) booleans, the examples that each fold fits. Features are standardised with the
        statistics of these examples only.
      num_classes: K, at least 2.
      strengths: S values of C > 0; smaller shrinks more.
      standardize: to zero mean and unit variance before the penalty is taken; False leaves the
        features as they are.
      tolerance: largest accepted norm of the gradient.
      max_iterations: of L-BFGS.

    Returns:
      Heads for (F, S).

    Raises:
      NotConverged: some gradient norm stayed above the tolerance.
    """
    stop = (tolerance, max_iterations)
    arguments = on_device(features, labels, folds, strengths)
    heads = solve_folds(*arguments, stop, num_classes=num_classes, standardize=standardize)
    norms = np.asarray(heads.gradient_norm)
    # Not `norms > tolerance`: that lets NaN pass.
    if not np.all(norms <= tolerance):
        fold, strength = np.argwhere(~(norms <= tolerance))[0]
        raise NotConverged(
            f"linear probe at strength {strengths[strength]:g}: gradient norm "
            f"{norms[fold, strength]:.1e} after {int(heads.iterations[fold, strength])} iterations "
            f"is above {tolerance:g}; raise max_iterations or leave out the weakest penalties"
        )
    return heads


def on_device(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, strengths: tuple[float, ...]
) -> tuple[jax.Array, ...]:
    """Arguments of `solve_folds`; strengths get the features' dtype."""
    return *map(jnp.asarray, (features, labels, folds)), jnp.asarray(strengths, features.dtype)


def probabilities(heads: Heads, features: np.ndarray, *, fold: int, strength: int) -> np.ndarray:
    """Class probabilities (n, K) of features (n, D), by one fold's head at one strength's index."""
    return np.exp(_log_probabilities(heads, features, fold, strength))


def cross_entropy(
    heads: Heads, features: np.ndarray, labels: np.ndarray, *, fold: int, strength: int
) -> float:
    """Mean cross-entropy of features (n, D) against labels (n,); finite however sure the head."""
    table = _log_probabilities(heads, features, fold, strength)
    return float(-np.mean(table[np.arange(len(labels)), labels], dtype=np.float64))


def _log_probabilities(heads, features, fold, strength):
    # Numpy: as exact as the fit (no TF32), and no program to compile for each number of rows.
    weight, bias, mean, scale = (np.asarray(leaf) for leaf in heads[:4])
    logits = ((features - mean[fold]) / scale[fold]) @ weight[fold, strength].T
    logits = logits + bias[fold, strength]
    logits = logits - logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@functools.partial(jax.jit, static_argnames=("num_classes", "standardize"))
# Full products: TF32 and bf16 passes leave gradients of 1e-3, far from the optimum.
@jax.default_matmul_precision("highest")
def solve_folds(
    features: jax.Array,
    labels: jax.Array,
    folds: jax.Array,
    strengths: jax.Array,
    stop: tuple[float, int],
    *,
    standardize: bool,
    num_classes: int,
) -> Heads:
    """The program of `fit_linear`, which says more; stop: tolerance and max_iterations."""
    targets = jax.nn.one_hot(labels, num_classes, dtype=features.dtype)

    def solve_fold(members):
        weights = (members / members.sum()).astype(features.dtype)
        mean = weights @ features
        variance = weights @ jnp.square(features - mean[None])
        scale = _scale(mean, variance) if standardize else jnp.ones_like(mean)
        centered = (features - mean[None]) / scale[None]
        spread, axes = jnp.linalg.eigh((centered * weights[:, None]).T @ centered)
        solve = functools.partial(
            _solve, centered @ axes, targets, weights, jnp.maximum(spread, 0), *stop
        )
        weight, bias, norm, iterations = jax.vmap(solve)(strengths * members.sum())
        weight = weight @ axes.T
        if not standardize:
            bias, mean = bias - weight @ mean, jnp.zeros_like(mean)
        return Heads(weight, bias, mean, scale, norm, iterations)

    return jax.vmap(solve_fold)(folds)


def _scale(mean, variance):
    # A constant feature (an empty histogram bin) becomes 0 instead of 0/0 or magnified rounding.
    constant = variance <= jnp.square(10 * jnp.finfo(mean.dtype).eps * mean)
    return jnp.where(constant, 1, jnp.sqrt(jnp.where(constant, 1, variance)))


def _solve(features, targets, weights, spread, tolerance, max_iterations, total):
    """One strength: (weight (K, D), bias (K,), gradient norm, iterations); total is C n."""
    classes = targets.shape[1]
    penalty = (1.0 if classes > 2 else 2.0) / total
    # Steps are taken in units of the square root of the curvature expected along each axis.
    unit = jax.lax.rsqrt(spread * (1 - 1 / classes) / classes + penalty)[None]

    def logits_of(params):
        weight, bias = params
        return features @ (weight * unit).T + bias[None]

    def gradient(params, logits):
        residual = weights[:, None] * (jax.nn.softmax(logits) - targets)
        return (residual.T @ features + penalty * params[0] * unit) * unit, residual.sum(0)

    def norm_of(grad):
        return jnp.sqrt(jnp.sum(jnp.square(grad[0] / unit)) + jnp.sum(jnp.square(grad[1])))

    solver = optax.scale_by_lbfgs(memory_size=MEMORY)

    def advance(carry):
        params, logits, grad, state, count = carry
        direction, state = solver.update(grad, state, params)
        direction = jax.tree.map(jnp.negative, direction)
        change = logits_of(direction)
        # The penalty along the line is a parabola: its slope at 0 and its curvature.
        ends = jnp.stack([params[0], direction[0]])
        ridge = penalty * jnp.sum((jnp.square(unit) * direction[0])[None] * ends, axis=(1, 2))
        step = _line_minimum(logits, change, targets, weights, ridge)
        params = jax.tree.map(lambda p, d: p + step * d, params, direction)
        # Afresh: logits summed up step by step drift in float32, and the gradient with them.
        logits = logits_of(params)
        return params, logits, gradient(params, logits), state, count + 1

    def unfinished(carry):
        return (norm_of(carry[2]) > tolerance) & (carry[4] < max_iterations)

    params = (
        jnp.zeros((classes, features.shape[1]), features.dtype),
        jnp.zeros(classes, features.dtype),
    )
    logits = logits_of(params)
    start = (params, logits, gradient(params, logits), solver.init(params), jnp.int32(0))
    params, _, grad, _, count = jax.lax.while_loop(unfinished, advance, start)
    return params[0] * unit, params[1], norm_of(grad), count


def _line_minimum(logits, change, targets, weights, ridge):
    """Step length t > 0 where the objective along the direction is (nearly) least.

    Logits are linear in t, so each trial costs one softmax and no product with the features. The
    objective is convex in t: Newton on its slope, kept inside a bracket. Slopes, not values, are
    compared, because near the optimum values differ by less than their rounding.
    """

    def slopes(t):
        p = jax.nn.softmax(logits + t * change)
        mean = jnp.sum(p * change, axis=1)
        first = weights @ (mean - jnp.sum(targets * change, axis=1)) + ridge[0] + t * ridge[1]
        second = weights @ (jnp.sum(p * jnp.square(change), axis=1) - jnp.square(mean)) + ridge[1]
        return first, second

    def advance(carry):
        t, low, high, first, second, count = carry
        low, high = jnp.where(first < 0, t, low), jnp.where(first < 0, high, t)
        newton = t - first / second
        inside = jnp.where(jnp.isinf(high), 2 * t, (low + high) / 2)
        t = jnp.where((newton > low) & (newton < jnp.minimum(high, 4 * t)), newton, inside)
        return t, low, high, *slopes(t), count + 1

    start = slopes(jnp.zeros_like(ridge[0]))[0]

    def unfinished(carry):
        return (jnp.abs(carry[3]) > SLOPE_LEFT * jnp.abs(start)) & (carry[5] < LINE_SEARCH_STEPS)

    one = jnp.ones_like(start)
    carry = (one, 0 * one, jnp.inf * one, *slopes(one), jnp.int32(0))
    return jax.lax.while_loop(unfinished, advance, carry)[0]
