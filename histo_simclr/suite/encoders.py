"""What is judged: checkpoints, their floors, and features that others computed; and their features.

A candidate is light: a network is loaded when it is wanted, and its features are kept on disk.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from histo_simclr import checkpoint, encode
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.evaluate import extract, precomputed
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.suite.tasks import Part, Task

RANDOM, HISTOGRAM = "random init", "color histogram"
HISTOGRAM_BINS = 32  # a channel
# What follows the name of an item that is no checkpoint of ours.
FEATURES = "features:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ @-]*")


class Candidate(NamedTuple):
    """Something that gives features.

    Fields:
      name: unique in a suite; shown, and part of file names.
      kind: "checkpoint", "random", "histogram" or "features".
      digest: changes with anything that decides its features; of foreign ones, see `identities`.
      place: step's folder of a checkpoint, or folder of features; None of floors.
      provenance: what the network expects and saw; of random init, that of the checkpoint whose
        floor it is; None where there is no network.
      about: JSON values: weights, normalization and more, in words and numbers.
    """

    name: str
    kind: str
    digest: str
    place: Path | None
    provenance: Provenance | None
    about: dict[str, Any]

    @property
    def has_network(self) -> bool:
        """Whether it can be fine-tuned, and look at patches that no record set holds."""
        return self.kind in ("checkpoint", "random")


def candidates(items: str, floors: Sequence[str], *, seed: int) -> list[Candidate]:
    """Floors first, then what is named, in its order.

    Args:
      items: separated by commas, each [NAME=]PLACE. PLACE is a workdir (its newest checkpoint), one
        step's folder, or features:FOLDER (`precomputed`). Without NAME, the folder's.
      floors: any of RANDOM (one for each kind of network among the checkpoints) and HISTOGRAM.
      seed: of random parameters.

    Raises:
      InputError: nothing named, a place without checkpoint or features, two of one name, or a name
        that cannot be part of a file's.
    """
    places = [item.strip() for item in items.split(",") if item.strip()]
    if not places:
        raise InputError(
            "no encoder given",
            where="config.checkpoints",
            way_out="set --config.checkpoints=WORKDIR[,NAME=WORKDIR,NAME=features:FOLDER]",
        )
    named = [_candidate(item) for item in places]
    below = [each for floor in floors for each in _floor(floor, named, seed)]
    found = below + named
    names = [each.name.casefold() for each in found]
    for each in found:
        if names.count(each.name.casefold()) > 1:
            raise InputError(
                f"two encoders are named {each.name!r}",
                where="config.checkpoints",
                way_out=f"name them: --config.checkpoints=NAME={each.place},…",
            )
    return found


def identities(
    found: Sequence[Candidate], opened: Sequence[Task], *, seed: int
) -> dict[tuple[str, str], str]:
    """(encoder, task) → a digest that changes with any of its features on the task.

    Opens every encoder, so that what cannot be used is told before anything is computed.

    Args:
      found, opened: encoders and tasks.
      seed: of random parameters.

    Raises:
      InputError: a damaged checkpoint, or features that lack a patch, or hold NaN.
    """
    told = {}
    for each in found:
        if each.kind == "checkpoint":
            network(each, seed=seed)
        for task in opened:
            told[each.name, task.name] = each.digest
            if each.kind == "features" and task.kind != "segmentation":
                told[each.name, task.name] = _digest_of_features(each, task)
    return told


def _digest_of_features(candidate: Candidate, task: Task) -> str:
    digest = hashlib.sha256(candidate.digest.encode())
    for part, split in zip((task.train, task.test), task.splits, strict=True):
        digest.update(_foreign(candidate, task.path.parent.name, part, split).tobytes())
    return digest.hexdigest()


def _foreign(candidate: Candidate, record_set: str, part: Part, split: str) -> np.ndarray:
    return precomputed.read(candidate.place, record_set, split, part.columns["key"].astype(str))


def network(candidate: Candidate, *, seed: int) -> ResNet:
    """The network of a checkpoint or of random init, in eval mode.

    Raises:
      InputError: a damaged checkpoint.
    """
    if candidate.kind == "checkpoint":
        return checkpoint.load_encoder(candidate.place)[0]
    encoder = ResNet(candidate.provenance.arch, rngs=nnx.Rngs(seed))
    encoder.eval()
    return encoder


def features(
    candidate: Candidate,
    encoder: ResNet | None,
    task: Task,
    *,
    batch_size: int,
    mesh: jax.sharding.Mesh,
) -> tuple[np.ndarray, np.ndarray]:
    """(n, D), (m, D) float32 features of a task's two splits.

    Args:
      candidate, encoder: the second is the first's network; None where it has none.
      task: whose patches.
      batch_size: patches at a time over all devices. Does not change the result.
      mesh: with the axis `data`.

    Raises:
      InputError: a corrupt record, or no features of these patches in a folder of them.
    """
    compute = functools.partial(
        _features, candidate, encoder, task.path.parent.name, batch_size=batch_size, mesh=mesh
    )
    train, test = (
        compute(part, split)
        for part, split in zip((task.train, task.test), task.splits, strict=True)
    )
    return train, test


def encoding(
    candidate: Candidate, encoder: ResNet, *, mesh: jax.sharding.Mesh
) -> Callable[[np.ndarray], np.ndarray]:
    """(B, side, side, 3) uint8 → (B, D) float32, for patches that no record set holds."""
    looks, sharding = candidate.provenance, meshes.batch_sharding(mesh)
    program = encode.encoding(encoder, px=looks.px, mean=looks.mean, std=looks.std, mesh=mesh)

    def features_of(patches: np.ndarray) -> np.ndarray:
        padding = -len(patches) % mesh.size
        full = np.pad(patches, [(0, padding)] + [(0, 0)] * 3)
        return np.asarray(program(jax.device_put(full, sharding)))[: len(patches)]

    return features_of


def _features(
    candidate: Candidate,
    encoder: ResNet | None,
    record_set: str,
    part: Part,
    split: str,
    *,
    batch_size: int,
    mesh: jax.sharding.Mesh,
) -> np.ndarray:
    if candidate.kind == "histogram":
        return extract.color_histogram(part.rows, bins=HISTOGRAM_BINS, batch_size=batch_size)
    if candidate.kind == "features":
        return _foreign(candidate, record_set, part, split)
    looks = candidate.provenance
    return extract.features(
        encoder,
        part.rows,
        px=looks.px,
        mean=looks.mean,
        std=looks.std,
        batch_size=batch_size,
        mesh=mesh,
    )


def _candidate(item: str) -> Candidate:
    name, equals, place = item.partition("=")
    if not equals:
        name, place = "", item
    if place.startswith(FEATURES):
        folder = Path(place.removeprefix(FEATURES))
        about = precomputed.about(folder)
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        return Candidate(_checked(name or folder.name), "features", digest, folder, None, about)
    step_dir = checkpoint.resolve(place)
    own = step_dir.parents[1].name if step_dir.parent.name == checkpoint.FOLDER else step_dir.name
    provenance = checkpoint.read_provenance(step_dir)
    step = int(step_dir.name) if step_dir.name.isdigit() else None
    about = _looks(provenance) | {
        "step": step,
        "mix": provenance.mix.get("name") or "",
        "cohorts": list(provenance.mix.get("cohorts", ())),
        "weights": f"checkpoint of step {step}" if step is not None else "checkpoint",
    }
    digest = checkpoint.digest(step_dir)
    return Candidate(_checked(name or own), "checkpoint", digest, step_dir, provenance, about)


def _floor(floor: str, named: Iterable[Candidate], seed: int) -> list[Candidate]:
    if floor == HISTOGRAM:
        about = {
            "weights": "none: how often each level occurs per channel",
            "normalization": "none",
            "bins": HISTOGRAM_BINS,
        }
        return [Candidate(HISTOGRAM, "histogram", f"bins {HISTOGRAM_BINS}", None, None, about)]
    if floor != RANDOM:
        raise InputError(
            f"cannot be {floor!r}",
            where="config.floors",
            way_out=f"choose from {RANDOM!r} and {HISTOGRAM!r}",
        )
    kinds: dict[str, Candidate] = {}
    for each in named:
        if each.provenance is None:
            continue
        looks = _looks(each.provenance)
        digest = hashlib.sha256(json.dumps([looks, seed], sort_keys=True).encode()).hexdigest()
        about = looks | {"weights": f"fresh parameters of seed {seed}"}
        kinds.setdefault(digest, Candidate(RANDOM, "random", digest, None, each.provenance, about))
    if len(kinds) == 1:
        return list(kinds.values())
    return [
        each._replace(name=f"{RANDOM} {each.about['arch']} {each.about['px']} px")
        for each in kinds.values()
    ]


def _looks(provenance: Provenance) -> dict[str, Any]:
    mean, std = (", ".join(f"{x:g}" for x in each) for each in (provenance.mean, provenance.std))
    return {
        "arch": provenance.arch,
        "px": provenance.px,
        "mean": list(provenance.mean),
        "std": list(provenance.std),
        "normalization": f"pixels in [0, 1], mean ({mean}), std ({std}), {provenance.px} px",
    }


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name an encoder",
            where="config.checkpoints",
            way_out="give NAME=PLACE, of letters, digits, '.', '_', '+', '@', '-' and spaces",
        )
    return name
