"""Dice, IoU and F1 of objects from counts of each image: numpy arrays in, numbers out.

Of the form of `metrics.values`: many weightings of the same images at once, so that the same
bootstrap and the same permutations serve them.
"""

import numpy as np


def counts_of(
    confusions: np.ndarray, objects: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(truth, predictions) as `values` takes them.

    The truth of two encoders on the same images is the same, so that they can be swapped.

    Args:
      confusions: (n, K, K) pixels: rows truth, columns found.
      objects: (n, K, 3) as in `overlap.Counts`, or None.
    """
    right = np.diagonal(confusions, axis1=1, axis2=2)
    predictions = np.stack([confusions.sum(1), right], axis=-1)
    if objects is not None:
        predictions = np.concatenate([predictions, objects], axis=-1)
    return confusions.sum(2), predictions


def values(
    truth: np.ndarray, predictions: np.ndarray, *, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Dice and IoU, each the mean over the classes that occur in the truth or the predictions.

    Pixels are pooled over images before the ratio is taken: an image without a class has no
    Dice of its own. Dice of pixels is their F1.

    Args:
      truth: (n, K) pixels of each class in each image.
      predictions: (n, K, 2) pixels predicted of the class, and those of them that are right; or
        (n, K, 5), with objects that agree, predicted ones without a partner, true ones without.
      weights: (R, n), how often each image counts; None: once.

    Returns:
      dice and iou, with objects object_f1, and dice_0, iou_0 … of each class: scalars, or (R,);
      NaN where undefined.
    """
    once = weights is None
    weights = np.ones((1, len(truth))) if once else weights
    wanted = weights @ truth
    predicted, right, *objects = (weights @ each for each in np.moveaxis(predictions, 2, 0))
    by_class = {
        "dice": _ratio(2 * right, wanted + predicted),
        "iou": _ratio(right, wanted + predicted - right),
    }
    if objects:
        by_class["object_f1"] = _ratio(2 * objects[0], 2 * objects[0] + objects[1] + objects[2])
    found = {}
    for name, table in by_class.items():
        defined = ~np.isnan(table)
        found[name] = _ratio(np.where(defined, table, 0).sum(1), defined.sum(1))
        found |= {f"{name}_{number}": column for number, column in enumerate(table.T)}
    return {name: value[0] if once else value for name, value in found.items()}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
