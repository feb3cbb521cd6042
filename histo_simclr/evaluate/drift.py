"""How far features of the same places move when the magnification changes: arrays in, table out."""

from typing import NamedTuple

import numpy as np

from histo_simclr.evaluate import neighbors


class Drift(NamedTuple):
    """Cosine distances (1 - cosine, 0 to 2) at M resolutions; NaN where nothing is to be averaged.

    Fields:
      mpp: (M,) µm/px, ascending.
      distance: (M, M), mean over places seen at both resolutions; symmetric, 0 on the diagonal.
      places: (M, M) int64, how many these are.
      spread: (M,) mean distance between different places at one resolution. Drift as large as this
        means that the resolution matters as much as the place.
    """

    mpp: np.ndarray
    distance: np.ndarray
    places: np.ndarray
    spread: np.ndarray


def drift(features: np.ndarray, mpp: np.ndarray, places: np.ndarray) -> Drift:
    """Compares the features of each place at each pair of resolutions.

    Args:
      features: (n, D).
      mpp: (n,) µm/px, compared after rounding to 0.001.
      places: (n,) names; equal ones are the same place of the same slide.

    Raises:
      ValueError: a place occurs twice at one resolution.
    """
    values, resolution = np.unique(np.round(mpp, 3), return_inverse=True)
    names, place = np.unique(places, return_inverse=True)
    if len(np.unique(resolution * len(names) + place)) < len(features):
        raise ValueError("a place occurs twice at one resolution")
    unit = neighbors.unit_length(features).astype(np.float64)
    row = np.full((len(values), len(names)), -1)
    row[resolution, place] = np.arange(len(features))
    distance = np.full((len(values),) * 2, np.nan)
    shared = np.zeros((len(values),) * 2, np.int64)
    for first, one in enumerate(row):
        for second, other in enumerate(row):
            both = (one >= 0) & (other >= 0)
            shared[first, second] = both.sum()
            if both.any():
                cosines = np.sum(unit[one[both]] * unit[other[both]], axis=1)
                distance[first, second] = 0 if first == second else 1 - cosines.mean()
    spread = np.array([_spread(unit[each[each >= 0]]) for each in row])
    return Drift(values, distance, shared, spread)


def _spread(unit: np.ndarray) -> float:
    """1 - the mean cosine of all pairs of different rows, by the length of their sum."""
    count = len(unit)
    if count < 2:
        return float("nan")
    return float(1 - (np.sum(unit.sum(0) ** 2) - np.sum(unit**2)) / (count * (count - 1)))
