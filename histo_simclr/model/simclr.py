"""What is pretrained: encoder and projection head in one call. Knows no files and no config."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from histo_simclr.model.head import ProjectionHead
from histo_simclr.model.resnet import ResNet


class SimCLR(nnx.Module):
    """Encoder and head; `.train()` and `.eval()` choose batch or running statistics.

    Batch statistics are over all of `views`: under jit with a sharded batch, over all devices.

    Args:
      arch: one of resnet.ARCHS.
      hidden: width of the head's hidden layer.
      out: width of the projections.
      rngs: `params` stream for the weights.
      dtype: of the computation; parameters and batch statistics are float32.
      space_to_depth, remat: as of `resnet.ResNet`.

    Raises:
      InputError: unknown arch.
    """

    def __init__(
        self,
        arch: str,
        *,
        hidden: int,
        out: int,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        space_to_depth: bool = False,
        remat: str = "none",
    ):
        self.encoder = ResNet(
            arch, rngs=rngs, dtype=dtype, space_to_depth=space_to_depth, remat=remat
        )
        self.head = ProjectionHead(self.encoder.num_features, hidden, out, rngs=rngs, dtype=dtype)

    def __call__(self, views: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Features and projections of normalized views.

        Args:
          views: (N, px, px, 3), any float.

        Returns:
          features (N, num_features) and projections (N, out), float32; projections are not
          normalized.
        """
        features = self.encoder(views)
        projections = self.head(features)
        return features, projections.astype(features.dtype)
