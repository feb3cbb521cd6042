"""The items of one step's folder: described, read, every leaf checked; and what disks do to them.

Orbax restores flipped bytes without an error, so the metadata item holds a CRC32C, shape and dtype
of every leaf, and one of itself; they are compared before anything restored is used.
"""

import contextlib
import errno
import itertools
import json
import logging
import os
import re
import shutil
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint._src.futures import future, signaling_client

from histo_simclr import out_of_memory
from histo_simclr.errors import InputError
from histo_simclr.provenance import Provenance

# What orbax and tensorstore raise for a torn, missing or unreadable file: ValueError, OSError,
# KeyError, and for an array that does not decode a bare Exception.
DAMAGE = Exception
# Reasons that orbax and tensorstore give in the middle of long messages.
_REASONS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)))
# Bytes on their way from or to the disk at a time: a third of a ResNet-50's weights. Orbax's own
# default is all there is.
_ON_THE_WAY = 2**25
_ORBAX = Path(ocp.__file__).parent


# Of reading: what another try may not meet.
_NO_DAMAGE = {errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}


class Damaged(InputError):
    """What a step's folder holds is torn or changed: an earlier one may still be whole."""


def restore(
    path: Path, targets: dict[str, Any], *, partial: dict[str, str] | None = None
) -> tuple[dict[str, Any], Provenance]:
    """Restores named items of one step's folder; every key is accounted for, every leaf checked.

    Args:
      path: one step's folder.
      targets: item → tree of arrays or jax.ShapeDtypeStruct with sharding.
      partial: item → top-level name that may be stored without being wanted.

    Raises:
      InputError: keys, shapes or dtypes differ from the targets'.
      Damaged: a file is torn or missing, or bytes changed on disk.
    """
    metadata = read_metadata(path)
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
    try:
        with _reader(sparing_handler(structs)) as checkpointer:
            return checkpointer.restore(
                path / item,
                args=ocp.args.PyTreeRestore(
                    item=structs, restore_args=arguments, partial_restore=True
                ),
            )
    except DAMAGE as error:
        silence_abandoned_io()
        if out_of_memory.is_meant(error):
            raise
        # Orbax says which slice of which of tensorstore's objects, and why only below that.
        raise _not_read(path, item, error.__cause__ or error) from error


def _reader(handler: Any) -> ocp.Checkpointer:
    """For this process alone: one that finds damage must not leave the others at a barrier."""
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _not_read(path: Path, item: str, error: BaseException) -> InputError:
    """Damage; or what says nothing of the bytes on the disk."""
    transient = isinstance(error, OSError) and error.errno in _NO_DAMAGE
    if not (transient or "PERMISSION_DENIED" in str(error)):
        return _damaged(path, f"{item} cannot be read: {reason(error)}")
    return InputError(
        f"{item} cannot be read ({reason(error)})",
        where=path,
        way_out="see to the disk and its permissions, then run the same command again",
    )


def sparing_handler(tree: Any) -> ocp.PyTreeCheckpointHandler:
    """Reads and writes what StandardCheckpointHandler does, with less of it copied at a time.

    Args:
      tree: arrays, or what describes them: orbax refuses one that is as large as the limit.
    """
    largest = max((leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)), default=0)
    limit = max(_ON_THE_WAY, 2 * largest)
    handler = ocp.BasePyTreeCheckpointHandler(
        save_concurrent_bytes=limit, restore_concurrent_bytes=limit
    )
    return ocp.PyTreeCheckpointHandler(handler_impl=handler)


def silence_abandoned_io() -> None:
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
    # The same of arrays that had failed by then; nothing else here uses asyncio.
    logging.getLogger("asyncio").addFilter(
        lambda record: "exception was never retrieved" not in record.getMessage()
    )
    hook.silences_abandoned_io = True
    sys.unraisablehook = hook


def count_by_steady_clock() -> None:
    """Has orbax count its timeouts by a clock that nobody sets.

    It reads them off the wall clock: one that is set right while a checkpoint is written ends the
    save as timed out.
    """
    steady = types.SimpleNamespace(time=time.monotonic, sleep=time.sleep)
    future.time = signaling_client.time = steady


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of one step's folder, its checksum compared; Damaged when it is."""
    try:
        with _reader(ocp.JsonCheckpointHandler()) as checkpointer:
            metadata = checkpointer.restore(path / "metadata", args=ocp.args.JsonRestore())
        if metadata.pop("crc32c") != _crc_of_json(metadata):
            raise ValueError("it does not have the checksum it was saved with")
    except DAMAGE as error:
        raise _not_read(path, "metadata", error) from error
    return metadata


def metadata_of(
    step: int, items: dict[str, Any], provenance: Provenance, features: dict[str, Any] | None
) -> dict[str, Any]:
    """What is stored of itself beside the arrays of `items`, each a tree of arrays by name."""
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


def _damaged(path: Path, what: str) -> Damaged:
    before = [
        step for step in steps_in(path.parent) if path.name.isdigit() and step < int(path.name)
    ]
    goes_on = f"to go on from step {max(before)}" if before else "and start anew"
    return Damaged(f"damaged checkpoint: {what}", where=path, way_out=f"remove it {goes_on}")


def set_aside(path: Path) -> Path:
    """Renames a damaged step's folder so that nothing takes it for a checkpoint; its new place."""
    names = (f"{path.name}.damaged{number or ''}" for number in itertools.count())
    aside = next(each for name in names if not (each := path.with_name(name)).exists())
    with naming_disk_trouble(path.parent):
        path.rename(aside)
    return aside


def steps_in(folder: Path) -> list[int]:
    """Steps of the whole checkpoints: a save under way has another name until it is renamed."""
    return [int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()]


def reason(error: BaseException) -> str:
    """The operating system's reason where it is in the message, else how the message begins."""
    text = str(error)
    known = [reason for reason in _REASONS if reason in text]
    return known[0] if known else text.strip().split("\n")[0][:200]


def is_disk_trouble(error: BaseException) -> bool:
    """Whether a save failed because of the disk: full, read-only, gone."""
    # Tensorstore reports a full disk as a status, "OUT_OF_RANGE: Error writing …".
    named = re.search(r"^[A-Z_]+: .*(writ|disk)", str(error))
    return isinstance(error, OSError) or named is not None


@contextlib.contextmanager
def naming_disk_trouble(folder: Path) -> Iterator[None]:
    """One clear line for what the disk under a workdir's checkpoints refuses."""
    try:
        yield
    except DAMAGE as error:
        if not is_disk_trouble(error):
            raise
        for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        steps = steps_in(folder)
        stands = f"step {max(steps)} stands" if steps else "no checkpoint stands yet"
        raise InputError(
            f"checkpoint cannot be saved: {reason(error)}; {stands}",
            where=folder,
            way_out="make room or give a writable --workdir=DIR, then run the same command again",
        ) from error
