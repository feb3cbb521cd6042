"""Do features tell the scanner rather than the tissue? Arrays in, numbers out.

Two views of it: how well a probe names the cohort of slides it has not seen, beside how well it
names the class; and whose patches lie next to each other.
"""

from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import heads, metrics, neighbors
from histo_simclr.evaluate.folds import grouped_folds
from histo_simclr.evaluate.probe import MAX_ITERATIONS, TOLERANCE


class Separability(NamedTuple):
    """How well a probe tells K labels apart in groups that it was not fitted on.

    Fields:
      balanced_accuracy, low, high: mean recall with its 95 % interval by groups; NaN where fewer
        than two labels could be judged, or where whole groups leave a label in one part alone.
      chance: 1 / K.
      labels: those judged.
      left_out: those with one group only, which cannot be told from the group itself.
    """

    balanced_accuracy: float
    low: float
    high: float
    chance: float
    labels: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def above_chance(self) -> float:
        """0 at chance, 1 when every group is told right: comparable between numbers of labels."""
        return (self.balanced_accuracy - self.chance) / (1 - self.chance)


class Contrast(NamedTuple):
    """What features tell of the cohort (or scanner, or stain) against what they tell of the class.

    Fields:
      nuisance, tissue: separability of either.
      association: Cramér's V between the two labels, 0 to 1. Near 1 each cohort has its own class,
        and to name one is to name the other: then the contrast says nothing.
    """

    nuisance: Separability
    tissue: Separability
    association: float


class Mixing(NamedTuple):
    """Whose patches lie next to each other; neighbors of the own group do not count.

    Fields:
      other: share of neighbors from another cohort.
      expected: the same if neighbors were drawn blindly: what `other` is without batch effect.
      robustness: of neighbors that agree in just one of class and cohort, the share that agrees in
        the class (robustness index, Kömen et al. 2025, arXiv 2507.17845); NaN where none does.
    """

    other: float
    expected: float
    robustness: float


def contrast(
    features: np.ndarray,
    nuisance: np.ndarray,
    classes: np.ndarray,
    groups: np.ndarray,
    *,
    folds: int,
    strength: float,
    resamples: int,
    seed: int,
) -> Contrast:
    """Separability of the nuisance and of the class, by the same groups.

    Args:
      features, groups, folds, strength, resamples, seed: see `separability`.
      nuisance, classes: (n,) strings.
    """
    from scipy.stats import contingency

    options = {"folds": folds, "strength": strength, "resamples": resamples, "seed": seed}
    table = contingency.crosstab(nuisance, classes).count
    # Of one label only, nothing can be associated.
    association = contingency.association(table, method="cramer") if min(table.shape) > 1 else 0.0
    return Contrast(
        separability(features, nuisance, groups, **options),
        separability(features, classes, groups, **options),
        float(association),
    )


def separability(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    folds: int,
    strength: float,
    resamples: int,
    seed: int,
) -> Separability:
    """Cross-validates a linear probe over whole groups.

    Args:
      features: (n, D) float32; several copies are held, so draw some thousands of rows first.
      labels: (n,) strings, such as the cohort.
      groups: (n,) strings, slides or patients: never both fitted and judged at once.
      folds: largest number of parts, 2 or more; fewer where a label has fewer groups.
      strength: C of the probe, on standardized features; one for all encoders that are compared.
      resamples: of the bootstrap.
      seed: of parts and bootstrap.
    """
    names, label = np.unique(labels, return_inverse=True)
    own = [np.unique(groups[label == number]) for number in range(len(names))]
    judged = np.array([len(each) > 1 for each in own])
    left_out = tuple(names[~judged].tolist())
    kept = judged[label]
    names, label = np.unique(labels[kept], return_inverse=True)
    nan = float("nan")
    if len(names) < 2:
        return Separability(nan, nan, nan, nan, tuple(names.tolist()), left_out)
    features, groups = features[kept], groups[kept]
    parts = min(folds, *(len(each) for each in own if len(each) > 1))
    try:
        part = grouped_folds(label, groups, folds=parts, seed=seed)
    except InputError:
        return Separability(nan, nan, nan, nan, tuple(names.tolist()), left_out)
    parts = part.max() + 1
    solved = heads.fit_linear(
        features,
        label,
        part[None] != np.arange(parts)[:, None],
        num_classes=len(names),
        strengths=(strength,),
        standardize=True,
        tolerance=TOLERANCE,
        max_iterations=MAX_ITERATIONS,
    )
    table = np.zeros((len(label), len(names)))
    for number in range(parts):
        table[part == number] = heads.probabilities(
            solved, features[part == number], fold=number, strength=0
        )
    drawn = metrics.bootstrap(
        label, {"": table}, groups, resamples=resamples, seed=seed, metric=_balanced_accuracy
    )
    value = float(_balanced_accuracy(label, table)["balanced_accuracy"])
    interval = metrics.interval(drawn[""]["balanced_accuracy"])
    return Separability(value, *interval, 1 / len(names), tuple(names.tolist()), left_out)


def mixing(
    features: np.ndarray,
    nuisance: np.ndarray,
    classes: np.ndarray,
    groups: np.ndarray,
    *,
    count: int,
) -> Mixing:
    """Looks at the nearest neighbors of each patch by cosine.

    Args:
      features: (n, D).
      nuisance, classes: (n,) strings, such as cohort and tissue class.
      groups: (n,) names of slides or patients.
      count: neighbors of each patch.
    """
    found, _ = neighbors.nearest(
        features, features, count=count, query_groups=groups, gallery_groups=groups
    )
    there = found >= 0
    is_other = (nuisance[found] != nuisance[:, None])[there]
    is_same_class = (classes[found] == classes[:, None])[there]
    # Of those that could be neighbors: all but the own group.
    cohort_names, cohort = np.unique(nuisance, return_inverse=True)
    group_names, group = np.unique(groups, return_inverse=True)
    table = np.zeros((len(group_names), len(cohort_names)))
    np.add.at(table, (group, cohort), 1)
    own = table.sum(0)[cohort] - table[group, cohort]
    could = len(features) - table.sum(1)[group]
    expected = 1 - np.mean((own / np.maximum(could, 1))[could > 0]) if could.any() else np.nan
    biology = np.sum(is_same_class & is_other)
    decided = biology + np.sum(~is_same_class & ~is_other)
    return Mixing(
        float(is_other.mean()) if there.any() else float("nan"),
        float(expected),
        float(biology / decided) if decided else float("nan"),
    )


def _balanced_accuracy(
    labels: np.ndarray, probabilities: np.ndarray, *, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    matrix = metrics.confusion(
        labels, probabilities.argmax(1), num_classes=probabilities.shape[1], weights=weights
    )
    return {"balanced_accuracy": metrics.balanced_accuracy(matrix)}
