import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr.model.head import ProjectionHead


def make(*widths):
    # Under one jit: eagerly each draw is a dozen small programs.
    return nnx.jit(lambda: ProjectionHead(*widths, rngs=nnx.Rngs(0), dtype=jnp.float32))()


def test_head_is_linear_relu_linear():
    head = make(6, 5, 4)
    features = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    w1, b1 = np.float64(head.linear1.kernel[...]), np.float64(head.linear1.bias[...])
    w2, b2 = np.float64(head.linear2.kernel[...]), np.float64(head.linear2.bias[...])
    expected = np.maximum(features @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(head(features), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("leaf", ["kernel", "bias"])
def test_weights_and_biases_start_uniform_within_one_over_root_fan_in(leaf):
    head = make(400, 900, 10)
    values = np.asarray(getattr(head.linear1, leaf)[...])
    assert np.abs(values).max() <= 1 / 20
    np.testing.assert_allclose(values.std(), 1 / 20 / np.sqrt(3), rtol=0.1)
    assert np.abs(np.asarray(head.linear2.kernel[...])).max() <= 1 / 30
