"""Initialisation in place, and the plain dicts that checkpoints store."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr import state


class Small(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.List([nnx.Linear(3, 2, rngs=rngs)])
        self.norm = nnx.BatchNorm(2, rngs=rngs)


def init(devices: int) -> state.Split:
    sharding = meshes.replicated(meshes.make(devices))
    return state.init(Small, optax.sgd(0.1, momentum=0.9), seed=3, sharding=sharding)


def test_parameters_depend_on_the_seed_and_not_on_the_devices():
    one, eight = init(1).arrays, init(8).arrays
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_array_equal(a, b)


def test_parts_split_by_kind_with_readable_names():
    parts = state.parts(init(1).arrays)
    assert set(parts["params"]) == {"layer", "norm"}
    assert set(parts["params"]["layer"][0]) == {"kernel", "bias"}
    assert set(parts["batch_stats"]["norm"]) == {"mean", "var"}
    names = str(jax.tree_util.tree_leaves_with_path(parts["optimizer"]))
    assert "trace" in names
    assert "step" in names


def test_join_puts_stored_values_in_place():
    split = init(1)
    doubled = jax.tree.map(lambda leaf: leaf * 2 + 1, state.parts(split.arrays))
    joined = state.join(split.arrays, doubled)
    assert jax.tree.structure(joined) == jax.tree.structure(split.arrays)
    for a, b in zip(jax.tree.leaves(joined), jax.tree.leaves(split.arrays), strict=True):
        np.testing.assert_array_equal(a, b * 2 + 1)


def test_join_refuses_another_structure():
    split = init(1)
    stored = state.parts(split.arrays)
    del stored["params"]["norm"]
    with pytest.raises(ValueError, match="structure"):
        state.join(split.arrays, stored)
