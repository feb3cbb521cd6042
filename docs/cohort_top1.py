"""Contrastive top-1 by cohort: does the encoder tell patches apart, or only their sources?

  python docs/cohort_top1.py WORKDIR [--batches 20]

Draws training batches and views as the run did, in eval mode, and prints for each cohort: patches
seen; how often a view's nearest other view is its partner; and, of the misses, how many fall on the
same cohort, beside how many would by chance.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from histo_simclr import checkpoint, records
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.input import order, reader
from histo_simclr.pretrain import train


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--batches", type=int, default=20)
    args = parser.parse_args()
    config = ConfigDict(checkpoint.read_provenance(checkpoint.resolve(args.workdir)).config)
    rows, _ = records.load_mix(config.data.mix)
    cohorts = records.read_parquet(Path(config.data.mix) / "index.parquet", ["cohort"])["cohort"]
    program = train.build(config, meshes.make(1), configs.plan(config, len(rows)))
    saved = checkpoint.Checkpoints(args.workdir, keep=config.run.keep, keep_every=0)
    arrays, _ = saved.restore(saved.latest(), program.split.arrays)
    views = train.recipe(config, configs.plan(config, len(rows)))["views"]

    @jax.jit
    def nearest(arrays: nnx.State, key: jax.Array, patches: jax.Array) -> jax.Array:
        model, _ = nnx.merge(program.split.graph, arrays)
        model.eval()
        _, projections = model(jnp.concatenate(views(key, patches)))
        unit = projections / jnp.linalg.norm(projections, axis=1, keepdims=True)
        return jnp.argmax(unit @ unit.T - 2 * jnp.eye(len(unit)), axis=1)

    names, size = sorted(set(cohorts)), config.batch_size
    seen, hits, misses, same, chance = (dict.fromkeys(names, 0.0) for _ in range(5))

    def drawn(step: int) -> np.ndarray:
        return order.batch_rows(step, seed=config.seed, n=len(rows), batch_size=size)

    for step, patches in enumerate(reader.read(rows, drawn, start=0, stop=args.batches)):
        owner = np.tile(cohorts[drawn(step)], 2)
        found = np.asarray(nearest(arrays, jax.random.fold_in(program.seed_key, step), patches))
        for row, (cohort, other) in enumerate(zip(owner, found, strict=True)):
            hit = other == (row + size) % (2 * size)
            seen[cohort] += 1
            hits[cohort] += hit
            misses[cohort] += not hit
            same[cohort] += not hit and owner[other] == cohort
            chance[cohort] += (not hit) * ((owner == cohort).sum() - 2) / (2 * size - 2)
    print(f"{'cohort':<20}{'views':>8}{'top-1':>8}{'misses in own cohort':>22}{'by chance':>11}")
    for name in sorted(names, key=lambda name: -seen[name]):
        lost = max(misses[name], 1)
        print(
            f"{name:<20}{seen[name]:>8.0f}{hits[name] / max(seen[name], 1):>8.1%}"
            f"{same[name] / lost:>22.1%}{chance[name] / lost:>11.1%}"
        )
    saved.close()


if __name__ == "__main__":
    main()
