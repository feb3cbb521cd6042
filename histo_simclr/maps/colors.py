"""Clusters and main components of features: one set for all slides, so that colors compare."""

from typing import NamedTuple

import numpy as np

from histo_simclr.evaluate import clusters, neighbors

# Okabe and Ito's colors but black, then others that are told apart from them and from H&E.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#F0E442", "#56B4E9", "#D55E00", "#CC79A7", "#332288")
PALETTE += ("#AAFF55", "#882255", "#8B5A00", "#999999")
COMPONENTS = 3
_RESTARTS, _ITERATIONS = 4, 100
# Components below and above are full dark and full bright: outliers would take all the colors.
_DARKEST, _BRIGHTEST = 2.0, 98.0


class Fitted(NamedTuple):
    """What features are compared with.

    Fields:
      centers: (k, D) of clusters of unit-length features, the largest cluster first.
      mean: (D,) of unit-length features.
      axes: (3, D), along which they vary most; rows of 0 where there are fewer.
      low, high: (3,) values of the components that become 0 and 255.
    """

    centers: np.ndarray
    mean: np.ndarray
    axes: np.ndarray
    low: np.ndarray
    high: np.ndarray


def fit(features: np.ndarray, *, cluster_count: int, seed: int) -> Fitted:
    """Clusters and components of a sample of all slides; equal arguments give equal results.

    Args:
      features: (n, D) float32, n at least 1; compared by their directions.
      cluster_count: k, of which there are fewer when n is smaller.
      seed: of k-means' starts.
    """
    from sklearn.decomposition import PCA

    unit = neighbors.unit_length(features)
    found = clusters.kmeans(
        unit,
        count=min(cluster_count, len(unit)),
        restarts=_RESTARTS,
        max_iterations=_ITERATIONS,
        seed=seed,
    )
    sizes = np.bincount(found.assignment, minlength=len(found.centers))
    # An empty one, of features that are all alike, would be a color without patches.
    order = [each for each in np.argsort(-sizes, kind="stable") if sizes[each]]
    mean = unit.mean(0, dtype=np.float64)
    axes = np.zeros((COMPONENTS, unit.shape[1]))
    if np.ptp(unit, axis=0).any():
        count = min(COMPONENTS, *unit.shape)
        # Exact, and its signs are fixed: the random solver would depend on one more seed.
        fitted = PCA(count, svd_solver="full" if len(unit) < unit.shape[1] else "covariance_eigh")
        axes[:count] = fitted.fit(unit.astype(np.float64)).components_
    values = (unit - mean) @ axes.T
    low, high = np.percentile(values, (_DARKEST, _BRIGHTEST), axis=0)
    return Fitted(found.centers[order], mean, axes, low, high)


def assign(fitted: Fitted, features: np.ndarray) -> np.ndarray:
    """(n,) int64, the nearest cluster of each row of features (n, D)."""
    unit = neighbors.unit_length(features) - fitted.mean
    centers = fitted.centers - fitted.mean
    # |x - c|² without |x|², which is the same for all centers.
    return np.argmin(np.sum(centers**2, axis=1) - 2 * unit @ centers.T, axis=1)


def components(fitted: Fitted, features: np.ndarray) -> np.ndarray:
    """(n, 3) float64, main components of features (n, D)."""
    return (neighbors.unit_length(features) - fitted.mean) @ fitted.axes.T


def as_rgb(fitted: Fitted, values: np.ndarray) -> np.ndarray:
    """(n, 3) components → (n, 3) uint8: red, green, blue; gray where all patches are alike."""
    span = fitted.high - fitted.low
    flat = span <= 1e-12
    share = np.where(flat, 0.5, (values - fitted.low) / np.where(flat, 1, span))
    return np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)


def typical(fitted: Fitted, features: np.ndarray, *, count: int) -> np.ndarray:
    """The rows of features (n, D) nearest to each center: (k, count), -1 where there are fewer."""
    unit = neighbors.unit_length(features)
    found = clusters.Clusters(assign(fitted, features), fitted.centers, 0.0)
    return clusters.typical(unit, found, count=count)


def rgb_of(color: str) -> tuple[int, int, int]:
    """`#0072B2` → (0, 114, 178)."""
    return tuple(int(color[start : start + 2], 16) for start in (1, 3, 5))
