"""The train step on a small network: device counts, keys, accumulation of state."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from histo_simclr import collectives, optimizer, state, update
from histo_simclr import config as configs
from histo_simclr import mesh as meshes
from histo_simclr.model import resnet
from histo_simclr.pretrain import objective, step
from histo_simclr.views import compose

ROOT = Path(__file__).parents[2]
VIEWS = configs.load(str(ROOT / "configs/simclr.py")).views.to_dict() | {"px": 16}


class Small(nnx.Module):
    """Convolution, BatchNorm, pool, projection: every kind of state that a ResNet has."""

    def __init__(self, rngs: nnx.Rngs, dtype, remat="none"):
        self.remat = remat
        self.conv = nnx.Conv(3, 8, (3, 3), dtype=dtype, rngs=rngs)
        self.norm = resnet.BatchNorm(8, dtype=dtype)
        self.project = nnx.Linear(8, 4, dtype=dtype, rngs=rngs)
        nnx.update(self, jax.tree.map(lambda leaf: leaf.astype(dtype), nnx.state(self)))

    def __call__(self, x):
        features = resnet._run(Small.features, self, x, self.remat)
        return features, self.project(features)

    def features(self, x):
        return jnp.mean(jax.nn.relu(self.norm(self.conv(x))), axis=(1, 2))


def compiled(mesh, **bound):
    return update.compile_step(functools.partial(step.pretrain_step, **bound), mesh)


def plain(mesh, *, rate=0.1, dtype=jnp.float32, remat="none") -> state.Split:
    """Small before its first step of gradient descent."""
    return state.init(
        functools.partial(Small, dtype=dtype, remat=remat),
        optax.sgd(rate),
        seed=0,
        sharding=meshes.replicated(mesh),
    )


def recipe(dtype, **loss_settings) -> dict:
    """What a configuration decides of the step."""
    return {
        "views": functools.partial(compose.random_views, **VIEWS, dtype=dtype),
        "loss_of": functools.partial(objective.nt_xent, temperature=0.5, **loss_settings),
        "rate": lambda _: 0.1,
    }


def small_run(devices: int, steps: int, dtype, *, seed: int = 0, microbatches: int = 1):
    """(arrays, metrics of each step) after `steps` steps on random patches."""
    mesh = meshes.make(devices)
    rate = optimizer.schedule(0.5, warmup_steps=1, total_steps=10)
    split = state.init(
        functools.partial(Small, dtype=dtype),
        optimizer.make("lars", rate=rate, weight_decay=1e-4, momentum=0.9),
        seed=seed,
        sharding=meshes.replicated(mesh),
    )
    advance = compiled(
        mesh,
        graph=split.graph,
        **recipe(dtype) | {"rate": rate, "microbatches": microbatches},
    )
    arrays, seen = split.arrays, []
    for number in range(steps):
        patches = np.random.default_rng(number).integers(0, 256, (16, 24, 24, 3), np.uint8)
        patches = jax.device_put(patches, meshes.batch_sharding(mesh))
        arrays, metrics = advance(arrays, patches, jax.random.key(seed))
        seen.append({name: float(value) for name, value in metrics.items()})
    return arrays, seen


def leaves(arrays) -> dict[str, np.ndarray]:
    flat = jax.tree_util.tree_leaves_with_path(state.parts(arrays))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def test_one_and_eight_devices_train_to_the_same_state_in_float64():
    with jax.enable_x64(True):
        one, metrics_one = small_run(1, 3, jnp.float64)
        eight, metrics_eight = small_run(8, 3, jnp.float64)
    for name, expected in leaves(one).items():
        # Reductions in another order: rounding, amplified by three steps.
        np.testing.assert_allclose(leaves(eight)[name], expected, rtol=1e-9, atol=1e-12)
    for a, b in zip(metrics_one, metrics_eight, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("devices", "rows", "remat"), [(1, 0, "none"), (2, 0, "none"), (2, 8, "blocks")]
)
def test_microbatches_give_the_gradients_of_a_step_that_embeds_them_side_by_side(
    devices, rows, remat
):
    """Alone, and with the other levers of memory, which the other step has not."""
    parts, mesh = 4, meshes.make(devices)
    bound = recipe(jnp.float64)
    with jax.enable_x64(True):
        patches = np.random.default_rng(0).integers(0, 256, (16, 24, 24, 3), np.uint8)
        # At this rate the change of the parameters is the gradient.
        split = plain(mesh, rate=1.0, dtype=jnp.float64)
        sparing = plain(mesh, rate=1.0, dtype=jnp.float64, remat=remat)
        before = leaves(split.arrays)

        def side_by_side(params, others):
            chances = compose.chances(key, len(patches), count=2)
            projections = [None] * len(patches)
            for part in range(parts):
                model = nnx.merge(graph, params, others, copy=True)
                pairs = jnp.stack(bound["views"](chances[part::parts], patches[part::parts]), 1)
                _, out = model(pairs.reshape(-1, *pairs.shape[2:]))
                projections[part::parts] = list(out.reshape(-1, 2, out.shape[1]))
            return bound["loss_of"](jnp.stack(projections))

        key = jax.random.fold_in(jax.random.key(3), 0)
        model, _ = nnx.merge(*split)
        graph, params, others = nnx.split(model, nnx.Param, ...)
        loss, gradients = jax.jit(jax.value_and_grad(side_by_side))(params, others)
        expected = jax.tree.map(np.asarray, nnx.to_pure_dict(gradients))

        levers = {"microbatches": parts, "similarity_rows": rows}
        levers |= recipe(jnp.float64, similarity_rows=rows)
        advance = compiled(mesh, graph=sparing.graph, **levers)
        batch = jax.device_put(patches, meshes.batch_sharding(mesh))
        arrays, metrics = advance(sparing.arrays, batch, jax.random.key(3))
        after = leaves(arrays)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)  # a metric is float32
    for path, gradient in jax.tree_util.tree_leaves_with_path(expected):
        name = f"['params']{jax.tree_util.keystr(path)}"
        np.testing.assert_allclose(before[name] - after[name], gradient, rtol=1e-9, atol=1e-12)


def test_microbatches_move_no_patch_and_no_view_between_devices():
    mesh = meshes.make(2)
    split = plain(mesh)
    advance = compiled(mesh, graph=split.graph, **recipe(jnp.float32), microbatches=4)
    patches = jax.ShapeDtypeStruct((16, 24, 24, 3), jnp.uint8)
    program = advance.lower(split.arrays, patches, jax.random.key(0)).compile()
    found = collectives.read(program.as_text())
    assert {each.kind for each in found} <= {"all-reduce", "all-gather"}
    gathered = [each for each in found if each.kind == "all-gather"]
    # Both views' features, 8 wide, are the most that may be gathered; projections are 4 wide.
    assert gathered
    for array in (array for each in gathered for array in each.arrays):
        assert array.dtype != "u8"
        assert array.size <= 16 * 2 * 8


def test_running_statistics_of_microbatches_move_once_by_their_mean():
    settings = {"steps": 1, "dtype": jnp.float32}
    whole, parted = (leaves(small_run(1, microbatches=parts, **settings)[0]) for parts in (1, 4))
    mean = "['batch_stats']['norm']['mean']"
    # The mean of the parts' means is the batch's.
    np.testing.assert_allclose(parted[mean], whole[mean], rtol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    first, again, other = (leaves(small_run(8, 2, jnp.float32, seed=s)[0]) for s in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    kernel = next(name for name in first if "conv" in name and "params" in name)
    assert not np.array_equal(first[kernel], other[kernel])


def test_views_change_from_step_to_step_through_the_step_number():
    mesh = meshes.make(1)
    seen = []

    def record(chances, patches):
        seen.append(chances)
        x = patches.astype(jnp.float32) / 255
        return x, x[::-1]

    split = plain(mesh)
    arrays = split.arrays
    arguments = recipe(jnp.float32) | {"graph": split.graph, "views": record}
    patches = jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8))
    for _ in range(2):
        arrays, _ = step.pretrain_step(arrays, patches, jax.random.key(7), **arguments)
    expected = [jax.random.fold_in(jax.random.key(7), number) for number in range(2)]
    for chances, key in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(chances, compose.chances(key, 4, count=2))


def test_the_state_is_donated():
    mesh = meshes.make(1)
    split = plain(mesh)
    advance = compiled(mesh, graph=split.graph, **recipe(jnp.float32))
    patches = jnp.zeros((4, 24, 24, 3), jnp.uint8)
    advance(split.arrays, patches, jax.random.key(0))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(split.arrays))


def test_feature_std_is_zero_for_collapsed_features_and_one_for_white_ones():
    white = np.random.default_rng(0).standard_normal((2048, 2, 8)).astype(np.float32)
    projections = jnp.asarray(white)
    gradients = {"a": jnp.full((4,), 3.0)}
    collapsed = step.measure(jnp.float32(0), jnp.ones((2048, 2, 8)), projections, gradients)
    spread = step.measure(jnp.float32(0), jnp.asarray(white), projections, gradients)
    assert float(collapsed["feature_std"]) == pytest.approx(0, abs=1e-6)
    assert float(spread["feature_std"]) == pytest.approx(1, abs=0.02)
    assert float(spread["gradient_norm"]) == pytest.approx(6.0)
