import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr.model.simclr import SimCLR


@pytest.fixture(scope="module")
def model():
    @nnx.jit
    def make():
        return SimCLR("resnet18", hidden=7, out=5, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)

    return make()


@nnx.jit
def forward(model, views):
    return model(views)


def test_one_call_gives_the_feature_and_its_projection(model):
    model.eval()
    # 72 px: below 65 px XLA has no fast convolution for the last stage on CPU.
    views = jax.random.normal(jax.random.key(0), (2, 72, 72, 3))
    features, projections = forward(model, views)
    assert features.dtype == projections.dtype == jnp.float32
    head = model.head
    hidden = np.maximum(features @ head.linear1.kernel[...] + head.linear1.bias[...][None], 0)
    expected = hidden @ head.linear2.kernel[...] + head.linear2.bias[...][None]
    assert projections.shape == (2, 5)
    # bfloat16 keeps 8 bits.
    np.testing.assert_allclose(projections, expected, rtol=0, atol=0.03 * np.abs(expected).max())


def test_statistics_move_in_train_mode_only(model):
    views = jax.random.normal(jax.random.key(0), (2, 72, 72, 3))
    before = np.asarray(model.encoder.bn1.mean[...])
    model.eval()
    forward(model, views)
    np.testing.assert_array_equal(model.encoder.bn1.mean[...], before)
    model.train()
    forward(model, views)
    assert np.abs(np.asarray(model.encoder.bn1.mean[...]) - before).max() > 1e-3
