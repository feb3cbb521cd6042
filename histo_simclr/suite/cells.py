"""The cells of a suite: task × encoder × protocol × subset of labels × seed; each kept on its own.

A cell's file is named by all that decides its content, written whole or not at all, and never
changed: a suite that is stopped goes on, and one that is made larger keeps what it has.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.prepare import storage
from histo_simclr.suite.encoders import Candidate
from histo_simclr.suite.tasks import Task

_TOLD = ("grouping", "examples", "chosen", "notes")
# Grows when the same settings would give other numbers.
FORMAT = 1


class Subset(NamedTuple):
    """How many training labels are used: a fraction of each class, or k examples of each."""

    fraction: float | None
    shots: int | None = None

    def __str__(self) -> str:
        return f"{self.shots}-shot" if self.fraction is None else f"{100 * self.fraction:g} %"

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole training split."""
        return self.fraction == 1


WHOLE = Subset(1.0)


class Cell(NamedTuple):
    """One cell.

    Fields:
      task, candidate, protocol, subset, seed: which.
      identity: digest of the encoder on the task (`encoders.identities`).
      dtype: of what the protocol computes on the devices; empty where it is always the same.
      settings: of its protocol.
    """

    task: Task
    candidate: Candidate
    protocol: str
    subset: Subset
    seed: int
    identity: str
    dtype: str
    settings: Mapping[str, Any]

    def path(self, folder: Path) -> Path:
        """Its file below the folder of a suite."""
        told = {
            "format": FORMAT,
            "task": self.task.digest,
            "encoder": self.identity,
            "dtype": self.dtype,
            "protocol": self.protocol,
            "subset": list(self.subset),
            "seed": self.seed,
            "settings": json.loads(json.dumps(dict(self.settings))),
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
        subset = str(self.subset).replace(" %", "pct")
        name = f"{self.protocol}_{subset}_{self.seed}-{digest}.npz"
        return folder / "cells" / self.task.name / self.candidate.name / name


class Inputs(NamedTuple):
    """What a protocol may use.

    Fields:
      task, candidate: what is judged on what.
      network: loads the encoder; only where the candidate has one.
      features: of both splits, (n, D) and (m, D).
      chosen: (n,) booleans, the training examples whose labels are used.
      mesh, dtype: of what is computed on the devices.
      seed: of all that is drawn.
      tell: takes a line of progress.
    """

    task: Task
    candidate: Candidate
    network: Callable[[], ResNet]
    features: Callable[[], tuple[np.ndarray, np.ndarray]]
    chosen: np.ndarray
    mesh: jax.sharding.Mesh
    dtype: jnp.dtype
    seed: int
    tell: Callable[[str], None]


class Outcome(NamedTuple):
    """What a protocol says of the test split: `truth` and `predictions` as the task's metric takes.

    Fields:
      truth: (m, …).
      predictions: (m, …): probabilities (m, K), values (m,), or pixel counts.
      groups: (m,) names to resample by.
      grouping: "patient", "slide" or "example", as in `splits.Groups`.
      examples: labelled patches, images or slides of the training split that were used.
      chosen: JSON values: what was chosen on the training split, e.g. {"C": 0.01}.
      notes: sentences.
      extra: further arrays to keep, by name.
    """

    truth: np.ndarray
    predictions: np.ndarray
    groups: np.ndarray
    grouping: str
    examples: int
    chosen: dict[str, Any]
    notes: list[str]
    extra: dict[str, np.ndarray]


def save(path: Path, outcome: Outcome, *, revision: str) -> None:
    """Writes a cell, whole or not at all, with the revision of the code that made it."""
    told = {key: getattr(outcome, key) for key in _TOLD} | {"revision": revision}
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage.new_file(str(path)) as file:
        np.savez_compressed(
            file,
            truth=outcome.truth,
            predictions=outcome.predictions,
            groups=outcome.groups.astype(str),
            told=np.array(json.dumps(told)),
            **{f"extra_{name}": array for name, array in outcome.extra.items()},
        )


def load(path: Path) -> tuple[Outcome, str]:
    """Reads a cell, and the revision of the code that made it.

    Raises:
      InputError: a damaged file; without it the cell is made again.
    """
    arrays = read_arrays(path)
    told = json.loads(str(arrays["told"]))
    extra = {
        name.removeprefix("extra_"): array
        for name, array in arrays.items()
        if name.startswith("extra_")
    }
    named = {name: arrays[name] for name in ("truth", "predictions", "groups")}
    return Outcome(**named, **{key: told[key] for key in _TOLD}, extra=extra), told["revision"]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file that the suite wrote; InputError when it is damaged."""
    try:
        # Opened here: of a damaged file, numpy would leave it open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot be read ({error})",
            where=path,
            way_out="remove it and run the same command again: it alone is made anew",
        ) from error


def kept_features(
    folder: Path,
    task: Task,
    candidate: Candidate,
    identity: str,
    compute: Callable[[], tuple[np.ndarray, ...]],
) -> tuple[np.ndarray, np.ndarray]:
    """Features of a task's two splits: from the suite's folder, else computed and kept there."""
    told = json.dumps([FORMAT, task.digest, identity]).encode()
    name = f"{candidate.name}-{hashlib.sha256(told).hexdigest()[:12]}.npz"
    path = folder / "features" / task.name / name
    if path.is_file():
        arrays = read_arrays(path)
        return arrays["train"], arrays["test"]
    train, test = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage.new_file(str(path)) as file:
        np.savez(file, train=train, test=test)
    return train, test
