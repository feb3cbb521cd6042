import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from histo_simclr.model import classifier, resnet


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(resnet.STAGE_BLOCKS, "small", (1, 0, 0, 0))
        rngs = nnx.Rngs(0)
        return classifier.Classifier("small", outputs=3, rngs=rngs, dtype=jnp.bfloat16)


def test_all_classes_are_alike_before_training_and_linear_in_features_after(model):
    views = jax.random.normal(jax.random.key(0), (2, 72, 72, 3))
    model.eval()
    np.testing.assert_array_equal(model(views), np.zeros((2, 3)))
    model.head.kernel[...] = jax.random.normal(jax.random.key(1), (64, 3))
    model.head.bias[...] = jnp.arange(3.0)
    logits = model(views)
    assert logits.dtype == jnp.float32
    # The encoder computes in bfloat16, the linear layer in float32: no rounding to 8 bits here.
    expected = np.float64(model.encoder(views)) @ np.float64(model.head.kernel[...])
    np.testing.assert_allclose(logits, expected + np.arange(3)[None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", resnet.ARCHS)
def test_depth_counts_from_the_linear_layer_to_the_stem(arch):
    made = nnx.eval_shape(lambda: classifier.Classifier(arch, outputs=2, rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(nnx.state(made, nnx.Param))
    depths = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        names = tuple(part.key for part in path)
        depths.setdefault("/".join(map(str, names[:2])), set()).add(classifier.depth_of(names))
    assert depths == {
        "head/kernel": {0},
        "head/bias": {0},
        "encoder/layer4": {1},
        "encoder/layer3": {2},
        "encoder/layer2": {3},
        "encoder/layer1": {4},
        "encoder/conv1": {5},
        "encoder/bn1": {5},
    }
