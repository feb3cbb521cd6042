"""The names that the rest of the world gives an encoder's tensors: torchvision's, with its shapes.

`layer1.0.conv1.weight` (out, in, height, width) is our `layer1/0/conv1/kernel` (height, width, in,
out); a BatchNorm's weight, bias, running_mean and running_var are our scale, bias, mean and var.
Nothing but names and the order of axes changes, so both ways are exact.
"""

from collections.abc import Iterator, Mapping

import jax
import numpy as np
from flax import nnx

from histo_simclr.model.resnet import ResNet

BATCHES = "num_batches_tracked"  # torch counts them, and needs the count for nothing here
_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def shapes(arch: str) -> dict[str, tuple[int, ...]]:
    """Name → torch's shape of every tensor of an encoder, without the classifier `fc`.

    Raises:
      InputError: unknown arch.
    """
    found = {}
    for name, leaf in _leaves(nnx.eval_shape(lambda: ResNet(arch, rngs=nnx.Rngs(0)))):
        shape = leaf.shape
        found[name] = (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape
        if name.endswith("running_var"):
            found[name.replace("running_var", BATCHES)] = ()
    return found


def to_torch(encoder: ResNet) -> Mapping[str, np.ndarray]:
    """The tensors of `shapes`, in its order: float32, convolutions (out, in, height, width).

    Each is made when it is asked for, so that no second encoder lies in memory.
    """
    return _AsTorch(encoder)


class _AsTorch(Mapping):
    def __init__(self, encoder: ResNet):
        self._leaves: dict[str, jax.Array | None] = {}
        for name, leaf in _leaves(encoder):
            self._leaves[name] = leaf
            if name.endswith("running_var"):
                self._leaves[name.replace("running_var", BATCHES)] = None

    def __getitem__(self, name: str) -> np.ndarray:
        leaf = self._leaves[name]
        if leaf is None:
            return np.zeros((), np.int64)
        array = np.asarray(leaf, np.float32)
        # A copy in torch's order: writers take the bytes as they lie.
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._leaves)

    def __len__(self) -> int:
        return len(self._leaves)


def weights_of(encoder: ResNet) -> Iterator[tuple[str, np.ndarray]]:
    """Name and tensor of all but `num_batches_tracked`, as ONNX needs them."""
    return ((name, array) for name, array in to_torch(encoder).items() if array.ndim)


def from_torch(tensors: Mapping[str, np.ndarray], arch: str) -> ResNet:
    """An encoder in eval mode, on this process's first device.

    Args:
      tensors: the names and shapes of `shapes(arch)`; read one by one, so that a mapping that
        reads from a file holds one at a time. `num_batches_tracked` is not looked at.
      arch: one of resnet.ARCHS.

    Raises:
      KeyError: a tensor is missing.
      ValueError: one has another shape.
    """
    encoder = nnx.eval_shape(lambda: ResNet(arch, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(encoder)
    device = jax.local_devices()[0]
    named = jax.tree_util.tree_flatten_with_path(state)
    loaded = []
    for path, leaf in named[0]:
        name = name_of(path)
        array = np.asarray(tensors[name], np.float32)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        if array.shape != leaf.shape:
            raise ValueError(f"{name} has shape {array.shape}, {arch}'s is {leaf.shape}")
        loaded.append(jax.device_put(np.ascontiguousarray(array), device))
    encoder = nnx.merge(graph, jax.tree.unflatten(named[1], loaded))
    encoder.eval()
    return encoder


def _leaves(encoder: ResNet) -> list[tuple[str, jax.Array]]:
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(encoder))
    return sorted(
        ((name_of(path), leaf) for path, leaf in leaves), key=lambda each: _order(each[0])
    )


def name_of(path: tuple) -> str:
    """Torchvision's name of a leaf, given its path (jax.tree_util) in an encoder's state."""
    parts = [str(getattr(part, "key", part)) for part in path if hasattr(part, "key")]
    *module, leaf = parts
    return ".".join((*module, "weight" if leaf == "kernel" else _NORM[leaf]))


def _order(name: str) -> tuple:
    """Torchvision's own order: stem, stages, blocks; in a block the shortcut comes last."""
    *module, leaf = name.split(".")
    inner = list(_NORM.values()).index(leaf)
    if len(module) == 1:
        return 0, 0, 0, module[0] == "bn1", 0, inner
    shortcut = module[2] == "downsample"
    place = (int(module[3]), 0) if shortcut else (int(module[2][-1]), module[2].startswith("bn"))
    return int(module[0][-1]), int(module[1]), shortcut, *place, inner
