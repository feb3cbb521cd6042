"""Some patches of all tasks, to look at: which rows, their pixels and what the manifests say."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.input import order, reader
from histo_simclr.prepare import draw as draws
from histo_simclr.views import compose

# What a group's name begins with when neither patient nor slide is known (splits.groups_of).
ALONE = "example:"
# Patches read and resized at a time.
_BATCH = 256


class Sample(NamedTuple):
    """n drawn patches; strings are empty where unknown.

    Fields:
      patches: (n, S, S, 3) uint8, resized to S.
      task, split, row: (n,) strings, "train" or "test", and int64: where each was drawn.
      cohort, stain, organ: (n,) strings.
      mpp: (n,) float64 µm/px of the stored patch, 0 where unknown.
      label: (n,) strings: the class; of a regression a third of its targets; of masks none.
      group: (n,) strings; equal ones are one patient or slide, in whatever task. Those that begin
        with ALONE are single patches of unknown origin.
    """

    patches: np.ndarray
    task: np.ndarray
    split: np.ndarray
    row: np.ndarray
    cohort: np.ndarray
    stain: np.ndarray
    organ: np.ndarray
    mpp: np.ndarray
    label: np.ndarray
    group: np.ndarray

    def take(self, chosen: np.ndarray) -> "Sample":
        """Some of the patches, by their numbers or by a mask, in the order given."""
        return Sample(*(values[chosen] for values in self))

    def features(self, cached: Mapping[tuple[str, str], np.ndarray]) -> np.ndarray:
        """(n, D) rows of the features of whole tasks.

        Args:
          cached: (task, split) → (rows of that split, D); every task and split of the sample.
        """
        found = None
        for (task, split), values in cached.items():
            chosen = (self.task == task) & (self.split == split)
            if found is None:
                found = np.empty((len(self.row), values.shape[1]), values.dtype)
            found[chosen] = values[self.row[chosen]]
        return found

    def families(self) -> np.ndarray:
        """(n,) names of the tasks whose classes compare: those of equal class names, joined.

        A task without classes is a family of its own.
        """
        members: dict[tuple[str, ...], list[str]] = {}
        for task in np.unique(self.task).tolist():
            names = tuple(np.unique(self.label[self.task == task]).tolist())
            members.setdefault((task,) if names == ("",) else names, []).append(task)
        family = {task: " + ".join(tasks) for tasks in members.values() for task in tasks}
        return np.array([family[task] for task in self.task.tolist()])


def draw(tasks: Sequence[Any], *, count: int, side: int, seed: int) -> Sample:
    """Draws patches evenly over tasks, and in each over splits and classes; reads their pixels.

    A class with few patches gives all, and the others divide the rest. Of a class, every patient or
    slide gives one patch before any gives two. In the order of tasks, splits and rows.

    Args:
      tasks: with name, kind, classes, train and test; either split with rows, columns, truth and
        groups (evaluate/tasks.py).
      count: patches in all; all there are when these are fewer.
      side: of the patches in px; resized (antialiased bilinear) where the record set's differ.
      seed: of the draw.

    Raises:
      InputError: no tasks, or a record that cannot be read.
    """
    if not tasks:
        raise InputError("no task to draw patches of", where="tasks", way_out="choose one or more")
    available = np.array([len(task.train.rows) + len(task.test.rows) for task in tasks])
    wanted = draws.quotas(available, min(count, available.sum()), 0.0)
    parts = [
        part
        for task, number in zip(tasks, wanted, strict=True)
        for part in _of_task(task, int(number), side=side, seed=seed)
    ]
    return Sample(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def spread(cells: np.ndarray, groups: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Random rows, as evenly over cells as these have rows, and in each over groups.

    Args:
      cells: (n,) names.
      groups: (n,) names.
      count: rows wanted; all when there are fewer.
      seed: of the draw.

    Returns:
      (min(count, n),) int64, ascending.
    """
    _, cell = np.unique(cells, return_inverse=True)
    group_names, group = np.unique(groups, return_inverse=True)
    wanted = draws.quotas(np.bincount(cell), min(count, len(cells)), 0.0)
    shuffled = np.random.default_rng(seed).permutation(len(cells))
    turn = _occurrence((cell * len(group_names) + group)[shuffled])
    shuffled = shuffled[np.argsort(turn, kind="stable")]
    return np.sort(shuffled[_occurrence(cell[shuffled]) < wanted[cell[shuffled]]])


