"""Weights that a run starts from, where it does not start from scratch (`init_from`).

They are of a checkpoint of ours, an imported folder, or a file or folder of weights that says all
there is to know of itself. What was taken, and what those weights had seen, goes into provenance.
A run that has a checkpoint of its own goes on from that: the source may be gone by then.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from histo_simclr import checkpoint, checkpoint_items, state
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.model.simclr import SimCLR
from histo_simclr.provenance import Provenance
from histo_simclr.weights import foreign, label, names

KEY = "config.init_from"
# Statistics further apart than this are others: files round theirs to three or more digits.
SAME = 1e-4


class Start(NamedTuple):
    """Where a run starts from.

    Fields:
      record: for `Provenance.origin["init_from"]`: name, digest, step, taken, and the whole
        published provenance of the source; empty: from scratch.
      arrays: {"params": {"encoder": …, "head": …}, "batch_stats": {"encoder": …}} of numpy arrays;
        empty: from scratch, or the run goes on from a checkpoint of its own.
      notes: sentences for the first lines of the run.
    """

    record: dict[str, Any]
    arrays: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Of the source; empty: from scratch."""
        return self.record.get("digest", "")

    def into(self, arrays: nnx.State) -> nnx.State:
        """A fresh training state with the source's leaves in place of its own, where it has any.

        Args:
          arrays: of `state.init`; the optimizer's stay as they are.
        """
        if not self.arrays:
            return arrays
        stored = state.parts(arrays)
        for item, modules in self.arrays.items():
            for module, leaves in modules.items():
                stored[item][module] = jax.tree.map(
                    lambda own, given: jax.device_put(given.astype(own.dtype), own.sharding),
                    stored[item][module],
                    leaves,
                )
        return state.join(arrays, stored)


SCRATCH = Start({}, {})


def find(
    source: str,
    place: Path,
    *,
    model: dict[str, Any],
    px: int,
    mean: Sequence[float],
    std: Sequence[float],
    mpp: Sequence[float],
) -> Start:
    """What `init_from` names, read and checked; or what the run's own checkpoint says it was.

    Args:
      source: a workdir, a step's folder, an imported folder, or weights that import without flags;
        "": from scratch.
      place: workdir of the run.
      model: arch, hidden and out of the run.
      px, mean, std: of its views.
      mpp: of its mix.

    Raises:
      InputError: nothing there, damaged, another architecture, or other statistics; names both.
    """
    if not source:
        return SCRATCH
    if record := _of_resumed(source, place):
        return Start(record, {})
    encoder, provenance, step_dir = _open(source)
    _check(source, provenance, arch=model["arch"], mean=mean, std=std)
    arrays = _arrays(encoder)
    head = None if step_dir is None else _head(step_dir, provenance, model)
    if head is not None:
        arrays["params"]["head"] = head
    step = int(step_dir.name) if step_dir is not None and step_dir.name.isdigit() else None
    record = {
        "name": _name(source),
        "digest": _digest(encoder) if step_dir is None else checkpoint.digest(step_dir),
        "step": step,
        "taken": ["encoder", *(["head"] if head is not None else [])],
        "provenance": provenance.published().to_json(),
    }
    return Start(record, arrays, tuple(_notes(record, provenance, px=px, mpp=mpp)))


def _of_resumed(source: str, place: Path) -> dict[str, Any] | None:
    """What the run itself noted, where it has a checkpoint and was started from the same source."""
    folder = place / checkpoint.FOLDER
    for step in sorted(checkpoint_items.steps_in(folder), reverse=True):
        try:
            provenance = checkpoint.read_provenance(folder / str(step))
        except checkpoint_items.Damaged:  # the run goes on from an earlier one, and says so
            continue
        # Moved, or another: its digest will tell.
        same = dict(provenance.config).get("init_from") == source
        return provenance.origin.get("init_from") if same else None
    return None


