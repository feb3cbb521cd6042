import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_simclr.views import blur


@pytest.mark.parametrize("way", [blur.by_taps, blur.by_products])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.0])
def test_both_ways_are_torchvision_s_blur(way, sigma, planes, golden, pictures, dtype):
    weights = blur.kernel(jnp.full(3, sigma, dtype), radius=11, dtype=dtype)
    np.testing.assert_allclose(
        pictures(way(planes, weights)),
        golden[f"blur23/{sigma}"],
        rtol=0,
        atol=1e-7 if dtype == np.float64 else 5e-6,
    )


def test_each_example_has_its_own_sigma_and_0_leaves_it_as_it_is(planes, golden, pictures, dtype):
    sigmas = jnp.array([1.0, 0.0, 2.0], jnp.float32)
    out = jax.jit(lambda x, s: blur.blurred(x, s, radius=11))(planes, sigmas)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out[1], planes[1])
    for i, name in ((0, "blur23/1.0"), (2, "blur23/2.0")):
        np.testing.assert_allclose(pictures(out)[i], golden[name][i], rtol=0, atol=5e-6)


@pytest.mark.parametrize(("px", "taps"), [(224, 23), (96, 9), (80, 9), (48, 5), (32, 3)])
def test_kernel_is_a_tenth_of_the_side_as_simclr_computes_it(px, taps):
    # data_util.py: kernel_size = height // 10; radius = int(kernel_size / 2); 2 * radius + 1 taps.
    assert 2 * blur.radius_of(px) + 1 == taps


def test_sigma_is_uniform_where_blur_happens():
    chances = jax.random.uniform(jax.random.key(1), (100_000, blur.CHANCES), jnp.float32)
    one = lambda row: blur.draw(row, blur_probability=0.5, blur_sigma=(0.1, 2.0))  # noqa: E731
    sigmas = np.asarray(jax.vmap(one)(chances))
    blurred = sigmas[sigmas > 0]
    assert abs(len(blurred) / len(sigmas) - 0.5) < 4 * np.sqrt(0.25 / len(sigmas))
    steps = (np.sort(blurred) - 0.1) / 1.9
    distance = np.abs(steps - (np.arange(len(blurred)) + 0.5) / len(blurred)).max()
    assert distance < 1.95 / np.sqrt(len(blurred))  # Kolmogorov-Smirnov, 1 in 1,000
