"""What a suite computes: which cells, and which are passed over, and why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.evaluate import few_labels
from histo_simclr.suite import protocols
from histo_simclr.suite.cells import WHOLE, Cell, Subset
from histo_simclr.suite.encoders import Candidate
from histo_simclr.suite.tasks import Task


class Plan(NamedTuple):
    """What a suite computes, and what it does not: (task, encoder, protocol, why)."""

    cells: list[Cell]
    skipped: list[dict[str, str]]


def plan(
    config: ml_collections.ConfigDict,
    opened: Sequence[Task],
    found: Sequence[Candidate],
    identities: Mapping[tuple[str, str], str],
) -> Plan:
    """All cells, task by task and encoder by encoder, so that features and networks are kept.

    Args:
      config: of the suite.
      opened, found, identities: tasks, encoders, and `encoders.identities` of them.
    """
    planned: list[Cell] = []
    skipped: dict[tuple[str, str, str], str] = {}
    for task in opened:
        fitting = [n for n in config.protocols if task.kind in protocols.PROTOCOLS[n].kinds]
        if not fitting:
            skipped[task.name, "", ""] = f"none of the protocols judges a {task.kind}"
        for name in fitting:
            subsets = [WHOLE]
            if name in config.few_labels:
                more, refused = subsets_of(
                    task,
                    config.fractions,
                    config.shots,
                    least=protocols.PROTOCOLS[name].least,
                )
                subsets += more
                skipped |= {
                    (task.name, "", f"{name}, {each}"): why for each, why in refused.items()
                }
            for candidate in found:
                if protocols.PROTOCOLS[name].needs_network and not candidate.has_network:
                    skipped[task.name, candidate.name, name] = "needs a network, has features only"
                    continue
                dtype = meshes.compute_dtype(config.precision).name
                facts = {
                    "identity": identities[candidate.name, task.name],
                    "dtype": dtype if protocols.PROTOCOLS[name].needs_network else "",
                    "settings": config.settings[name].to_dict(),
                }
                planned += [
                    Cell(task, candidate, name, subset, seed, **facts)
                    for subset in subsets
                    for seed in dict.fromkeys(config.seeds)
                ]
    # By encoder within a task: its features are then read once. Sorting is stable.
    order = {(task.name, each.name): n for n, (task, each) in enumerate(_pairs(opened, found))}
    planned.sort(key=lambda cell: order[cell.task.name, cell.candidate.name])
    told = [
        {"task": task, "encoder": encoder, "protocol": name, "why": why}
        for (task, encoder, name), why in skipped.items()
    ]
    return Plan(planned, told)


def subsets_of(
    task: Task, fractions: Sequence[float], shots: Sequence[int], *, least: int
) -> tuple[list[Subset], dict[str, str]]:
    """Subsets of labels that a task allows besides the whole; and why it does not allow others.

    Args:
      task: of classes or targets; others are judged on all of their labels only.
      fractions, shots: wanted; shots of classes only.
      least: examples of a class that a protocol needs.
    """
    allowed: list[Subset] = []
    refused: dict[str, str] = {}
    wanted = [Subset(each) for each in dict.fromkeys(fractions) if each < 1]
    if task.kind == "classification":
        wanted += [Subset(None, each) for each in dict.fromkeys(shots)]
    elif task.kind != "regression":
        wanted = []
    for subset in wanted:
        if subset.shots is not None and subset.shots < least:
            refused[str(subset)] = f"needs {least} examples a class to choose by folds"
            continue
        try:
            chosen_of(task, subset, least=least, seed=0)
        except InputError as error:
            refused[str(subset)] = error.what
        else:
            allowed.append(subset)
    return allowed, refused


def chosen_of(task: Task, subset: Subset, *, least: int, seed: int) -> np.ndarray:
    """(n,) booleans: the training examples of a subset, drawn by `few_labels`.

    Raises:
      InputError: a class would have too few.
    """
    truth, groups = task.train.truth, task.train.groups.names
    if subset.is_whole:
        return np.ones(len(task.train.rows), bool)
    if subset.fraction is None:
        return few_labels.by_shots(truth, groups, shots=[subset.shots], seed=seed)[subset.shots]
    if task.kind == "regression":
        truth = np.zeros(len(truth), np.int64)
    return few_labels.by_fraction(
        truth, groups, fractions=[subset.fraction], least=least, seed=seed
    )[subset.fraction]


def _pairs(opened: Sequence[Task], found: Sequence[Candidate]) -> Iterator[tuple[Task, Candidate]]:
    return ((task, each) for task in opened for each in found)
