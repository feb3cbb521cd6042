"""One process of a job, for test_processes.py: `member.py MIX FOLDER STEP`.

Trains a small network to STEP from the newest checkpoint in FOLDER, leaves what it saw, agrees with
the others on a step to stop at; then the first fails.
"""

import functools
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from histo_simclr import (
    checkpoint,
    checkpoint_items,
    optimizer,
    processes,
    provenance,
    records,
    state,
    update,
)
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.input import feed, order, reader
from histo_simclr.model.resnet import BatchNorm
from histo_simclr.pretrain import objective, step, train
from histo_simclr.views import compose

BATCH = 8
CONFIG = Path(__file__).parents[2] / "configs/simclr.py"
SOURCE = provenance.Provenance(
    arch="",
    hidden=0,
    out=0,
    px=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    mpp=(0.5,),
    mix={},
    config={},
    versions={},
    revision="",
)


class Small(nnx.Module):
    """Convolution, BatchNorm, projection: every kind of state that a ResNet has, in float64."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), dtype=jnp.float64, rngs=rngs)
        self.norm = BatchNorm(8, dtype=jnp.float64)
        self.project = nnx.Linear(8, 4, dtype=jnp.float64, rngs=rngs)
        nnx.update(self, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), nnx.state(self)))

    def __call__(self, x):
        features = jnp.mean(jax.nn.relu(self.norm(self.conv(x))), axis=(1, 2))
        return features, self.project(features)


def trained(mix: Path, folder: Path, last: int, mesh: jax.sharding.Mesh) -> dict[str, np.ndarray]:
    """Trains to step `last`, which is saved.

    Returns:
      Of the steps from the newest checkpoint on: this process's part of the batches, number of
      records it read, losses; leaves of the state by name after the last.
    """
    rows, _ = records.load_mix(mix)
    rate = optimizer.schedule(0.5, warmup_steps=1, total_steps=10)
    split = state.init(
        Small,
        optimizer.make("lars", rate=rate, weight_decay=1e-4, momentum=0.9),
        seed=0,
        sharding=meshes.replicated(mesh),
    )
    views = configs.load(str(CONFIG)).views.to_dict() | {"px": 16}
    bound = functools.partial(
        step.pretrain_step,
        graph=split.graph,
        views=functools.partial(compose.random_views, **views, dtype=jnp.float64),
        loss_of=functools.partial(objective.nt_xent, temperature=0.5),
        rate=rate,
        microbatches=1,
    )
    advance = update.compile_step(bound, mesh)
    saved = checkpoint.Checkpoints(folder, keep=5, keep_every=0)
    if jax.process_index() == 1:
        saved.restore = functools.partial(cannot_read, saved.restore)
    first, arrays = saved.resume(split.arrays)
    watch, key = reader.Watch(), update.seed_key(0, mesh)
    batches = feed.global_batches(
        rows,
        lambda number: order.batch_rows(number, seed=0, n=len(rows), batch_size=BATCH),
        start=first,
        stop=last,
        mesh=mesh,
        watch=watch,
    )
    parts, losses = [], []
    with batches:
        for _ in range(first, last):
            patches = batches.next(pending=None)
            parts.append(np.concatenate([shard.data for shard in patches.addressable_shards]))
            arrays, metrics = advance(arrays, patches, key)
            losses.append(float(metrics["loss"]))
    saved.save(last, arrays, SOURCE, features=None)
    saved.close()
    leaves = {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.parts(arrays))
    }
    return leaves | {"patches": np.stack(parts), "rows_read": watch.rows_read, "losses": losses}


def cannot_read(restore, step: int, arrays):
    """As on a host that alone finds the checkpoint of step 3 damaged."""
    if step == 3:
        raise checkpoint_items.Damaged("is made up", where="step 3", way_out="none")
    return restore(step, arrays)


def shares(folder: Path) -> bool:
    try:
        processes.check_shared(folder)
    except InputError as error:
        return "process 1 of the job does not see" not in str(error)
    return True


def agreed() -> int:
    """The step at which this process stops.

    At step 3 the last process of four gets SIGTERM, or both of two; the last one is slowest.
    """
    last = jax.process_index() == jax.process_count() - 1
    told = last or jax.process_count() == 2
    with train.terminated() as stop:
        for number in range(1, 1000):
            time.sleep(0.03 if last else 0.02)
            if told and number == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            if stop(number):
                return number
    return 0


def main(mix: Path, folder: Path, last: int) -> None:
    """What the head of this file says."""
    processes.start()
    jax.config.update("jax_enable_x64", True)
    seen = trained(mix, folder, last, meshes.make()) | {"shared": shares(folder)}
    processes.SEEN = 1
    own = folder / f"of_process_{jax.process_index()}"
    own.mkdir(exist_ok=True)
    seen |= {"own": shares(own), "stopped": agreed()}
    np.savez(folder / f"{last}_{jax.process_index()}.npz", **seen)
    multihost_utils.sync_global_devices("written")
    with processes.ending_together():
        if jax.process_index() == 0:
            if jax.process_count() == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            raise InputError("is made up", where="process 0", way_out="none")
        multihost_utils.sync_global_devices("never")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
