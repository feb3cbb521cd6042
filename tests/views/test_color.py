import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_simclr.views import color

DRAWS = 100_000


def bound(name, dtype):
    """Tolerances of golden/README.md: torchvision itself turns hue over in float32."""
    if dtype == np.float32:
        return 5e-6
    return 2e-6 if name.startswith(("hue", "jitter")) else 1e-7


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n in ("brightness", "contrast", "saturation") for v in (0.2, 1.8)]
    + [("hue", v) for v in (-0.5, -0.2, 0.1)],
)
def test_each_change_is_torchvision_s(name, value, planes, golden, pictures, dtype):
    changed = getattr(color, name)(planes, jnp.full(3, value, dtype))
    np.testing.assert_allclose(
        pictures(changed), golden[f"{name}/{value}"], rtol=0, atol=bound(name, dtype)
    )


def test_gray_is_torchvision_s_in_three_channels(planes, golden, pictures, dtype):
    gray = pictures(color.gray(planes))
    np.testing.assert_allclose(
        np.repeat(gray, 3, axis=3), golden["grayscale"], rtol=0, atol=bound("gray", dtype)
    )


def test_jitter_is_the_four_changes_in_torchvision_s_first_order(planes, golden, pictures, dtype):
    values = [jnp.full(3, value, dtype) for value in (1.3, 0.7, 1.6, -0.1)]
    jittered = color.jittered(planes, color.Jitter(*values, jnp.zeros(3, bool)))
    name = "jitter_b1.3_c0.7_s1.6_h-0.1"
    np.testing.assert_allclose(pictures(jittered), golden[name], rtol=0, atol=bound(name, dtype))


def test_each_example_has_its_own_factors(planes, golden, pictures, dtype):
    factors = jnp.array([0.2, 1.8, 0.2], dtype)
    contrasted = pictures(color.contrast(planes, factors))
    for i, factor in enumerate(("0.2", "1.8", "0.2")):
        np.testing.assert_allclose(
            contrasted[i], golden[f"contrast/{factor}"][i], rtol=0, atol=bound("contrast", dtype)
        )


def test_gray_comes_last(planes, golden, pictures, dtype):
    one, none = jnp.ones(3, dtype), jnp.zeros(3, dtype)
    jitter = color.Jitter(one, one, one, none, jnp.array([True, False, True]))
    jittered = pictures(color.jittered(planes, jitter))
    np.testing.assert_allclose(jittered[0], golden["grayscale"][0], rtol=0, atol=5e-6)
    np.testing.assert_allclose(jittered[1], pictures(planes)[1], rtol=0, atol=5e-7)


def draw(**changes):
    numbers = {
        "jitter_probability": 0.8,
        "jitter_strength": 0.5,
        "brightness": 0.8,
        "contrast": 0.6,
        "saturation": 3.0,
        "hue": 0.2,
        "gray_probability": 0.2,
    } | changes
    chances = jax.random.uniform(jax.random.key(3), (DRAWS, color.CHANCES), jnp.float32)
    return jax.jit(jax.vmap(lambda row: color.draw(row, **numbers)))(chances)


@pytest.mark.parametrize(
    ("name", "low", "high", "none"),
    [
        ("brightness", 0.6, 1.4, 1),
        ("contrast", 0.7, 1.3, 1),
        ("saturation", 0.0, 2.5, 1),  # 1 - 3 · 0.5 is negative: cut at 0
        ("hue", -0.1, 0.1, 0),
    ],
)
def test_factors_are_uniform_between_their_bounds(name, low, high, none):
    values = np.asarray(getattr(draw(), name))
    moved = values[values != none]
    assert abs(len(moved) / DRAWS - 0.8) < 4 * np.sqrt(0.8 * 0.2 / DRAWS)
    assert low <= moved.min() < low + 1e-3 * (high - low)
    assert high >= moved.max() > high - 1e-3 * (high - low)
    # Kolmogorov-Smirnov against the uniform distribution: 1.95 / √n is passed once in 1,000 draws.
    steps = (np.sort(moved) - low) / (high - low)
    distance = np.abs(steps - (np.arange(len(moved)) + 0.5) / len(moved)).max()
    assert distance < 1.95 / np.sqrt(len(moved))


def test_the_four_factors_move_together_and_independently_of_gray():
    drawn = draw()
    moved = np.asarray(drawn.brightness) != 1
    assert ((np.asarray(drawn.hue) != 0) == moved).all()
    assert abs(np.corrcoef(drawn.brightness[moved], drawn.contrast[moved])[0, 1]) < 0.015
    gray = np.asarray(drawn.gray)
    assert abs(gray.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / DRAWS)
    assert abs(gray[moved].mean() - gray[~moved].mean()) < 0.015


@pytest.mark.parametrize("changes", [{"jitter_strength": 0.0}, {"jitter_probability": 0.0}])
def test_no_strength_or_no_probability_draws_no_change(changes):
    drawn = draw(**changes)
    for name, none in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        assert (np.asarray(getattr(drawn, name)) == none).all()
