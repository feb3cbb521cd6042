"""Orbax checkpoints: parameters, batch statistics, optimizer and metadata as separate items.

The metadata holds the provenance and a fingerprint: features that the encoder gives. Writing is
asynchronous and atomic: a step's folder has its final name only when whole.
"""

import hashlib
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import nnx

from histo_simclr import checkpoint_items as items
from histo_simclr import fingerprint, processes, state
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance

FOLDER = "checkpoints"  # in a workdir
PATIENCE = 10.0  # seconds for the threads of a save that failed

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one workdir, newest whole one first.

    Args:
      workdir: the run's folder; made when absent.
      keep: number of newest checkpoints that stay.
      keep_every: steps; a checkpoint at a multiple of it stays as well. 0: none.
    """

    def __init__(self, workdir: Path, *, keep: int, keep_every: int):
        items.silence_abandoned_io()
        items.count_by_steady_clock()
        self.folder = workdir.absolute() / FOLDER
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_every or None,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        with items.naming_disk_trouble(self.folder):
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint on disk; None when there is none."""
        # Orbax's own latest_step() also counts a save that is still under way.
        return max(items.steps_in(self.folder), default=None)

    def save(
        self,
        step: int,
        arrays: nnx.State,
        provenance: Provenance,
        *,
        features: dict[str, Any] | None,
    ) -> None:
        """Starts to save; returns when the arrays are copied, waits for the save before it.

        Args:
          step: number of steps done.
          arrays: model and optimizer.
          provenance: of the run.
          features: `fingerprint.of_training` of the encoder; None of models that hold none.

        Raises:
          InputError: this or the previous save failed, e.g. disk full; earlier checkpoints stand.
        """
        parts = state.parts(arrays)
        metadata = items.metadata_of(step, parts, provenance, features)
        saves = {name: ocp.args.StandardSave(tree) for name, tree in parts.items()}
        with items.naming_disk_trouble(self.folder):
            self._manager.save(
                step, args=ocp.args.Composite(**saves, metadata=ocp.args.JsonSave(metadata))
            )

    def restore(self, step: int, arrays: nnx.State) -> tuple[nnx.State, Provenance]:
        """The state saved at `step`, laid out like `arrays`, on whatever devices those are.

        Raises:
          InputError: another architecture or optimizer, or a damaged file.
        """
        path = self.folder / str(step)
        stored, provenance = items.restore(path, state.parts(arrays))
        return state.join(arrays, stored), provenance

    def resume(self, arrays: nnx.State) -> tuple[int, nnx.State]:
        """Step and state of the newest whole checkpoint, laid out like `arrays`; 0 without any.

        Newer ones, which are damaged, are set aside with a warning each; nothing is removed. All
        processes of a job take the same.

        Raises:
          InputError: another architecture or optimizer, none of the checkpoints is whole, or the
            processes do not see the same ones.
        """
        damaged: list[items.Damaged] = []
        steps = sorted(items.steps_in(self.folder), reverse=True)
        processes.agree(steps, what=f"list of checkpoints in {self.folder}")
        for step in steps:
            restored = None
            error = items.Damaged(
                "damaged for another process of the job",
                where=self.folder / str(step),
                way_out="see what the others say",
            )
            try:
                restored, _ = self.restore(step, arrays)
            except items.Damaged as found:
                error = found
            if processes.everywhere(restored is not None):
                self._set_aside(damaged, step)
                return step, restored
            damaged.append(error)
        if damaged:
            raise damaged[0]
        return 0, arrays

    def _set_aside(self, damaged: list[items.Damaged], step: int) -> None:
        if not damaged:
            return
        if jax.process_index() == 0:
            for each in damaged:
                aside = items.set_aside(Path(each.where)).name
                log.warning(
                    "%s: %s; set aside as %s, goes on from step %d",
                    each.where,
                    each.what,
                    aside,
                    step,
                )
        processes.everywhere(True)  # nobody looks before it is renamed
        self._manager.reload()

    def check(self) -> None:
        """InputError when the save under way has failed, which the next one would find out late."""
        with items.naming_disk_trouble(self.folder):
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Returns when everything saved is on disk; InputError when that failed."""
        with items.naming_disk_trouble(self.folder):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases orbax's threads; InputError when the last save failed."""
        with items.naming_disk_trouble(self.folder):
            self._manager.close()


