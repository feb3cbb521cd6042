"""An encoder as a pure function of its named tensors, which exported programs are traced from.

The tensors stay arguments, under torchvision's names: a program is then a few kilobytes, and its
weights lie beside it once. Kernels are (height, width, in, out), as the program's convolutions take
them: in torch's order each call would make a second copy of them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from flax import nnx

from histo_simclr.model.resnet import ResNet
from histo_simclr.views import compose
from histo_simclr.weights import names


def of_tensors(arch: str) -> Callable[[Mapping[str, jax.Array], jax.Array], jax.Array]:
    """(tensors, images) → features, to be traced.

    Args:
      arch: one of resnet.ARCHS.

    Returns:
      A function of `dict(tensors(encoder))` and of (B, H, W, 3) float32 normalized images, giving
      (B, num_features) float32. Products are at the highest precision that a device has: by
      default GPUs round float32 factors to 10 bits and TPUs to 8, and features would differ by
      more than what tells one encoder from another.
    """
    frame = nnx.eval_shape(lambda: ResNet(arch, rngs=nnx.Rngs(0)))
    frame.eval()
    graph, state = nnx.split(frame)
    leaves, structure = jax.tree_util.tree_flatten_with_path(state)
    order = [names.name_of(path) for path, _ in leaves]

    def encode(tensors: Mapping[str, jax.Array], images: jax.Array) -> jax.Array:
        arrays = [tensors[name] for name in order]
        with jax.default_matmul_precision("highest"):
            return nnx.merge(graph, jax.tree.unflatten(structure, arrays))(images)

    return encode


def tensors(encoder: ResNet) -> Iterator[tuple[str, jax.Array]]:
    """Name and array of what the function of `of_tensors` takes, in torchvision's order."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(encoder))
    named = {names.name_of(path): leaf for path, leaf in leaves}
    return ((name, named[name]) for name in names.shapes(encoder.arch) if name in named)


def shapes(arch: str) -> dict[str, tuple[int, ...]]:
    """Name → shape of `tensors`, without an encoder."""
    frame = nnx.eval_shape(lambda: ResNet(arch, rngs=nnx.Rngs(0)))
    return {name: each.shape for name, each in tensors(frame)}


@contextlib.contextmanager
def without_places() -> Iterator[None]:
    """Programs lowered inside name no files of this machine as their operations' origin."""
    option = "jax_hlo_source_file_canonicalization_regex"
    before = jax.config.values[option]
    jax.config.update(option, ".*")
    try:
        yield
    finally:
        jax.config.update(option, before)


def pictures(patches: np.ndarray, px: int) -> Iterator[np.ndarray]:
    """What programs take that normalize but do not resize, one patch at a time.

    Args:
      patches: (N, H, W, 3) uint8, of any side; resized as the encoder's own views are.
      px: side that the program was written for.

    Yields:
      (1, px, px, 3) float32 in [0, 1]: the activations of more would outweigh the weights.
    """
    for patch in patches:
        yield np.asarray(compose.plain_view(patch[None], px=px, mean=(0, 0, 0), std=(1, 1, 1)))
