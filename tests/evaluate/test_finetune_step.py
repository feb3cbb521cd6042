"""What of a classifier a step moves: layers by their depth, statistics, not the encoder given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr import state, update
from histo_simclr.evaluate import finetune_step
from histo_simclr.evaluate.supervised import Classification
from histo_simclr.model import resnet


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """An architecture of two blocks, quick to compile."""
    monkeypatch.setitem(resnet.STAGE_BLOCKS, "small", (1, 1, 0, 0))


@pytest.fixture
def encoder(small):
    encoder = resnet.ResNet("small", rngs=nnx.Rngs(3))
    encoder.eval()
    return encoder


def leaves(tree) -> dict[str, np.ndarray]:
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(part.key) for part in path): np.array(leaf) for path, leaf in flat}


def moved(encoder, *, steps=1, name="sgd", layer_decay=1.0, frozen=False):
    """(before, after) `steps` updates, as by `state.parts`: its params and batch_stats."""
    mesh = meshes.make(1)
    rule = finetune_step.rule(
        name=name, rate=0.1, momentum=0.9, weight_decay=0.1, layer_decay=layer_decay
    )
    split = finetune_step.start(
        encoder,
        "small",
        outputs=3,
        rule=rule,
        freeze_statistics=frozen,
        dtype=jnp.float32,
        sharding=meshes.replicated(mesh),
    )
    # A layer of zeros lets no gradient through.
    model = split.arrays[0]
    model["head"]["kernel"].set_value(jax.random.normal(jax.random.key(0), (128, 3)))
    before = state.parts(split.arrays)
    before = {item: leaves(before[item]) for item in ("params", "batch_stats")}
    bound = functools.partial(
        finetune_step.finetune_step,
        graph=split.graph,
        view=lambda key, patches: (patches.astype(jnp.float32) / 255,),
        loss_of=Classification(3, 0.0).loss,
    )
    step, arrays = update.compile_step(bound, mesh), split.arrays
    patches = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    for _ in range(steps):
        batch = (jnp.asarray(patches), jnp.arange(8) % 3)
        arrays, _ = step(arrays, batch, update.seed_key(0, mesh))
    after = state.parts(arrays)
    return before, {item: leaves(after[item]) for item in before}


def test_it_starts_from_the_encoder_and_leaves_it_alone(encoder):
    given = leaves(nnx.to_pure_dict(nnx.state(encoder, nnx.Param)))
    before, after = moved(encoder)
    for name, values in given.items():
        np.testing.assert_array_equal(before["params"][f"encoder/{name}"], values)
        assert not np.array_equal(after["params"][f"encoder/{name}"], values)
    for name, values in leaves(nnx.to_pure_dict(nnx.state(encoder, nnx.Param))).items():
        np.testing.assert_array_equal(values, given[name])


def test_the_first_update_shrinks_with_depth(encoder):
    before, whole = moved(encoder)
    _, decayed = moved(encoder, layer_decay=0.5)
    depths = {"head": 0, "layer2": 3, "layer1": 4, "conv1": 5, "bn1": 5}
    for path, start in before["params"].items():
        parts = path.split("/")
        factor = 0.5 ** depths[parts[1] if parts[0] == "encoder" else parts[0]]
        full, less = (after["params"][path] - start for after in (whole, decayed))
        # Differences of numbers near 1: float32 rounding is absolute.
        np.testing.assert_allclose(less, factor * full, rtol=1e-3, atol=5e-7, err_msg=path)
        assert np.abs(full).max() > 1e-5


def test_without_a_rate_below_the_linear_layer_only_it_moves(encoder):
    before, after = moved(encoder, steps=3, name="adamw", layer_decay=0.0)
    for path, start in before["params"].items():
        assert np.array_equal(after["params"][path], start) == path.startswith("encoder"), path


def test_batch_statistics_move_unless_frozen(encoder):
    for frozen in (False, True):
        before, after = moved(encoder, frozen=frozen)
        same = [
            np.array_equal(values, after["batch_stats"][path])
            for path, values in before["batch_stats"].items()
        ]
        assert all(same) if frozen else not any(same)
