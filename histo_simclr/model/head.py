"""Projection head: feature -> projection. Used in pretraining only, thrown away after."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike


class ProjectionHead(nnx.Module):
    """Linear, ReLU, Linear, both with bias (SimCLR, arXiv 2002.05709, sec. 4.2).

    The released weights of the paper have num_features = hidden = 512, out = 128 for ResNet-18.

    Args:
      num_features: width of the features.
      hidden: width between the two layers.
      out: width of the projections.
      rngs: `params` stream for the weights.
      dtype: of the computation; parameters are float32.
    """

    def __init__(
        self,
        num_features: int,
        hidden: int,
        out: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.linear1 = _linear(num_features, hidden, rngs=rngs, dtype=dtype)
        self.linear2 = _linear(hidden, out, rngs=rngs, dtype=dtype)

    def __call__(self, features: jax.Array) -> jax.Array:
        """(N, num_features) any float -> (N, out) in the computation's dtype, not normalized."""
        return self.linear2(jax.nn.relu(self.linear1(features)))


def _linear(fan_in: int, out: int, *, rngs, dtype) -> nnx.Linear:
    # torch.nn.Linear's default: weight and bias uniform in +-1/sqrt(fan_in).
    limit = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return nnx.Linear(fan_in, out, kernel_init=init, bias_init=init, dtype=dtype, rngs=rngs)
