"""Orbax checkpoints: parameters, batch statistics, optimizer and metadata as separate items.

The metadata holds the provenance and a fingerprint: features that the encoder gives.

Orbax restores flipped bytes without an error, so the metadata item holds a CRC32C, shape and dtype
of every leaf, and one of itself; they are compared before anything restored is used. Writing is
asynchronous and atomic: a step's folder has its final name only when whole.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from histo_simclr import fingerprint, state
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance

FOLDER = "checkpoints"  # in a workdir
ARRAYS = ("params", "batch_stats", "optimizer")
# What orbax and tensorstore raise for a torn, missing or unreadable file: ValueError, OSError,
# KeyError, and for an array that does not decode a bare Exception.
DAMAGE = Exception
# Reasons that orbax and tensorstore give in the middle of long messages.
_REASONS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)))
_ORBAX = Path(ocp.__file__).parent


class Checkpoints:
    """The checkpoints of one workdir, newest whole one first.

    Args:
      workdir: the run's folder; made when absent.
      keep: number of newest checkpoints that stay.
      keep_every: steps; a checkpoint at a multiple of it stays as well. 0: none.
    """

    def __init__(self, workdir: Path, *, keep: int, keep_every: int):
        _silence_abandoned_io()
        self.folder = workdir.absolute() / FOLDER
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            keep_period=keep_every or None,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        with _naming_disk_trouble(self.folder):
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint on disk; None when there is none."""
        # Orbax's own latest_step() also counts a save that is still under way.
        return max(_steps(self.folder), default=None)

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
        items = state.parts(arrays)
        metadata = _metadata(step, items, provenance, features)
        saves = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        with _naming_disk_trouble(self.folder):
            self._manager.save(
                step, args=ocp.args.Composite(**saves, metadata=ocp.args.JsonSave(metadata))
            )

    def restore(self, step: int, arrays: nnx.State) -> tuple[nnx.State, Provenance]:
        """The state saved at `step`, laid out like `arrays`, on whatever devices those are.

        Raises:
          InputError: another architecture or optimizer, or a damaged file.
        """
        path = self.folder / str(step)
        stored, provenance = restore_items(path, state.parts(arrays))
        return state.join(arrays, stored), provenance

    def wait(self) -> None:
        """Returns when everything saved is on disk; InputError when that failed."""
        with _naming_disk_trouble(self.folder):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases orbax's threads; InputError when the last save failed."""
        with _naming_disk_trouble(self.folder):
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
    stored, _ = restore_items(path, targets, partial={"params": "head"})
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
    graph, params, batch_stats = nnx.split(encoder, nnx.Param, nnx.BatchStat)
    items = {
        name: {"encoder": nnx.to_pure_dict(part)}
        for name, part in (("params", params), ("batch_stats", batch_stats))
    }
    features = fingerprint.compute(
        encoder, px=provenance.px, mean=provenance.mean, std=provenance.std
    )
    metadata = _metadata(0, items, provenance, fingerprint.to_json(features))
    saves = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
    _silence_abandoned_io()
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(
                partial, ocp.args.Composite(**saves, metadata=ocp.args.JsonSave(metadata))
            )
        partial.rename(folder)
    except DAMAGE as error:
        for left in folder.parent.glob(f"{partial.name}*"):
            shutil.rmtree(left, ignore_errors=True)
        if not _is_disk_trouble(error):
            raise
        raise InputError(
            f"cannot be written ({_reason(error)})",
            where=folder,
            way_out="make room, or give a place that can be written",
        ) from error
    return folder


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
    steps = _steps(folder)
    if not steps:
        raise InputError(
            "no checkpoint here" if path.is_dir() else "no such checkpoint",
            where=path,
            way_out="give a workdir of a pretraining run, or one step's folder in its checkpoints/",
        )
    return folder / str(max(steps))


def read_provenance(path: Path) -> Provenance:
    """Provenance of one step's folder."""
    return Provenance.from_json(_read_metadata(path)["provenance"], where=path)


def read_fingerprint(path: Path) -> dict[str, Any] | None:
    """`fingerprint.to_json` of one step's folder; None in checkpoints of before 2026-11-27."""
    return _read_metadata(path).get("fingerprint")


