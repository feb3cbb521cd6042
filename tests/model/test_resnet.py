"""Reference values: torchvision in float64 (tests/golden/README.md says how they were made)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr.errors import InputError
from histo_simclr.model import resnet

CROPS = {
    "features": lambda x: x,
    "features_96px": lambda x: x[:, :96, :96],
    "features_odd": lambda x: x[:1, :201, :187],
}


@nnx.jit
def forward(encoder, images):
    return encoder(images)


def assert_near(found, expected, tolerance):
    """Largest difference, in units of the largest absolute expected value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("crop", CROPS)
def test_resnet18_in_float64_has_torchvisions_features(crop, reference, x64):
    encoder = reference.encoder("resnet18", jnp.float64)
    encoder.eval()
    found = forward(encoder, CROPS[crop](reference.images))
    assert_near(found, reference.eval[f"resnet18/{crop}"], 1e-11)


# Tolerances: about ten times what torchvision itself loses in float32.
@pytest.mark.parametrize(
    ("arch", "crop", "tolerance"),
    [
        ("resnet18", "features", 2e-5),
        ("resnet34", "features_odd", 5e-5),
        ("resnet50", "features_96px", 2e-4),
        ("resnet101", "features_96px", 1e-3),
    ],
)
def test_every_arch_in_float32_has_torchvisions_features(arch, crop, tolerance, reference):
    encoder = reference.encoder(arch, jnp.float32)
    encoder.eval()
    found = forward(encoder, CROPS[crop](reference.images))
    expected = reference.eval[f"{arch}/{crop}"]
    assert found.dtype == jnp.float32
    assert encoder.num_features == expected.shape[1]
    assert_near(found, expected, tolerance)


def test_every_stage_agrees_at_its_corners_where_a_wrong_padding_shows(reference, x64):
    @nnx.jit
    def stages(encoder, images):
        seen = {"conv1": encoder.conv1(images)}
        x = seen["maxpool"] = resnet.max_pool(jax.nn.relu(encoder.bn1(seen["conv1"])))
        for name in ("layer1", "layer2", "layer3", "layer4"):
            for block in getattr(encoder, name):
                x = block(x)
            seen[name] = x
        return seen

    encoder = reference.encoder("resnet18", jnp.float64)
    encoder.eval()
    for name, x in stages(encoder, reference.images).items():
        first = x[0, :, :, :8]
        corners = [first[:2, :2], first[:2, -2:], first[-2:, :2], first[-2:, -2:]]
        assert_near(np.stack(corners), reference.eval[f"resnet18/{name}/corners"], 1e-11)
        mean_std = np.array([x.mean(), x.std()])
        assert_near(mean_std, reference.eval[f"resnet18/{name}/mean_std"], 1e-11)


def test_bfloat16_computes_near_float32_and_keeps_float32_at_both_ends(reference):
    encoder = reference.encoder("resnet18", jnp.bfloat16)
    encoder.eval()
    found = forward(encoder, CROPS["features_96px"](reference.images))
    assert found.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(encoder))} == {jnp.dtype("float32")}
    # bfloat16 has 8 bits of mantissa: half a unit is 2e-3, and some twenty layers add theirs.
    assert_near(found, reference.eval["resnet18/features_96px"], 3e-2)


LEVERS = [
    {},
    {"space_to_depth": True, "remat": "convolutions"},
]


@pytest.fixture(
    scope="module", params=LEVERS, ids=lambda levers: "-".join(map(str, levers.values()))
)
def trained(request, reference):
    """One train-mode pass of ResNet-18 in float64: loss, features, gradients, statistics after."""

    @nnx.jit
    def run(encoder, images):
        def loss_fn(encoder):
            features = encoder(images)
            return jnp.sum(features**2), features

        (loss, features), grads = nnx.value_and_grad(loss_fn, has_aux=True)(encoder)
        return loss, features, grads

    with jax.enable_x64(True):
        encoder = reference.encoder("resnet18", jnp.float64, jnp.float64, **request.param)
        encoder.train()
        loss, features, grads = run(encoder, reference.images)
        statistics = nnx.state(encoder, nnx.BatchStat)
        return (
            np.asarray(loss),
            np.asarray(features),
            reference.named(grads),
            reference.named(statistics),
        )


def test_train_mode_normalizes_by_the_batch(trained, reference):
    loss, features, _, _ = trained
    assert_near(features, reference.train["features"], 1e-11)
    assert_near(loss, reference.train["loss"], 1e-11)


def test_running_statistics_move_a_tenth_towards_the_biased_batch_statistics(trained, reference):
    *_, statistics = trained
    for name, found in statistics.items():
        # Means are stored once; variances as torch keeps them (unbiased) and as Flax does.
        kind = "running_after_biased" if name.endswith("var") else "running_after"
        assert_near(found, reference.train[f"{kind}/{name}"], 1e-11)


def test_gradients_are_torchs(trained, reference):
    *_, grads, _ = trained
    expected = reference.train
    names = {k.removeprefix("grad_norm/") for k in expected if k.startswith("grad_norm/")}
    assert names == set(grads)
    for name, grad in grads.items():
        norm = expected[f"grad_norm/{name}"]
        np.testing.assert_allclose(np.linalg.norm(grad), norm, rtol=1e-10)
        # The inner product with a fixed random tensor: a transposed kernel has the same norm.
        direction = reference.recipe.tensor(name, grad.shape, 77).astype(np.float64)
        along = np.sum(grad * direction)
        np.testing.assert_allclose(
            along,
            expected[f"grad_along_recipe/{name}"],
            rtol=0,
            atol=1e-10 * norm * np.linalg.norm(direction),
        )
    for key in (k for k in expected if k.startswith("grad/")):
        assert_near(grads[key.removeprefix("grad/")], expected[key], 1e-10)


def test_train_mode_in_float32_stays_within_its_rounding(reference):
    encoder = reference.encoder("resnet18", jnp.float32)
    encoder.train()
    assert_near(forward(encoder, reference.images), reference.train["features"], 3e-5)
    for name, found in reference.named(nnx.state(encoder, nnx.BatchStat)).items():
        kind = "running_after_biased" if name.endswith("var") else "running_after"
        assert_near(found, reference.train[f"{kind}/{name}"], 2e-5)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 7, 10, 2), (1, 1, 1, 1)])
def test_max_pool_is_a_3x3_window_at_stride_2_inside_the_image(shape):
    x = np.random.default_rng(0).normal(-5, 1, shape).astype(np.float32)  # below a border of zeros
    rows, columns = -(-shape[1] // 2), -(-shape[2] // 2)
    expected = np.empty((shape[0], rows, columns, shape[3]), np.float32)
    for i in range(rows):
        for j in range(columns):
            window = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            expected[:, i, j] = window.max((1, 2))
    np.testing.assert_array_equal(resnet.max_pool(x), expected)


# Numbers that the convolutions of a view of 224 px give, summed over the table of arXiv 1512.03385.
CONVOLVED = {"resnet18": 2_483_712, "resnet50": 11_113_984}


@pytest.mark.parametrize("arch", CONVOLVED)
def test_each_step_of_remat_keeps_less_for_the_gradients(arch, module_at, request):
    levers = module_at(request.config.rootpath / "docs/levers.py")
    none, convolutions, blocks = (
        levers.kept_bytes(arch, remat, px=64, dtype=jnp.float32) for remat in resnet.REMAT
    )
    outputs = 4 * CONVOLVED[arch] * (64 / 224) ** 2  # of a view, 4 bytes each
    assert outputs < convolutions < 1.6 * outputs < 0.6 * none
    assert blocks < 0.4 * convolutions


@pytest.mark.parametrize("block", [resnet.BasicBlock, resnet.Bottleneck])
def test_batch_statistics_and_gradients_do_not_depend_on_the_number_of_devices(block, x64):
    images = np.random.default_rng(1).normal(size=(16, 6, 6, 8))
    target = np.random.default_rng(2).normal(size=(16, 3, 3, 4 * block.expansion))

    @nnx.jit
    def run(module, images, target):
        return nnx.value_and_grad(lambda module: jnp.sum(module(images) * target))(module)

    results = []
    for devices in (1, 8):
        mesh = jax.sharding.Mesh(jax.devices()[:devices], ("data",))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        module = nnx.jit(lambda: block(8, 4, 2, rngs=nnx.Rngs(0), dtype=jnp.float64))()
        loss, grads = run(module, *jax.device_put((images, target), sharding))
        statistics = nnx.state(module, nnx.BatchStat)
        results.append(jax.tree.map(np.asarray, (loss, grads, statistics)))
    # float64, though gradients and statistics are stored as float32 like their parameters.
    jax.tree.map(
        lambda one, eight: np.testing.assert_allclose(one, eight, rtol=1e-6, atol=1e-6), *results
    )


def test_batch_variance_survives_a_mean_far_from_zero():
    # As E[x^2] - E[x]^2 about zero, float32 is off by a quarter here.
    x = np.random.default_rng(0).normal(1005, 2, (4, 8, 8, 3)).astype(np.float32)
    norm = resnet.BatchNorm(3, dtype=jnp.float32)
    norm.mean[...] = jnp.full(3, 1000.0)
    wide = x.astype(np.float64)
    variance = wide.var((0, 1, 2), keepdims=True) + 1e-5
    expected = (wide - wide.mean((0, 1, 2), keepdims=True)) / np.sqrt(variance)
    np.testing.assert_allclose(norm(x), expected, atol=1e-4)


def test_weights_start_as_torchvisions():
    @nnx.jit
    def make():
        return resnet.BasicBlock(64, 128, 2, rngs=nnx.Rngs(0), dtype=jnp.float32)

    block = make()
    for conv, kernel in ((block.conv2, 3), (block.downsample[0], 1)):
        values = np.asarray(conv.kernel[...])
        expected = np.sqrt(2 / (128 * kernel**2))  # kaiming normal, fan out
        np.testing.assert_allclose(values.std(), expected, rtol=0.03)
        assert np.abs(values).max() > 3 * expected  # not a truncated normal
    for norm in (block.bn1, block.bn2, block.downsample[1]):
        np.testing.assert_array_equal(norm.scale[...], 1)
        np.testing.assert_array_equal(norm.bias[...], 0)


def test_unknown_arch_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"'resnet19'.*resnet18, resnet34, resnet50, resnet101"):
        resnet.ResNet("resnet19", rngs=nnx.Rngs(0), dtype=jnp.float32)
