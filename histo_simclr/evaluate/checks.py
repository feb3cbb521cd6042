"""What every protocol asks of its arrays before it fits: one clear line instead of a NaN result."""

import numpy as np

from histo_simclr.errors import InputError


def check_features(train: np.ndarray, test: np.ndarray, *, where: object = "features") -> None:
    """Refuses features that no head can be fitted on.

    Args:
      train, test: should be (n, D) and (m, D), finite, n, m, D >= 1.
      where: names the features in errors.

    Raises:
      InputError: another shape, an empty split, a NaN or infinity, or different D.
    """
    for name, part in (("training", train), ("test", test)):
        if part.ndim != 2 or not part.size:
            raise InputError(
                f"{name} features have the shape {part.shape}",
                where=where,
                way_out="give (examples, dimensions), one or more of each",
            )
        bad = np.flatnonzero(~np.isfinite(part).all(1))
        if len(bad):
            raise InputError(
                f"{len(bad)} of {len(part)} rows of the {name} features hold NaN or infinity "
                f"(the first is row {bad[0]})",
                where=where,
                way_out="extract them again from a checkpoint whose loss stayed finite",
            )
    if train.shape[1] != test.shape[1]:
        raise InputError(
            f"training features have {train.shape[1]} dimensions, test features {test.shape[1]}",
            where=where,
            way_out="extract both with one encoder",
        )


def check_labels(
    labels: np.ndarray, *, count: int, num_classes: int, where: object = "labels"
) -> None:
    """Refuses labels that are not one of K classes for each of `count` examples, all of them used.

    Raises:
      InputError: another length, not whole numbers, outside [0, K), fewer than two classes, or a
        class without example.
    """
    if labels.shape != (count,):
        raise InputError(
            f"labels have the shape {labels.shape}, there are {count} training examples",
            where=where,
            way_out="give one label an example",
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"labels are {labels.dtype}", where=where, way_out="give class numbers from 0 on"
        )
    if num_classes < 2:
        raise InputError(
            f"{num_classes} class", where=where, way_out="a classifier needs two classes or more"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(
            f"label {wrong} is outside 0 to {num_classes - 1}",
            where=where,
            way_out="number the classes from 0 on, without gaps",
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(missing):
        raise InputError(
            f"class {missing[0]} of {num_classes} has no training example",
            where=where,
            way_out="add examples of this class, leave it out, or take a larger share of labels",
        )


def check_targets(
    targets: np.ndarray,
    *,
    count: int,
    bounds: tuple[float, float],
    where: object = "targets",
) -> None:
    """Refuses regression targets that are not one finite number in `bounds` for each example.

    Raises:
      InputError: another length, NaN or infinity, or outside the bounds (which may be infinite).
    """
    if targets.shape != (count,):
        raise InputError(
            f"targets have the shape {targets.shape}, there are {count} examples",
            where=where,
            way_out="give one target an example",
        )
    bad = np.flatnonzero(~np.isfinite(targets))
    if len(bad):
        raise InputError(
            f"{len(bad)} of {count} targets are NaN or infinite (the first is row {bad[0]})",
            where=where,
            way_out="leave out the examples without a target",
        )
    outside = np.flatnonzero((targets < bounds[0]) | (targets > bounds[1]))
    if len(outside):
        raise InputError(
            f"target {targets[outside[0]]:g} of row {outside[0]} is outside "
            f"{bounds[0]:g} to {bounds[1]:g}",
            where=where,
            way_out="mend the targets, or state the bounds that hold for them",
        )
