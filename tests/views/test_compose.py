import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from histo_simclr.views import compose

PX = 40
OFF = {
    "crop_scale": (1.0, 1.0),
    "crop_ratio": (1.0, 1.0),
    "horizontal_flip": 0.0,
    "vertical_flip": 0.0,
    "quarter_turn": 0.0,
    "jitter_probability": 0.0,
    "gray_probability": 0.0,
    "blur_probability": 0.0,
}


def drawn(count, **recipe):
    """(key, patches) -> `count` views of each, compiled."""

    def views(key, patches):
        chances = compose.chances(key, len(patches), count=count)
        return compose.random_views(chances, patches, **recipe)

    return jax.jit(views)


@pytest.fixture(scope="module")
def two_views(recipe):
    return drawn(2, px=PX, **recipe)


def test_views_of_a_patch_do_not_depend_on_the_rest_of_the_batch(two_views, patches):
    key = jax.random.key(0)
    few, many = two_views(key, patches[:4]), two_views(key, patches)
    for one, other in zip(few, many, strict=True):
        # Other shapes may be summed in another order: float32 rounding, on a range of 2.
        np.testing.assert_allclose(one, other[:4], rtol=0, atol=2e-6)


def test_views_do_not_depend_on_the_number_of_devices(two_views, patches):
    sharding = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))
    key = jax.random.key(0)
    program = two_views.lower(key, jax.device_put(patches, sharding)).compile()
    views = program(key, jax.device_put(patches, sharding))
    for one, many in zip(two_views(key, patches), views, strict=True):
        assert many.sharding.is_equivalent_to(sharding, 4)
        np.testing.assert_allclose(one, many, rtol=0, atol=2e-6)
    text = program.as_text()
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in text


def test_a_single_view_depends_on_key_and_place_alone(recipe, patches):
    same = jnp.broadcast_to(patches[:1], patches.shape)
    one = drawn(1, px=PX, **recipe)
    (view,) = one(jax.random.key(0), same)
    assert view.shape == (len(patches), PX, PX, 3)
    assert np.abs(view[1:] - view[:1]).mean(axis=(1, 2, 3)).min() > 0.01
    (again,) = one(jax.random.key(0), same[:2])
    # Other shapes may be summed in another order: float32 rounding, on a range of 2.
    np.testing.assert_allclose(again, view[:2], rtol=0, atol=2e-6)


def test_views_differ_from_each_other_between_patches_and_between_keys(two_views, patches):
    same = np.repeat(patches[:1], 16, axis=0)
    first, second = (np.asarray(view) for view in two_views(jax.random.key(0), same))
    again = np.asarray(two_views(jax.random.key(1), same)[0])
    everything = np.concatenate([first, second, again]).reshape(48, -1)
    distance = np.abs(everything[:, None] - everything[None]).max(axis=-1)
    assert (distance[~np.eye(48, dtype=bool)] > 0.01).all()


def test_with_everything_off_both_views_are_the_patch(recipe, patches, dtype):
    recipe = recipe | OFF | {"mean": (0.7, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    views = drawn(2, px=48, **recipe, dtype=dtype)(jax.random.key(0), patches)
    expected = (patches / 255 - [0.7, 0.5, 0.6]) / [0.2, 0.3, 0.25]
    for view in views:
        assert view.dtype == dtype
        np.testing.assert_allclose(
            view, expected, rtol=0, atol=1e-12 if dtype == np.float64 else 5e-6
        )


def test_strength_0_leaves_colors_alone(recipe, patches):
    recipe = recipe | OFF | {"jitter_probability": 1.0, "jitter_strength": 0.0}
    first, second = drawn(2, px=48, **recipe)(jax.random.key(0), patches)
    np.testing.assert_allclose(first, patches / 127.5 - 1, rtol=0, atol=3e-6)
    np.testing.assert_allclose(second, patches / 127.5 - 1, rtol=0, atol=3e-6)


def test_bfloat16_views_are_the_float32_ones_rounded_a_few_times(two_views, recipe, patches):
    key = jax.random.key(2)
    wide = two_views(key, patches)
    narrow = drawn(2, px=PX, **recipe, dtype=jnp.bfloat16)(key, patches)
    for one, other in zip(wide, narrow, strict=True):
        assert other.dtype == jnp.bfloat16
        difference = np.abs(np.asarray(one) - np.asarray(other, np.float32))
        # 8 significant bits: steps of 1/256 below 1, multiplied by saturation and contrast.
        assert difference.mean() < 0.01
        assert difference.max() < 0.2


def test_plain_view_is_torchvision_s_resize_then_normalization(golden, dtype):
    mean, std = np.array([0.7, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])
    view = compose.plain_view(golden["ihc"][None], px=96, mean=mean, std=std, dtype=dtype)
    np.testing.assert_allclose(
        np.asarray(view[0]) * std + mean,
        golden["crop96/whole"],
        rtol=0,
        atol=1e-7 if dtype == np.float64 else 2e-5,
    )


def test_plain_view_of_a_patch_of_the_right_size_is_the_patch(patches):
    view = compose.plain_view(patches, px=48, mean=(0.5,) * 3, std=(0.5,) * 3)
    np.testing.assert_allclose(view, patches / 127.5 - 1, rtol=0, atol=5e-7)
