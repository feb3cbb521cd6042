"""What is fine-tuned: encoder and linear classifier in one call. Knows no files and no config."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from histo_simclr.model.resnet import ResNet

# Layers from the output to the input: a learning rate may decay from one to the next.
DEPTHS = {"layer4": 1, "layer3": 2, "layer2": 3, "layer1": 4, "conv1": 5, "bn1": 5}


class Classifier(nnx.Module):
    """Encoder and one linear layer; `.train()` and `.eval()` choose batch or running statistics.

    The linear layer starts at 0 (as in BiT, arXiv 1912.11370): all classes are equally likely, and
    no random layer disturbs the encoder's features.

    Args:
      arch: one of resnet.ARCHS.
      outputs: classes, or 1 for a regression.
      rngs: `params` stream for the encoder's weights.
      dtype: of the encoder's computation; parameters, batch statistics and logits are float32.

    Raises:
      InputError: unknown arch.
    """

    def __init__(self, arch: str, *, outputs: int, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        self.encoder = ResNet(arch, rngs=rngs, dtype=dtype)
        self.head = nnx.Linear(
            self.encoder.num_features,
            outputs,
            kernel_init=nnx.initializers.zeros,
            dtype=jnp.promote_types(dtype, jnp.float32),
            rngs=rngs,
        )

    def __call__(self, views: jax.Array) -> jax.Array:
        """Normalized views (N, px, px, 3), any float → (N, outputs) float32: logits, or values."""
        return self.head(self.encoder(views))


def depth_of(path: tuple[Any, ...]) -> int:
    """Depth of a parameter of a Classifier: 0 its linear layer, 1 to 4 stages, 5 the stem."""
    return DEPTHS[path[1]] if path[0] == "encoder" else 0
