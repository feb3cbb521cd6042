"""U-Net: a decoder on the encoder's stages gives every pixel a score for each class.

Arrays in, arrays out; knows nothing of files, config or devices.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from histo_simclr.model.resnet import BatchNorm, ResNet

# torch's default for the layers that have no other: kaiming_uniform_ in front of a ReLU.
_conv_init = nnx.initializers.variance_scaling(2.0, "fan_in", "uniform")


class DecoderBlock(nnx.Module):
    """Twice as large, joined with the encoder's map of that size, two 3x3 convolutions."""

    def __init__(self, fan_in: int, skip: int, width: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.conv1 = _conv(fan_in + skip, width, rngs=rngs, dtype=dtype, use_bias=False)
        self.bn1 = BatchNorm(width, dtype=dtype)
        self.conv2 = _conv(width, width, rngs=rngs, dtype=dtype, use_bias=False)
        self.bn2 = BatchNorm(width, dtype=dtype)

    def __call__(self, x: jax.Array, skip: jax.Array) -> jax.Array:
        """(N, h, w, fan_in) and (N, H, W, skip), h = ceil(H / 2) -> (N, H, W, width)."""
        x = jnp.concatenate((twice(x, skip.shape[1:3]), skip), axis=-1)
        x = jax.nn.relu(self.bn1(self.conv1(x)))
        return jax.nn.relu(self.bn2(self.conv2(x)))


class Decoder(nnx.Module):
    """Five blocks, deepest first; the last works at full size beside the image itself.

    Args:
      stage_features: channels of the encoder's five stages.
      widths: channels of the five blocks.
      num_classes: K.
      rngs: `params` stream.
      dtype: of the computation.
    """

    def __init__(
        self,
        stage_features: Sequence[int],
        widths: Sequence[int],
        num_classes: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ):
        fan_in, *skips = reversed((3, *stage_features))
        blocks = []
        for skip, width in zip(skips, widths, strict=True):
            blocks.append(DecoderBlock(fan_in, skip, width, rngs=rngs, dtype=dtype))
            fan_in = width
        self.blocks = nnx.List(blocks)
        self.head = _conv(fan_in, num_classes, rngs=rngs, dtype=dtype, use_bias=True)

    def __call__(self, images: jax.Array, stages: Sequence[jax.Array]) -> jax.Array:
        """(N, H, W, 3) and its stages -> (N, H, W, K) float32 (float64 when computed so)."""
        x, *skips = reversed((images.astype(stages[0].dtype), *stages))
        for block, skip in zip(self.blocks, skips, strict=True):
            x = block(x, skip)
        return self.head(x).astype(jnp.promote_types(x.dtype, jnp.float32))


class UNet(nnx.Module):
    """Encoder and decoder (arXiv 1505.04597, on a ResNet).

    Args:
      encoder: any ResNet; the module itself, not a copy.
      widths: channels of the decoder's five blocks, deepest first.
      num_classes: K.
      rngs: `params` stream for the decoder.
      dtype: of the decoder's computation.
    """

    def __init__(
        self,
        encoder: ResNet,
        *,
        widths: Sequence[int],
        num_classes: int,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.encoder = encoder
        self.decoder = Decoder(encoder.stage_features, widths, num_classes, rngs=rngs, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores before softmax: (N, H, W, 3), normalized, of any size -> (N, H, W, K)."""
        return self.decoder(x, self.encoder.stages(x))


def twice(x: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Each pixel doubled in height and width, the last row or column left out where `shape` is odd.

    Args:
      x: (N, h, w, C).
      shape: (H, W) wanted, h = ceil(H / 2) and w = ceil(W / 2).
    """
    x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return x[:, : shape[0], : shape[1]]


def _conv(fan_in: int, out: int, *, rngs, dtype, use_bias: bool) -> nnx.Conv:
    return nnx.Conv(
        fan_in,
        out,
        (3, 3),
        padding=[(1, 1)] * 2,
        use_bias=use_bias,
        kernel_init=_conv_init,
        dtype=dtype,
        rngs=rngs,
    )