def resized(patches: np.ndarray, side: int) -> np.ndarray:
    """(B, H, H, 3) uint8 to (B, side, side, 3) uint8, antialiased bilinear."""
    if patches.shape[1] == side:
        return np.array(patches)
    views = compose.plain_view(patches, px=side, mean=(0, 0, 0), std=(1, 1, 1))
    return np.round(np.clip(np.asarray(views), 0, 1) * 255).astype(np.uint8)


def _of_task(task: Any, count: int, *, side: int, seed: int) -> list[Sample]:
    parts = {"train": task.train, "test": task.test}
    split = np.repeat([*parts], [len(part.rows) for part in parts.values()])
    row = np.concatenate([np.arange(len(part.rows)) for part in parts.values()])
    label = _labels(task)
    group = np.concatenate([_groups(part) for part in parts.values()])
    cells = np.char.add(np.char.add(split, " "), label)
    chosen = spread(cells, group, count, seed=seed)
    drawn = []
    for name, part in parts.items():
        mine = chosen[split[chosen] == name]
        if not len(mine):
            continue
        rows = row[mine]
        texts = [_texts(part.columns[key])[rows] for key in ("cohort", "stain", "organ")]
        places = np.full(len(mine), task.name), np.full(len(mine), name), rows
        mpp = part.columns["mpp"][rows].astype(np.float64)
        pixels = _pixels(part.rows.take(rows), side)
        drawn.append(Sample(pixels, *places, *texts, mpp, label[mine], group[mine]))
    return drawn


def _labels(task: Any) -> np.ndarray:
    """Label of each row of train, then test."""
    counts = len(task.train.rows) + len(task.test.rows)
    if task.kind in ("classification", "slides"):
        return np.array(task.classes)[np.concatenate([task.train.truth, task.test.truth])]
    if task.kind == "regression":
        targets = np.concatenate([task.train.truth, task.test.truth])
        edges = np.unique(np.quantile(targets, [0, 1 / 3, 2 / 3, 1]))
        names = [f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(edges)]
        names = names or [f"{edges[0]:.3g}"]
        return np.array(names)[np.searchsorted(edges[1:-1], targets, side="left")]
    return np.full(counts, "")


def _groups(part: Any) -> np.ndarray:
    """Groups by names that hold in all tasks: of a cohort, or of a single patch its key."""
    names = part.groups.names.astype(str)
    known = np.char.add(np.char.add(_texts(part.columns["cohort"]), " "), names)
    alone = np.char.add(ALONE, _texts(part.columns["key"]))
    return np.where(np.char.startswith(names, ALONE), alone, known)


def _texts(values: np.ndarray) -> np.ndarray:
    return np.array([value or "" for value in values], dtype=str)


def _pixels(rows: records.Rows, side: int) -> np.ndarray:
    sequence, _ = order.sequential(len(rows), min(_BATCH, len(rows)))
    batches = reader.read(rows, sequence.__getitem__, start=0, stop=len(sequence))
    return np.concatenate([resized(batch, side) for batch in batches])[: len(rows)]


def _occurrence(values: np.ndarray) -> np.ndarray:
    """(n,) int64: how many equal values stand before each."""
    sorted_by = np.argsort(values, kind="stable")
    ordered = values[sorted_by]
    before = np.empty(len(values), np.int64)
    before[sorted_by] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return before