def digest(path: Path) -> str:
    """Changes with any leaf, setting or mix of one step's folder; reads its metadata only."""
    content = json.dumps(_read_metadata(path), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def restore_items(
    path: Path, targets: dict[str, Any], *, partial: dict[str, str] | None = None
) -> tuple[dict[str, Any], Provenance]:
    """Restores named items of one step's folder; every key is accounted for, every leaf checked.

    Args:
      path: one step's folder.
      targets: item → tree of arrays or jax.ShapeDtypeStruct with sharding.
      partial: item → top-level name that may be stored without being wanted.

    Raises:
      InputError: keys, shapes or dtypes differ from the targets', or bytes changed on disk.
    """
    metadata = _read_metadata(path)
    for item, tree in targets.items():
        left_out = (partial or {}).get(item)
        leaves = {
            name: leaf
            for name, leaf in metadata["leaves"][item].items()
            if left_out is None or name.split("/")[0] != left_out
        }
        _check_same_leaves(path, item, leaves, _describe(tree, with_crc=False))
    restored = {}
    for item, tree in targets.items():
        structs = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
        restored[item] = _read_item(path, item, structs)
        for name, leaf in _named_leaves(restored[item]):
            if _crc(leaf) != metadata["leaves"][item][name]["crc32c"]:
                raise _damaged(path, f"{item}/{name} does not have the checksum it was saved with")
    return restored, Provenance.from_json(metadata["provenance"], where=path)


def _read_item(path: Path, item: str, structs: Any) -> Any:
    arguments = jax.tree.map(lambda s: ocp.ArrayRestoreArgs(sharding=s.sharding), structs)
    handler = ocp.PyTreeCheckpointHandler()
    try:
        with ocp.Checkpointer(handler) as checkpointer:
            return checkpointer.restore(
                path / item,
                args=ocp.args.PyTreeRestore(
                    item=structs, restore_args=arguments, partial_restore=True
                ),
            )
    except DAMAGE as error:
        _silence_abandoned_io()
        raise _damaged(path, f"{item} cannot be read: {_reason(error)}") from error


def _silence_abandoned_io() -> None:
    """Keeps orbax's leftovers off stderr, where damage and a full disk are one line.

    When one array cannot be read or written, orbax logs the error, with tracebacks, before it
    raises it, and closes its event loop under the other arrays. Each of them prints a traceback
    when it is collected, at any later time.
    """
    if getattr(sys.unraisablehook, "silences_abandoned_io", False):
        return
    shown = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        orbax = code is not None and Path(code.co_filename).is_relative_to(_ORBAX)
        if not orbax and str(unraisable.exc_value) != "Event loop is closed":
            shown(unraisable)

    logging.getLogger("absl").addFilter(
        lambda record: not Path(record.pathname).is_relative_to(_ORBAX)
    )
    hook.silences_abandoned_io = True
    sys.unraisablehook = hook


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
            metadata = checkpointer.restore(path / "metadata", args=ocp.args.JsonRestore())
        if metadata.pop("crc32c") != _crc_of_json(metadata):
            raise ValueError("it does not have the checksum it was saved with")
    except DAMAGE as error:
        raise _damaged(path, f"metadata cannot be read: {_reason(error)}") from error
    return metadata


def _metadata(
    step: int, items: dict[str, Any], provenance: Provenance, features: dict[str, Any] | None
) -> dict[str, Any]:
    metadata = {
        "step": step,
        "provenance": provenance.to_json(),
        "leaves": {name: _describe(tree, with_crc=True) for name, tree in items.items()},
        "fingerprint": features,
    }
    metadata["crc32c"] = _crc_of_json(metadata)
    return metadata


def _describe(tree: Any, *, with_crc: bool) -> dict[str, dict[str, Any]]:
    described = {}
    for name, leaf in _named_leaves(tree):
        described[name] = {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}
        if with_crc:
            described[name]["crc32c"] = _crc(leaf)
    return described


def _named_leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield "/".join(str(getattr(part, "key", part)) for part in path), leaf


def _crc(leaf: jax.Array) -> int:
    return google_crc32c.value(np.ascontiguousarray(jax.device_get(leaf)).tobytes())


def _crc_of_json(content: dict[str, Any]) -> int:
    return google_crc32c.value(json.dumps(content, sort_keys=True).encode())


def _targets(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _check_same_leaves(
    path: Path, item: str, stored: dict[str, Any], wanted: dict[str, Any]
) -> None:
    for name in sorted(stored.keys() | wanted.keys()):
        old, new = stored.get(name), wanted.get(name)
        if old and new and all(old[field] == new[field] for field in ("shape", "dtype")):
            continue
        found = f"{old['shape']} {old['dtype']}" if old else "absent"
        expected = f"{new['shape']} {new['dtype']}" if new else "absent"
        raise InputError(
            f"checkpoint is of another architecture or optimizer: {item}/{name} is {found}, "
            f"expected {expected}",
            where=path,
            way_out="use the configuration that wrote it, or another workdir",
        )


def _damaged(path: Path, what: str) -> InputError:
    before = [step for step in _steps(path.parent) if path.name.isdigit() and step < int(path.name)]
    goes_on = f"to go on from step {max(before)}" if before else "and start anew"
    return InputError(f"damaged checkpoint: {what}", where=path, way_out=f"remove it {goes_on}")


def _steps(folder: Path) -> list[int]:
    """Steps of the whole checkpoints: a save under way has another name until it is renamed."""
    return [int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()]


def _reason(error: BaseException) -> str:
    """The operating system's reason where it is in the message, else how the message begins."""
    text = str(error)
    known = [reason for reason in _REASONS if reason in text]
    return known[0] if known else text.strip().split("\n")[0][:200]


def _is_disk_trouble(error: BaseException) -> bool:
    # Tensorstore reports a full disk as a status, "OUT_OF_RANGE: Error writing …".
    named = re.search(r"^[A-Z_]+: .*(writ|disk)", str(error))
    return isinstance(error, OSError) or named is not None


@contextlib.contextmanager
def _naming_disk_trouble(folder: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        if not _is_disk_trouble(error):
            raise
        for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        steps = _steps(folder)
        stands = f"step {max(steps)} stands" if steps else "no checkpoint stands yet"
        raise InputError(
            f"checkpoint cannot be saved: {_reason(error)}; {stands}",
            where=folder,
            way_out="make room or give a writable --workdir=DIR, then run the same command again",
        ) from error
