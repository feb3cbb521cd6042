"""k-means of features, for montages: Lloyd's steps from k-means++ starts, in one jitted program."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Clusters(NamedTuple):
    """The best of several k-means.

    Fields:
      assignment: (n,) int32, cluster of each row.
      centers: (k, D) float32.
      inertia: sum of squared distances to the own center.
    """

    assignment: np.ndarray
    centers: np.ndarray
    inertia: float


def kmeans(
    features: np.ndarray, *, count: int, restarts: int, max_iterations: int, seed: int
) -> Clusters:
    """Clusters rows; equal arguments give equal clusters.

    Starts by k-means++ (Arthur, Vassilvitskii 2007), each center drawn with probability
    proportional to the squared distance from those before it. A cluster that runs empty keeps its
    center.

    Args:
      features: (n, D) floats, as they shall be compared: scale them first if need be.
      count: k, at most n.
      restarts: starts, of which the one with the least inertia is returned.
      max_iterations: of Lloyd's steps; they end earlier when no row changes its cluster.
      seed: of the starts.
    """
    keys = jax.random.split(jax.random.key(seed), restarts)
    # About the mean, so that squares of distances lose no digits to the offset.
    mean = features.mean(0, dtype=np.float64)
    centered = jnp.asarray(features - mean, jnp.float32)
    with jax.default_matmul_precision("highest"):
        assignment, centers, inertia = _best(keys, centered, count, max_iterations)
    centers = np.asarray(centers) + mean
    return Clusters(np.asarray(assignment), centers.astype(np.float32), float(inertia))


def typical(features: np.ndarray, clusters: Clusters, *, count: int) -> np.ndarray:
    """The rows nearest to each center among its own, nearest first.

    Returns:
      (k, count) int64; -1 where a cluster has fewer.
    """
    found = np.full((len(clusters.centers), count), -1)
    for number, center in enumerate(clusters.centers):
        members = np.flatnonzero(clusters.assignment == number)
        distance = np.sum((features[members] - center) ** 2, axis=1)
        chosen = members[np.argsort(distance, kind="stable")[:count]]
        found[number, : len(chosen)] = chosen
    return found


@functools.partial(jax.jit, static_argnames=("count",))
def _best(keys, features, count, max_iterations):
    squares = jnp.sum(jnp.square(features), axis=1)

    def distances(centers):
        """(n, k) squared distances."""
        products = features @ centers.T
        norms = jnp.sum(jnp.square(centers), axis=1)
        return jnp.maximum(squares[:, None] - 2 * products + norms[None], 0)

    def start(key):
        first, *others = jax.random.split(key, count)
        row = jax.random.randint(first, (), 0, len(features))
        centers = jnp.broadcast_to(features[row][None], (count, features.shape[1]))
        nearest = distances(centers[:1])[:, 0]
        for number, other in enumerate(others, 1):
            row = jax.random.categorical(other, jnp.log(nearest))
            centers = centers.at[number].set(features[row])
            nearest = jnp.minimum(nearest, distances(features[row][None])[:, 0])
        return centers

    def step(carry):
        centers, before, _, steps = carry
        assignment = jnp.argmin(distances(centers), axis=1)
        members = jax.nn.one_hot(assignment, count, dtype=features.dtype)
        sizes = members.sum(0)[:, None]
        centers = jnp.where(sizes > 0, members.T @ features / jnp.maximum(sizes, 1), centers)
        return centers, assignment, jnp.any(assignment != before), steps + 1

    def unfinished(carry):
        return carry[2] & (carry[3] < max_iterations)

    def run(key):
        nowhere = jnp.full(len(features), -1)
        centers, *_ = jax.lax.while_loop(
            unfinished, step, (start(key), nowhere, jnp.bool_(True), jnp.int32(0))
        )
        table = distances(centers)
        return jnp.argmin(table, axis=1), centers, jnp.sum(jnp.min(table, axis=1))

    # One after the other: side by side, distances would take restarts times the memory.
    assignment, centers, inertia = jax.lax.map(run, keys)
    best = jnp.argmin(inertia)
    return assignment[best], centers[best], inertia[best]
