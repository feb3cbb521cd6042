"""How features move when the same places are seen enlarged: crops of drawn patches, encoded."""

from collections.abc import Callable

import numpy as np

from histo_simclr.evaluate import drift
from histo_simclr.evaluate.sample_patches import Sample, resized, spread

# Sides of the crops as parts of the patch: about 1, 1.19, 1.41, 1.69 and 2 times magnified.
FRACTIONS = (1.0, 0.84, 0.71, 0.59, 0.5)


def magnified(patches: np.ndarray, fraction: float, *, side: int) -> np.ndarray:
    """Central crops, resized.

    Args:
      patches: (B, S, S, 3) uint8.
      fraction: of S, in (0, 1]; rounded so that the crop lies in the center.
      side: of the result.

    Returns:
      (B, side, side, 3) uint8.
    """
    whole = patches.shape[1]
    margin = _margin(whole, fraction)
    return resized(patches[:, margin : whole - margin, margin : whole - margin], side)


def drifts(
    sample: Sample,
    encode: Callable[[np.ndarray], np.ndarray],
    *,
    places: int,
    batch_size: int,
    seed: int,
) -> dict[str, drift.Drift]:
    """Drift of each task; `mpp` of it is relative to that of the patches.

    Every crop is brought to the side of the smallest, so that all are equally sharp and only the
    magnification differs.

    Args:
      sample: of one side S.
      encode: (B, s, s, 3) uint8 → (B, D), always of the same B and s.
      places: patches that are enlarged, spread evenly over tasks and classes.
      batch_size: B. Does not change the result.
      seed: of the choice.
    """
    cells = np.char.add(np.char.add(sample.task, " "), sample.label)
    sample = sample.take(spread(cells, sample.group, places, seed=seed))
    whole = sample.patches.shape[1]
    margins = [_margin(whole, fraction) for fraction in FRACTIONS]
    side = whole - 2 * max(margins)
    features = [
        _encoded(magnified(sample.patches, fraction, side=side), encode, batch_size)
        for fraction in FRACTIONS
    ]
    relative = np.repeat([(whole - 2 * margin) / whole for margin in margins], len(sample.row))
    place = np.tile(np.arange(len(sample.row)).astype(str), len(FRACTIONS))
    task = np.tile(sample.task, len(FRACTIONS))
    stacked = np.concatenate(features)
    return {
        name: drift.drift(stacked[task == name], relative[task == name], place[task == name])
        for name in np.unique(sample.task).tolist()
    }


def _margin(whole: int, fraction: float) -> int:
    return round(whole * (1 - fraction) / 2)


def _encoded(patches: np.ndarray, encode, batch_size: int) -> np.ndarray:
    """(n, D); the last batch is filled up, so that one program serves all."""
    found = []
    for start in range(0, len(patches), batch_size):
        batch = np.arange(start, start + batch_size) % len(patches)
        found.append(np.asarray(encode(patches[batch])))
    return np.concatenate(found)[: len(patches)]
