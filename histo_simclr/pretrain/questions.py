"""What is asked of the features during the training: of which patches, and what the answer is.

About tissue: a kNN and a linear probe on a labelled set. About its opposite: whose patches lie next
to each other in the mix. The figures compare the steps of one run; what an encoder is worth, the
evaluation says. Knows no devices.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.evaluate import batch_effect, knn, metrics, neighbors, ridge, splits

# Answer → what it is where features say nothing, a constant of the data, which comes with it.
CHANCE = {
    "online_knn": "online_chance",
    "online_probe": "online_chance",
    "online_other_cohort": "online_other_cohort_expected",
}


class Question(Protocol):
    """Patches to embed, and what their features answer.

    Fields:
      rows: where records lie.
      chosen: (n,) numbers of those to embed.
      max_corrupt: share of the records that may be corrupt, as in `reader.read`.
    """

    rows: records.Rows
    chosen: np.ndarray
    max_corrupt: float

    def ask(self, features: np.ndarray) -> dict[str, float]:
        """Finite features (n, D) → figures by name."""

    def describe(self) -> str:
        """What is asked, of how much; a part of a sentence."""


class Tissue(NamedTuple):
    """Are classes of tissue told apart? One part of a labelled set is fitted, the other judged.

    Fields:
      rows, chosen, max_corrupt: see `Question`.
      labels: (n,) class numbers.
      held: (n,) booleans, the judged part.
      classes: K names.
      unit: what was held out whole: "patient", "slide" or "patch".
      neighbors: of the kNN.
      strength: alpha of ridge regression on the classes, on standardized features.
    """

    rows: records.Rows
    chosen: np.ndarray
    max_corrupt: float
    labels: np.ndarray
    held: np.ndarray
    classes: list[str]
    unit: str
    neighbors: int
    strength: float

    def ask(self, features: np.ndarray) -> dict[str, float]:
        """online_knn, online_probe: balanced accuracies in [0, 1]; online_chance: 1 / K."""
        fitted, judged = features[~self.held], features[self.held]
        is_class = np.eye(len(self.classes))[self.labels[~self.held]]
        tables = {
            "online_knn": _votes(fitted, judged, is_class, self.neighbors),
            "online_probe": ridge.predict(
                fitted, judged, targets=is_class, strengths=(self.strength,)
            )[0],
        }
        figures = {"online_chance": 1 / len(self.classes)}
        for name, table in tables.items():
            matrix = metrics.confusion(
                self.labels[self.held], table.argmax(1), num_classes=len(self.classes)
            )
            figures[name] = float(metrics.balanced_accuracy(matrix))
        return figures

    def describe(self) -> str:
        """See `Question`."""
        judged = int(self.held.sum())
        return (
            f"kNN and probe of {len(self.classes)} classes ({len(self.held) - judged:,} patches "
            f"fitted, {judged:,} judged, held out by {self.unit})"
        )


class Cohorts(NamedTuple):
    """Do features lie by cohort?

    Fields:
      rows, chosen, max_corrupt: see `Question`.
      cohorts: (n,) names.
      groups: (n,) names of patients or slides; where unknown, each patch has its own.
      neighbors: of each patch; those of its own group do not count.
    """

    rows: records.Rows
    chosen: np.ndarray
    max_corrupt: float
    cohorts: np.ndarray
    groups: np.ndarray
    neighbors: int

    def ask(self, features: np.ndarray) -> dict[str, float]:
        """online_other_cohort: share of neighbors from another cohort; …_expected: if by chance."""
        found = batch_effect.mixing(
            features, self.cohorts, np.full(len(features), ""), self.groups, count=self.neighbors
        )
        names = ("online_other_cohort", "online_other_cohort_expected")
        return dict(zip(names, (found.other, found.expected), strict=True))

    def describe(self) -> str:
        """See `Question`."""
        return f"cohorts of neighbors ({len(self.chosen):,} patches of the mix)"


def about(
    rows: records.Rows,
    mix: str | Path,
    *,
    records: str,
    split: str,
    patches: int,
    holdout: float,
    mix_patches: int,
    neighbors: int,
    strength: float,
    seed: int,
    test_split: str,
    max_corrupt: float,
) -> list[Question]:
    """The questions that a configuration asks; its `online` says what the arguments mean.

    Args:
      rows, mix, max_corrupt: see `about_cohorts`; mix_patches: 0 asks nothing of it.
      records, split, patches, holdout, strength, test_split: see `about_tissue`; records: "" asks
        nothing of them.
      neighbors, seed: of both.
    """
    asked: list[Question] = []
    both = {"neighbors": neighbors, "seed": seed}
    if records:
        part = {"split": split, "patches": patches, "holdout": holdout, "strength": strength}
        asked.append(about_tissue(records, test_split=test_split, **part, **both))
    if mix_patches:
        cohorts = about_cohorts(rows, mix, patches=mix_patches, max_corrupt=max_corrupt, **both)
        asked += [cohorts] if cohorts else []
    return asked


def about_tissue(
    path: str,
    *,
    split: str,
    patches: int,
    holdout: float,
    neighbors: int,
    strength: float,
    seed: int,
    test_split: str,
) -> Tissue:
    """Draws patches of a labelled set, and what part of them is judged. Reads no pixels.

    Args:
      path: of the record set.
      split: of it; nothing outside is looked at.
      patches: how many at most.
      holdout: share that is judged, of whole patients or slides where known and one can be spared.
      neighbors, strength: see `Tissue`.
      seed: of the draw.
      test_split: by which no run may be watched.

    Raises:
      InputError: names the key: no such set or split, unlabelled, one class only, a class with
        fewer than two patches, or the test split.
    """
    if split == test_split:
        raise InputError(
            f"{split!r} is what the evaluation judges on: a run that is watched by it would be "
            "stopped and chosen by it",
            where="config.online.split",
            way_out="name another split, as --config.online.split=train",
        )
    with _naming_key("records"):
        part = records.load_record_set(path, split)
        if part.class_names is None:
            raise InputError(
                "record set without labels",
                where=part.path,
                way_out="prepare it with --labels or --pattern, or choose a labelled one",
            )
        named = part.columns["label"]
        splits.encode_labels(named, named, part.class_names, where=part.path)
    chosen = _draw(len(part.rows), patches, seed)
    groups = splits.groups_of({name: part.columns[name][chosen] for name in ("patient", "slide")})
    with _naming_key("patches"):
        named = named[chosen]
        labels, _, classes = splits.encode_labels(named, named, part.class_names, where=part.path)
    held, by_group = splits.grouped_holdout(labels, groups.names, fraction=holdout, seed=seed)
    unit = groups.unit if by_group else "patch"
    return Tissue(part.rows, chosen, 0.0, labels, held, classes, unit, neighbors, strength)


def about_cohorts(
    rows: records.Rows,
    mix: str | Path,
    *,
    patches: int,
    neighbors: int,
    seed: int,
    max_corrupt: float,
) -> Cohorts | None:
    """Draws patches of the mix; None where they are all of one cohort. Reads no pixels.

    Args:
      rows: of the mix.
      mix: its folder.
      patches: how many at most.
      neighbors: see `Cohorts`.
      seed: of the draw.
      max_corrupt: share of the mix's records.
    """
    chosen = _draw(len(rows), patches, seed)
    names = ["cohort", "slide", "patient"]
    columns = records.read_parquet(Path(mix) / "index.parquet", names, chosen)
    cohorts = columns["cohort"].astype(str)
    if len(np.unique(cohorts)) < 2:
        return None
    # Two cohorts may name their patients alike.
    groups = np.char.add(np.char.add(cohorts, "/"), splits.groups_of(columns).names)
    return Cohorts(rows, chosen, max_corrupt, cohorts, groups, neighbors)


def _votes(fitted: np.ndarray, judged: np.ndarray, is_class: np.ndarray, count: int) -> np.ndarray:
    """(m, K) votes as in `knn`, which computes them on the accelerator: not while that trains."""
    found, cosines = neighbors.nearest(judged, fitted, count=min(count, len(fitted)))
    weights = np.exp((cosines - cosines[:, :1]) / knn.TEMPERATURE)
    return np.einsum("mk,mkc->mc", weights, is_class[found])


def _draw(count: int, most: int, seed: int) -> np.ndarray:
    # Sorted: in the order of the shards.
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


@contextlib.contextmanager
def _naming_key(key: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        where = f"config.online.{key}: {error.where}"
        raise InputError(error.what, where=where, way_out=error.way_out) from error