def _open(source: str) -> tuple[ResNet, Provenance, Path | None]:
    """Encoder, provenance, and the step's folder where it is a checkpoint of ours."""
    if not Path(source).exists():
        raise InputError(
            "no such weights",
            where=f"{KEY}: {source}",
            way_out="give a workdir, a step's folder, or what `histo-simclr import` wrote",
        )
    if checkpoint.is_checkpoint(source):
        return checkpoint.load_encoder(source)
    return *foreign.read(Path(source)), None


def _check(
    source: str, provenance: Provenance, *, arch: str, mean: Sequence[float], std: Sequence[float]
) -> None:
    if provenance.arch != arch:
        raise InputError(
            f"are weights of {provenance.arch}, the configuration asks for {arch}",
            where=f"{KEY}: {source}",
            way_out=f"set --config.model.arch={provenance.arch}, or name weights of {arch}",
        )
    theirs, ours = (provenance.mean, provenance.std), (tuple(mean), tuple(std))
    if not np.allclose(theirs, ours, rtol=0, atol=SAME):
        shown = [f"mean {_triple(each[0])}, std {_triple(each[1])}" for each in (theirs, ours)]
        flags = f"--config.views.mean='{_triple(theirs[0])}' --config.views.std="
        raise InputError(
            f"weights expect pixels by {shown[0]}, the configuration gives {shown[1]}",
            where=f"{KEY}: {source}",
            way_out=f"set {flags}'{_triple(theirs[1])}'",
        )


def _arrays(encoder: ResNet) -> dict[str, Any]:
    _, params, batch_stats, _ = nnx.split(encoder, nnx.Param, nnx.BatchStat, ...)
    named = {"params": params, "batch_stats": batch_stats}
    return {
        item: {"encoder": jax.tree.map(np.asarray, nnx.to_pure_dict(part))}
        for item, part in named.items()
    }


def _head(step_dir: Path, provenance: Provenance, model: dict[str, Any]) -> dict[str, Any] | None:
    """The projection head, where there is one of the run's own widths."""
    if (provenance.hidden, provenance.out) != (model["hidden"], model["out"]):
        return None
    shaped = nnx.eval_shape(lambda: SimCLR(**model, rngs=nnx.Rngs(0)))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    targets = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        nnx.to_pure_dict(nnx.split(shaped.head)[1]),
    )
    wanted = {"params": {"head": targets}}
    stored, _ = checkpoint_items.restore(step_dir, wanted, partial={"params": "encoder"})
    return jax.tree.map(np.asarray, stored["params"]["head"])


def _notes(
    record: dict[str, Any], provenance: Provenance, *, px: int, mpp: Sequence[float]
) -> list[str]:
    step = "" if record["step"] is None else f", step {record['step']:,}"
    head = "and head" if "head" in record["taken"] else "alone; the head is a new one"
    notes = [f"from {record['name']}{step}: encoder {head}"]
    if provenance.px != px:
        notes.append(f"its weights learned at {provenance.px} px, this run has views of {px} px")
    known, here = (sorted({each for each in values if each}) for values in (provenance.mpp, mpp))
    if known and here and not known[0] * 0.9 <= here[0] <= here[-1] <= known[-1] * 1.1:
        notes.append(f"its weights saw {_span(known)} µm/px, the mix is at {_span(here)} µm/px")
    return notes


def _digest(encoder: ResNet) -> str:
    return label.model_sha256(names.to_torch(encoder))


def _name(source: str) -> str:
    """What people call it: of a step's folder in a workdir, the workdir."""
    path = Path(source).absolute()
    if path.parent.name == checkpoint.FOLDER:
        path = path.parent
    return path.parent.name if path.name == checkpoint.FOLDER else path.name


def _triple(values: Sequence[float]) -> str:
    return f"({', '.join(f'{each:g}' for each in values)})"


def _span(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{each:g}" for each in (values[0], values[-1])))
