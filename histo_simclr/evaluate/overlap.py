"""How well predicted masks agree with true ones: Dice, IoU, and F1 of objects. Arrays only.

Everything follows from counts of each image, which add up: over all images, or over a bootstrap's
resample of them. Of pixels, F1 and Dice are the same number.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

# Pixels of this class are not counted (255 in the masks that `histo-simclr prepare` stores).
IGNORE = 255
# Touching at a corner is touching: a thin nucleus drawn aslant is one object.
_EIGHT_NEIGHBORS = np.ones((3, 3), bool)
# Two objects agree in more than half of their union: then each has one partner at most.
_AGREEMENT = 0.5


class Counts(NamedTuple):
    """Counts of n images and K classes.

    Fields:
      pixels: (n, K, K) int64, rows truth, columns prediction.
      objects: (n, K, 3) int64: objects that agree, predicted ones without a partner, true ones
        without. Objects are connected pixels of a class; class 0 too, where one may pass it over.
    """

    pixels: np.ndarray
    objects: np.ndarray


def count(truths: np.ndarray, predictions: np.ndarray, *, num_classes: int) -> Counts:
    """Counts of several images.

    Args:
      truths: (n, H, W) class numbers, IGNORE where none.
      predictions: (n, H, W) class numbers in [0, num_classes).
      num_classes: K.
    """
    pairs = list(zip(truths, predictions, strict=True))
    pixels = [_pixels(*pair, num_classes) for pair in pairs]
    objects = [
        [_objects(truth == each, (predicted == each) & (truth != IGNORE)) for each in classes]
        for classes in [range(num_classes)]
        for truth, predicted in pairs
    ]
    return Counts(np.stack(pixels), np.array(objects, dtype=np.int64))


def values(counts: Counts, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Agreement per class over all images together; NaN for a class that is nowhere.

    Args:
      counts: of n images.
      weights: (R, n), how often each image counts in each of R resamples; None: once.

    Returns:
      dice, iou and object_f1, each (K,), or (R, K) with weights; mean_dice, mean_iou: over the
      classes that occur, () or (R,).
    """
    weights, once = (
        (np.ones((1, len(counts.pixels))), True) if weights is None else (weights, False)
    )
    pixels = np.tensordot(weights, counts.pixels, 1)
    hits = np.diagonal(pixels, axis1=1, axis2=2)
    false = pixels.sum(1) + pixels.sum(2) - 2 * hits
    objects = np.moveaxis(np.tensordot(weights, counts.objects, 1), 2, 0)
    found = {
        "dice": _ratio(2 * hits, 2 * hits + false),
        "iou": _ratio(hits, hits + false),
        "object_f1": _ratio(2 * objects[0], 2 * objects[0] + objects[1] + objects[2]),
    }
    found |= {f"mean_{name}": _mean_of_defined(found[name]) for name in ("dice", "iou")}
    return {name: value[0] if once else value for name, value in found.items()}


def dice_of_images(counts: Counts) -> np.ndarray:
    """(n, K) Dice of each image alone; NaN for a class that neither truth nor prediction has."""
    return values(counts, np.eye(len(counts.pixels)))["dice"]


def foreground_dice(counts: Counts) -> np.ndarray:
    """(n,) mean Dice of each image over its classes but 0; NaN where neither side has any."""
    return _mean_of_defined(dice_of_images(counts)[:, 1:])


def worst_and_best(scores: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the `count` worst images, worst first, then of the `count` best, best last.

    Args:
      scores: (n,); NaN are passed over. Of fewer than 2 · count images, each is named once.
    """
    ordered = np.argsort(scores, kind="stable")[: np.sum(~np.isnan(scores))]
    return ordered if len(ordered) <= 2 * count else np.r_[ordered[:count], ordered[-count:]]


def _pixels(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    counted = truth != IGNORE
    cells = truth[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def _objects(truth: np.ndarray, predicted: np.ndarray) -> tuple[int, int, int]:
    """(matched, only predicted, only true) of two (H, W) booleans."""
    (true, trues), (found, founds) = (
        ndimage.label(each, structure=_EIGHT_NEIGHBORS) for each in (truth, predicted)
    )
    both = (true > 0) & (found > 0)
    pairs, common = np.unique(np.stack((true[both], found[both])), axis=1, return_counts=True)
    areas = np.bincount(true.ravel())[pairs[0]] + np.bincount(found.ravel())[pairs[1]]
    matched = int(np.sum(common > _AGREEMENT * (areas - common)))
    return matched, founds - matched, trues - matched


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    result = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def _mean_of_defined(table: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(table)
    return _ratio(np.where(defined, table, 0).sum(-1), defined.sum(-1))
