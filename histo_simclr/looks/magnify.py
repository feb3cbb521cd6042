"""How features move when the same places are seen enlarged: crops of drawn patches, encoded."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from histo_simclr.evaluate import drift, neighbors
from histo_simclr.looks.sample import Sample, resized, spread

# Sides of the crops as parts of the patch: about 1, 1.19, 1.41, 1.69 and 2 times magnified.
FRACTIONS = (1.0, 0.84, 0.71, 0.59, 0.5)


class Enlarged(NamedTuple):
    """How features of the same places change.

    Fields:
      drift: with `mpp` relative to that of the patches, M values, ascending to 1.
      moved: (M,) mean cosine distance between the central crop and that of the top left corner,
        which is as much enlarged but shows a little other tissue; 0 for the whole patch. Drift no
        larger than this may be due to what is cut off.
    """

    drift: drift.Drift
    moved: np.ndarray


def magnified(
    patches: np.ndarray, fraction: float, *, side: int, corner: bool = False
) -> np.ndarray:
    """Crops, resized: the center, or the top left corner.

    Args:
      patches: (B, S, S, 3) uint8.
      fraction: of S, in (0, 1]; rounded so that the crop lies in the center.
      side: of the result.
      corner: of the same size as the center.

    Returns:
      (B, side, side, 3) uint8.
    """
    whole = patches.shape[1]
    margin = _margin(whole, fraction)
    start = 0 if corner else margin
    stop = start + whole - 2 * margin
    return resized(patches[:, start:stop, start:stop], side)


def drifts(
    sample: Sample,
    encode: Callable[[np.ndarray], np.ndarray],
    *,
    places: int,
    batch_size: int,
    seed: int,
) -> dict[str, Enlarged]:
    """Drift of the places of each task.

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
    centers, corners = (
        np.stack(
            [
                _encoded(
                    magnified(sample.patches, fraction, side=side, corner=corner),
                    encode,
                    batch_size,
                )
                for fraction in FRACTIONS
            ]
        )
        for corner in (False, True)
    )
    relative = np.array([(whole - 2 * margin) / whole for margin in margins])
    found = {}
    for name in np.unique(sample.task).tolist():
        mine = np.flatnonzero(sample.task == name)
        center, corner = centers[:, mine], corners[:, mine]
        place = np.tile(mine.astype(str), len(FRACTIONS))
        moved = [_distance(*pair) for pair in zip(center, corner, strict=True)]
        found[name] = Enlarged(
            drift.drift(center.reshape(len(place), -1), np.repeat(relative, len(mine)), place),
            # FRACTIONS descend, and resolutions of a drift ascend.
            np.array(moved[::-1]),
        )
    return found


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    unit = (neighbors.unit_length(each.astype(np.float64)) for each in (first, second))
    return float(1 - np.prod([*unit], axis=0).sum(1).mean())


def _margin(whole: int, fraction: float) -> int:
    return round(whole * (1 - fraction) / 2)


def _encoded(patches: np.ndarray, encode, batch_size: int) -> np.ndarray:
    """(n, D); the last batch is filled up, so that one program serves all."""
    found = []
    for start in range(0, len(patches), batch_size):
        batch = np.arange(start, start + batch_size) % len(patches)
        found.append(np.asarray(encode(patches[batch])))
    return np.concatenate(found)[: len(patches)]
