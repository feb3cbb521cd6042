import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr.model import resnet, unet

WIDTHS = (16, 16, 8, 8, 8)


@pytest.fixture(scope="module")
def network():
    def build():
        encoder = resnet.ResNet("resnet18", rngs=nnx.Rngs(0))
        built = unet.UNet(encoder, widths=WIDTHS, num_classes=3, rngs=nnx.Rngs(1))
        built.eval()
        return nnx.split(built)

    graph, _ = nnx.eval_shape(build)
    return nnx.merge(graph, jax.jit(lambda: build()[1])())


def images(height, width):
    return jax.random.normal(jax.random.key(height * width), (2, height, width, 3))


def test_the_last_stage_pooled_is_the_feature(network):
    x = images(64, 64)
    stages = network.encoder.stages(x)
    np.testing.assert_array_equal(stages[-1].mean((1, 2)), network.encoder(x))
    assert tuple(stage.shape[-1] for stage in stages) == network.encoder.stage_features


@pytest.mark.parametrize("shape", [(64, 64), (33, 50)])
def test_every_pixel_has_its_scores_at_any_size(network, shape):
    assert network(images(*shape)).shape == (2, *shape, 3)


def test_doubling_puts_each_pixel_where_numpy_puts_it():
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    doubled = np.kron(x[0], np.ones((2, 2, 1)))
    np.testing.assert_array_equal(unet.twice(jnp.array(x), (3, 5))[0], doubled[:3, :5])


@pytest.mark.parametrize("stage", range(5))
def test_every_stage_of_the_encoder_reaches_the_scores(network, stage):
    x = images(64, 64)
    stages = network.encoder.stages(x)
    without = [jnp.zeros_like(each) if i == stage else each for i, each in enumerate(stages)]
    assert not np.allclose(network.decoder(x, stages), network.decoder(x, without), atol=1e-3)


def test_a_pixel_moves_its_own_scores_most(network):
    """The full-size path keeps places: no shift, no transposition."""
    x = images(64, 64)
    moved = x.at[0, 20, 45].add(10.0)
    change = np.abs(np.asarray(network(moved) - network(x)))[0].max(-1)
    y, x = np.unravel_index(change.argmax(), change.shape)
    assert abs(y - 20) <= 3
    assert abs(x - 45) <= 3