def load_encoder(path: str | Path) -> tuple[ResNet, Provenance, Path]:
    """The encoder of a checkpoint, in eval mode, without its projection head.

    Args:
      path: a workdir (its newest checkpoint is taken) or one step's folder.

    Returns:
      The encoder, its provenance (statistics, px, mix, …), and the step's folder.

    Raises:
      InputError: no checkpoint there, a damaged one, or one that does not give the features that
        it was written with.
    """
    path = resolve(path)
    provenance = read_provenance(path)
    encoder = nnx.eval_shape(lambda: ResNet(provenance.arch, rngs=nnx.Rngs(0)))
    graph, params, batch_stats = nnx.split(encoder, nnx.Param, nnx.BatchStat)
    wanted = {"params": params, "batch_stats": batch_stats}
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    targets = {
        name: {"encoder": _targets(nnx.to_pure_dict(part), device)} for name, part in wanted.items()
    }
    stored, _ = items.restore(path, targets, partial={"params": "head"})
    for name, part in wanted.items():
        nnx.replace_by_pure_dict(part, stored[name]["encoder"])
    encoder = nnx.merge(graph, params, batch_stats)
    encoder.eval()
    fingerprint.check(encoder, provenance, read_fingerprint(path), where=path)
    return encoder, provenance, path


def write_encoder(folder: Path, encoder: ResNet, provenance: Provenance) -> Path:
    """Writes an encoder alone as one step's folder, which every command takes for a checkpoint.

    Args:
      folder: whole or not at all; must not be there, or be empty.
      encoder: in eval mode.
      provenance: of it.

    Raises:
      InputError: the folder is there, or cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "is there already", where=folder, way_out="remove it or give another place"
        )
    _, params, batch_stats = nnx.split(encoder, nnx.Param, nnx.BatchStat)
    parts = {
        name: {"encoder": nnx.to_pure_dict(part)}
        for name, part in (("params", params), ("batch_stats", batch_stats))
    }
    features = fingerprint.compute(
        encoder, px=provenance.px, mean=provenance.mean, std=provenance.std
    )
    metadata = items.metadata_of(0, parts, provenance, fingerprint.to_json(features))
    saves = {name: ocp.args.PyTreeSave(tree) for name, tree in parts.items()}
    items.silence_abandoned_io()
    items.count_by_steady_clock()
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        handlers = {name: items.sparing_handler(tree) for name, tree in parts.items()}
        handlers["metadata"] = ocp.JsonCheckpointHandler()
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler(**handlers)) as checkpointer:
            checkpointer.save(
                partial, ocp.args.Composite(**saves, metadata=ocp.args.JsonSave(metadata))
            )
        partial.rename(folder)
    except items.DAMAGE as error:
        _remove(folder.parent, f"{partial.name}*")
        if not items.is_disk_trouble(error):
            raise
        raise InputError(
            f"cannot be written ({items.reason(error)})",
            where=folder,
            way_out="make room, or give a place that can be written",
        ) from error
    return folder


def _remove(folder: Path, pattern: str) -> None:
    """Removes what a failed save left: orbax's threads go on with the arrays that did not fail."""
    until, absent = time.monotonic() + PATIENCE, 0
    while absent < 3 and time.monotonic() < until:
        left = list(folder.glob(pattern))
        absent = 0 if left else absent + 1
        for each in left:
            shutil.rmtree(each, ignore_errors=True)
        time.sleep(0.1)


def is_checkpoint(path: str | Path) -> bool:
    """Whether `resolve` finds one here."""
    try:
        resolve(path)
    except InputError:
        return False
    return True


def resolve(path: str | Path) -> Path:
    """One step's folder, given itself or a workdir, whose newest whole checkpoint is taken."""
    path = Path(path).absolute()
    if (path / "metadata").is_dir() and (path / "params").is_dir():
        return path
    folder = path if path.name == FOLDER else path / FOLDER
    steps = items.steps_in(folder)
    if not steps:
        raise InputError(
            "no checkpoint here" if path.is_dir() else "no such checkpoint",
            where=path,
            way_out="give a workdir of a pretraining run, or one step's folder in its checkpoints/",
        )
    return folder / str(max(steps))


def read_provenance(path: Path) -> Provenance:
    """Provenance of one step's folder."""
    return Provenance.from_json(items.read_metadata(path).get("provenance", {}), where=path)


def read_fingerprint(path: Path) -> dict[str, Any] | None:
    """`fingerprint.to_json` of one step's folder; None in checkpoints of before 2026-11-27."""
    return items.read_metadata(path).get("fingerprint")


def digest(path: Path) -> str:
    """Changes with any leaf, setting or mix of one step's folder; reads its metadata only."""
    content = json.dumps(items.read_metadata(path), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _targets(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )
