import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn import metrics

from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.evaluate import overlap, segment, segment_step
from histo_simclr.model import resnet, unet

PX = 32
PIXELS = segment_step.Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SETTINGS = {
    "num_classes": 3,
    "pixels": PIXELS,
    "tile": PX,
    "batch_size": 8,
    "widths": (32, 32, 16, 16, 16),
    "warmup_fraction": 0.1,
    "rate": 3e-3,
    "weight_decay": 1e-4,
    "seed": 0,
}


@pytest.fixture(scope="module")
def encoder():
    def build():
        return nnx.split(resnet.ResNet("resnet18", rngs=nnx.Rngs(0)))

    graph, _ = nnx.eval_shape(build)
    return nnx.merge(graph, jax.jit(lambda: build()[1])())


@pytest.fixture(scope="module")
def shapes():
    """Two noisy images with planted disks (class 1) and rings (class 2), and their masks."""
    rng = np.random.default_rng(1)
    images, masks = [], []
    y, x = np.indices((PX, PX))
    for centers in (((9, 9), (21, 22)), ((21, 8), (9, 22))):
        disk, ring = (np.hypot(y - row, x - column) for row, column in centers)
        mask = np.where(disk < 7, 1, np.where((ring > 3) & (ring < 8), 2, 0))
        color = np.array([[220, 180, 200], [120, 60, 140], [120, 60, 140]])[mask]
        images.append(np.clip(color + rng.normal(0, 20, color.shape), 0, 255))
        masks.append(mask)
    return np.array(images).astype(np.uint8), np.array(masks).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted(encoder, shapes):
    """Fine-tuned on the two images."""
    return segment.fit(
        encoder, *shapes, steps=60, encoder_rate=1.0, mesh=meshes.make(1), **SETTINGS
    )


def predictions(model, images, **given):
    settings = {"pixels": PIXELS, "tile": PX, "overlap": 0.5, "batch_size": 8} | given
    return list(segment.probabilities(model, images, mesh=meshes.make(1), **settings))


def test_two_images_are_learned_by_heart(fitted, shapes):
    """Disks and rings have one color: their classes are told apart by shape alone."""
    images, masks = shapes
    found = np.stack([each.argmax(-1) for each in predictions(fitted.model, images)])
    agreement = overlap.values(overlap.count(masks, found, num_classes=3))
    assert agreement["dice"].min() > 0.95
    assert agreement["object_f1"][1:].tolist() == [1.0, 1.0]
    assert fitted.losses[-5:].mean() < 0.1 * fitted.losses[:5].mean()


def test_images_larger_than_a_tile_are_stitched(fitted, shapes):
    images, masks = shapes
    wide = np.concatenate(images, axis=1)[:, : PX + 25]
    (found,) = predictions(fitted.model, [wide])
    assert found.shape == (PX, PX + 25, 3)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    truth = np.concatenate(masks, axis=1)[:, : PX + 25]
    dice = overlap.values(overlap.count(truth[None], found.argmax(-1)[None], num_classes=3))["dice"]
    assert dice.min() > 0.8
    (again,) = predictions(fitted.model, [wide], batch_size=2)
    np.testing.assert_allclose(found, again, atol=1e-5)


def test_images_smaller_than_a_tile_keep_their_size(fitted, shapes):
    (found,) = predictions(fitted.model, [shapes[0][0, :25, :20]])
    assert found.shape == (25, 20, 3)


@pytest.fixture(scope="module")
def frozen(encoder, shapes):
    return segment.fit(
        encoder, *shapes, steps=12, encoder_rate=0.0, mesh=meshes.make(1), **SETTINGS
    )


def test_frozen_encoder_stays_to_the_bit_while_the_decoder_learns(encoder, frozen):
    before, after = (jax.tree.leaves(nnx.state(each)) for each in (encoder, frozen.model.encoder))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert frozen.losses[-3:].mean() < 0.8 * frozen.losses[:3].mean()


def test_given_encoder_is_left_alone_and_the_copy_moves(encoder, fitted):
    kernels = encoder.conv1.kernel[...], fitted.model.encoder.conv1.kernel[...]
    assert not np.allclose(*kernels, atol=1e-3)
    assert encoder.bn1.mean[...].tolist() == [0.0] * 64


def test_learning_does_not_depend_on_the_number_of_devices(encoder, shapes, frozen):
    eight = segment.fit(
        encoder, *shapes, steps=12, encoder_rate=0.0, mesh=meshes.make(8), **SETTINGS
    )
    # Rounding alone, which twelve steps of AdamW enlarge.
    np.testing.assert_allclose(eight.losses[:3], frozen.losses[:3], rtol=1e-3)
    np.testing.assert_allclose(eight.losses, frozen.losses, rtol=0.05)


def test_encoder_learns_at_its_own_rate(encoder):
    def build():
        return unet.UNet(encoder, widths=(8,) * 5, num_classes=2, rngs=nnx.Rngs(0))

    ones = jax.tree.map(
        lambda leaf: np.ones(leaf.shape), nnx.state(nnx.eval_shape(build), nnx.Param)
    )
    updates, _ = segment.slowed_encoder(0.25).update(ones, None)
    for part, expected in (("encoder", 0.25), ("decoder", 1.0)):
        leaves = jax.tree.leaves(updates[part])
        assert len(leaves) > 10
        assert {float(value) for leaf in leaves for value in np.unique(leaf)} == {expected}


def test_loss_of_certain_scores_is_scikit_learns_log_loss_and_f1():
    rng = np.random.default_rng(0)
    masks, guesses = rng.integers(3, size=(2, 2, 8, 8)).astype(np.uint8)
    masks[0, :3] = overlap.IGNORE
    scores = 20.0 * np.eye(3, dtype=np.float32)[guesses]
    kept = masks != overlap.IGNORE
    shares = np.exp(scores[kept] - scores[kept].max(-1, keepdims=True)).astype(np.float64)
    shares /= shares.sum(-1, keepdims=True)
    entropy = metrics.log_loss(masks[kept], shares)
    dice = metrics.f1_score(masks[kept], guesses[kept], average="macro")
    found = segment_step.loss_of(jnp.asarray(scores), jnp.asarray(masks))
    np.testing.assert_allclose(found, entropy + 1 - dice, rtol=1e-5)


def test_ignored_pixels_have_no_gradient():
    masks = jnp.zeros((1, 4, 4), jnp.uint8).at[0, 0].set(1).at[0, 3].set(overlap.IGNORE)
    scores = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
    gradient = jax.grad(segment_step.loss_of)(scores, masks)
    assert not np.asarray(gradient[0, 3]).any()
    assert np.asarray(gradient[0, :3]).all()


def test_images_and_masks_are_turned_alike_into_all_eight_positions():
    corner = np.arange(9, dtype=np.uint8).reshape(3, 3)
    masks = jnp.asarray(np.stack([corner] * 64))
    images = jnp.stack([masks, masks, masks], axis=-1)
    turned, with_them = segment_step.turned(jax.random.key(0), images, masks)
    np.testing.assert_array_equal(turned[..., 1], with_them)
    positions = {np.asarray(each).tobytes() for each in with_them}
    expected = {np.rot90(each, k).tobytes() for each in (corner, corner.T) for k in range(4)}
    assert positions == expected


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda masks: masks[:, :-1], r"masks of shape \(2, 31, 32\) for images of shape"),
        (lambda masks: masks[:1], "give a mask of the same height and width for each image"),
        (lambda masks: masks + np.uint8(1), "value 3 is none of the 3 classes"),
    ],
)
def test_masks_that_do_not_fit_are_refused(encoder, shapes, damage, says):
    images, masks = shapes
    with pytest.raises(InputError, match=says):
        segment.fit(
            encoder, images, damage(masks), steps=2, encoder_rate=0.0, mesh=None, **SETTINGS
        )


def test_the_recipe_names_what_learning_and_predicting_ask_for():
    recipe = set(importlib.import_module("configs.segment").defaults().to_dict())
    asked = {
        name
        for function in (segment.fit, segment.probabilities)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert recipe == asked - {"num_classes", "pixels", "mesh"}
