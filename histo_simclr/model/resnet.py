"""ResNet-18/34/50/101, numerically torchvision's: (N, H, W, 3) in, global average pool out.

Module and attribute names are torchvision's (`layer1[0].conv1`, `downsample[0]`); parameter names
are Flax's. A classifier is not part of an encoder. Knows nothing of files, config or devices.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from histo_simclr.errors import InputError

STAGE_BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
ARCHS = tuple(STAGE_BLOCKS)
BOTTLENECKS = ("resnet50", "resnet101")  # the others have basic blocks
STAGE_WIDTHS = (64, 128, 256, 512)
REMAT = ("none", "convolutions", "blocks")

# torchvision.models.resnet: kaiming_normal_(mode="fan_out", nonlinearity="relu").
_conv_init = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class BatchNorm(nnx.Module):
    """Batch normalization over (N, H, W), numerically torch's but for the variance it stores.

    Statistics are float32 whatever the computation is; the running variance is the biased one (as
    in Flax; torch stores n / (n - 1) of it). Not nnx.BatchNorm: in bfloat16 that rounds the running
    statistics before it normalizes by them, and its variance cancels when a mean is far from 0.
    """

    momentum = 0.9  # torch counts the other way round: its 0.1
    epsilon = 1e-5

    def __init__(self, width: int, *, dtype: DTypeLike):
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(width, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(width, jnp.float32))
        self.dtype = dtype
        self.use_running_average = False  # set by nnx.Module.train() and .eval()

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, width) -> the same shape in the computation's dtype."""
        wide = jnp.promote_types(self.dtype, jnp.float32)
        scale, bias = self.scale[...].astype(wide), self.bias[...].astype(wide)
        mean, var = self.mean[...].astype(wide), self.var[...].astype(wide)
        # Distances from the running mean: E[d^2] - E[d]^2 then cancels only while the mean is
        # still far away, and both sums come from one pass over x.
        distance = x.astype(wide) - _per_channel(mean)
        shift = jnp.zeros_like(mean)
        if not self.use_running_average:
            shift = jnp.mean(distance, (0, 1, 2))
            batch_var = jnp.maximum(jnp.mean(distance**2, (0, 1, 2)) - shift**2, 0)
            moved = mean + (1 - self.momentum) * shift
            self.mean[...] = moved.astype(self.mean.dtype)
            moved = self.momentum * var + (1 - self.momentum) * batch_var
            self.var[...] = moved.astype(self.var.dtype)
            var = batch_var
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        offset = bias - shift * factor
        return (distance * _per_channel(factor) + _per_channel(offset)).astype(self.dtype)


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut (arXiv 1512.03385, fig. 5 left)."""

    expansion = 1

    def __init__(self, fan_in: int, width: int, stride: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        self.conv1 = _conv(fan_in, width, 3, stride, rngs=rngs, dtype=dtype)
        self.bn1 = BatchNorm(width, dtype=dtype)
        self.conv2 = _conv(width, width, 3, 1, rngs=rngs, dtype=dtype)
        self.bn2 = BatchNorm(width, dtype=dtype)
        self.downsample = _downsample(fan_in, width, stride, rngs=rngs, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, fan_in) -> (N, ceil(H / stride), ceil(W / stride), width * expansion)."""
        y = jax.nn.relu(self.bn1(_kept(self.conv1(x))))
        y = self.bn2(_kept(self.conv2(y)))
        return jax.nn.relu(y + _shortcut(self.downsample, x))


