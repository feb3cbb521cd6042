"""Patches of slides as bags, and slides of patients as one answer. Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError


class Bags(NamedTuple):
    """Slides as padded bags of patch features.

    Fields:
      features: (S, P, D) float32, 0 where there is no patch; P is the largest bag.
      mask: (S, P) booleans, True for patches.
      rows: (S, P) integers, the row that each patch had among all; -1 where there is none.
      names: (S,) slides, sorted.
    """

    features: np.ndarray
    mask: np.ndarray
    rows: np.ndarray
    names: np.ndarray

    def take(self, slides: np.ndarray) -> "Bags":
        """The bags at an index or mask of slides."""
        return Bags(*(field[slides] for field in self))


def bags_of(
    features: np.ndarray, slides: np.ndarray, *, most: int | None = None, seed: int = 0
) -> Bags:
    """Patches brought together by slide.

    Args:
      features: (n, D).
      slides: (n,) names.
      most: patches a slide; of a larger one so many are drawn. None: all.
      seed: of that draw.

    Raises:
      InputError: no patch, another length, or `most` below 1.
    """
    _check(features, slides)
    if most is not None and most < 1:
        raise InputError(f"cannot be {most}", where="most", way_out="give 1 or more")
    names, slide = np.unique(slides, return_inverse=True)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(slide == number) for number in range(len(names))]
    members = [
        each if most is None or len(each) <= most else np.sort(rng.choice(each, most, False))
        for each in members
    ]
    rows = np.full((len(names), max(map(len, members))), -1)
    for row, each in zip(rows, members, strict=True):
        row[: len(each)] = each
    mask = rows >= 0
    padded = np.where(mask[..., None], features[rows], 0).astype(np.float32)
    return Bags(padded, mask, rows, names)


def mean_pool(features: np.ndarray, slides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean feature of each slide.

    Args:
      features: (n, D).
      slides: (n,) names.

    Returns:
      (S, D) float32, and the S names, sorted.

    Raises:
      InputError: no patch, or another length.
    """
    _check(features, slides)
    names, slide = np.unique(slides, return_inverse=True)
    sums = np.zeros((len(names), features.shape[1]))
    np.add.at(sums, slide, features)
    return (sums / np.bincount(slide)[:, None]).astype(np.float32), names


def one_label(labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label that all examples of a group share: of patches to slides, of slides to patients.

    Args:
      labels: (n,) integers.
      groups: (n,) names.

    Returns:
      (G,) labels, and the G names, sorted.

    Raises:
      InputError: a group with two labels.
    """
    names, first, group = np.unique(groups, return_index=True, return_inverse=True)
    other = np.flatnonzero(labels != labels[first][group])
    if len(other):
        name, label = groups[other[0]], labels[first][group[other[0]]]
        raise InputError(
            f"{name} has the labels {label} and {labels[other[0]]}",
            where="labels",
            way_out="give each slide and patient one label, or evaluate patches",
        )
    return labels[first], names


def mean_of_group(probabilities: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean class probabilities of a group's examples: what a patient's slides say together.

    Args:
      probabilities: (n, K).
      groups: (n,) names.

    Returns:
      (G, K), and the G names, sorted.
    """
    names, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), probabilities.shape[1]))
    np.add.at(sums, group, probabilities)
    return sums / np.bincount(group)[:, None], names


def _check(features: np.ndarray, slides: np.ndarray) -> None:
    if not len(features) or len(slides) != len(features):
        raise InputError(
            f"{len(slides)} slide names for {len(features)} patches",
            where="slides",
            way_out="give one slide name a patch, and one patch or more",
        )