class Bottleneck(nnx.Module):
    """1x1, 3x3, 1x1 and a shortcut. The stride sits on the 3x3, as in torchvision ("v1.5")."""

    expansion = 4

    def __init__(self, fan_in: int, width: int, stride: int, *, rngs: nnx.Rngs, dtype: DTypeLike):
        out = width * self.expansion
        self.conv1 = _conv(fan_in, width, 1, 1, rngs=rngs, dtype=dtype)
        self.bn1 = BatchNorm(width, dtype=dtype)
        self.conv2 = _conv(width, width, 3, stride, rngs=rngs, dtype=dtype)
        self.bn2 = BatchNorm(width, dtype=dtype)
        self.conv3 = _conv(width, out, 1, 1, rngs=rngs, dtype=dtype)
        self.bn3 = BatchNorm(out, dtype=dtype)
        self.downsample = _downsample(fan_in, out, stride, rngs=rngs, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, H, W, fan_in) -> (N, ceil(H / stride), ceil(W / stride), width * expansion)."""
        y = jax.nn.relu(self.bn1(_kept(self.conv1(x))))
        y = jax.nn.relu(self.bn2(_kept(self.conv2(y))))
        y = self.bn3(_kept(self.conv3(y)))
        return jax.nn.relu(y + _shortcut(self.downsample, x))


class ResNet(nnx.Module):
    """Encoder: a torchvision ResNet up to its global average pool.

    Args:
      arch: one of ARCHS.
      rngs: `params` stream for the weights.
      dtype: of the computation; parameters and batch statistics are float32.
      space_to_depth: compute the stem on blocks of 2 x 2 pixels (`stem_by_blocks`); same numbers.
      remat: what is kept for the gradients, one of REMAT; same numbers.

    Raises:
      InputError: unknown arch.
    """

    def __init__(
        self,
        arch: str,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        space_to_depth: bool = False,
        remat: str = "none",
    ):
        if arch not in STAGE_BLOCKS:
            raise InputError(
                f"unknown architecture {arch!r}",
                where="arch",
                way_out=f"choose one of {', '.join(ARCHS)}",
            )
        self.arch, self.remat, self.space_to_depth = arch, remat, space_to_depth
        block = Bottleneck if arch in BOTTLENECKS else BasicBlock
        self.conv1 = _conv(3, 64, 7, 2, rngs=rngs, dtype=dtype)
        self.bn1 = BatchNorm(64, dtype=dtype)
        fan_in, stages = 64, []
        for stage, (width, count) in enumerate(zip(STAGE_WIDTHS, STAGE_BLOCKS[arch], strict=True)):
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(fan_in, width, stride, rngs=rngs, dtype=dtype))
                fan_in = width * block.expansion
            stages.append(nnx.List(blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.num_features = fan_in
        self.stage_features = (64, *(width * block.expansion for width in STAGE_WIDTHS))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features of normalized images.

        Args:
          x: (N, H, W, 3), any float; H and W of any size, odd ones too.

        Returns:
          (N, num_features) float32 (float64 when computed so), >= 0.
        """
        x = self.stages(x)[-1]
        return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))

    def stages(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """What the stem and the four stages give, before any pooling over places.

        Args:
          x: (N, H, W, 3), as for a call.

        Returns:
          Five maps of the computation's dtype, with sides ceil(H / 2), ceil(H / 4), … ceil(H / 32)
          and `stage_features` channels.
        """
        stem = functools.partial(_stem, self.space_to_depth)
        first, x = _run(stem, (self.conv1, self.bn1), x, self.remat)
        found = [first]
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = _run(type(block).__call__, block, x, self.remat)
            found.append(x)
        return tuple(found)


def max_pool(x: jax.Array) -> jax.Array:
    """3x3 maximum at stride 2 with a border of -inf: (N, H, W, C) -> (N, ceil(H/2), ceil(W/2), C).

    As maxima of strided slices, first over rows, then over columns: the gradient is then a chain of
    selects, where that of `reduce_window` is a select-and-scatter, slow on CPU.
    """
    for axis in (1, 2):
        out = (x.shape[axis] + 1) // 2
        border = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
        padded = jnp.pad(x, border, constant_values=-jnp.inf)
        first, second, third = (
            jax.lax.slice_in_dim(padded, start, start + 2 * out - 1, stride=2, axis=axis)
            for start in range(3)
        )
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def stem_by_blocks(conv: nnx.Conv, x: jax.Array) -> jax.Array:
    """A 7x7 convolution at stride 2 as one of 4x4 at stride 1 on blocks of 2x2 pixels.

    Three channels leave a matrix unit nearly idle, twelve do so less. The same products in another
    order; parameters are those of `conv`.

    Args:
      conv: kernel (7, 7, C, out), stride 2, border 3, no bias.
      x: (N, H, W, C), H and W even.

    Returns:
      (N, H / 2, W / 2, out) of the computation's dtype.
    """
    n, height, width, channels = x.shape
    x, kernel = x.astype(conv.dtype), conv.kernel[...].astype(conv.dtype)
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    # An eighth row and column of zeros in front: the window then begins at an even pixel.
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(4, 2, 4, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    return jax.lax.conv_general_dilated(
        x.reshape(n, height // 2, width // 2, 4 * channels),
        kernel.reshape(4, 4, 4 * channels, -1),
        window_strides=(1, 1),
        padding=((2, 1), (2, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _conv(fan_in: int, out: int, kernel: int, stride: int, *, rngs, dtype) -> nnx.Conv:
    # Explicit padding: at stride 2 XLA's SAME pads even sizes on one side only, torch on both.
    return nnx.Conv(
        fan_in,
        out,
        (kernel, kernel),
        strides=stride,
        padding=[(kernel // 2, kernel // 2)] * 2,
        use_bias=False,
        kernel_init=_conv_init,
        dtype=dtype,
        rngs=rngs,
    )


def _per_channel(values: jax.Array) -> jax.Array:
    return values.reshape(1, 1, 1, -1)


def _downsample(fan_in: int, out: int, stride: int, *, rngs, dtype) -> nnx.List | None:
    if fan_in == out and stride == 1:
        return None
    conv = _conv(fan_in, out, 1, stride, rngs=rngs, dtype=dtype)
    return nnx.List([conv, BatchNorm(out, dtype=dtype)])


def _shortcut(downsample: nnx.List | None, x: jax.Array) -> jax.Array:
    if downsample is None:
        return x
    conv, bn = downsample
    return bn(_kept(conv(x)))


def _kept(x: jax.Array) -> jax.Array:
    """Marks what remat = "convolutions" keeps."""
    return checkpoint_name(x, "convolution")


def _stem(by_blocks: bool, layers: tuple[nnx.Conv, BatchNorm], x: jax.Array) -> tuple:
    """The maps before and after the pooling."""
    conv, bn = layers
    x = jax.nn.relu(bn(_kept(stem_by_blocks(conv, x) if by_blocks else conv(x))))
    return x, max_pool(x)


def _run(part: Callable, layers: Any, x: jax.Array, remat: str) -> Any:
    """part(layers, x), keeping for the gradients what REMAT says."""
    if remat == "none":
        return part(layers, x)
    policy = None
    if remat == "convolutions":
        policy = jax.checkpoint_policies.save_only_these_names("convolution")
    return nnx.remat(part, policy=policy)(layers, x)
