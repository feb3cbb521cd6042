"""What runs on the devices where features are wanted: uint8 patches → features, one program.

In float32 at the highest precision of the device, so that features are the same on all of them: by
default GPUs round the factors of float32 products to 10 bits, and TPUs to 8. Without TensorFlow and
without files, so that an encoder serves wherever JAX runs.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import nnx

from histo_simclr import mesh as meshes
from histo_simclr.model.resnet import ResNet
from histo_simclr.views import compose


def encoding(
    encoder: ResNet,
    *,
    px: int,
    mean: Sequence[float],
    std: Sequence[float],
    mesh: jax.sharding.Mesh,
) -> Callable[[jax.Array], jax.Array]:
    """(B, height, width, 3) uint8 → (B, num_features) float32, the same on every process.

    Args:
      encoder: in eval mode; neither it nor its statistics change.
      px, mean, std: what the encoder expects, from its provenance; mean and std per channel of
        pixels in [0, 1]. Patches of another side are resized to px.
      mesh: with the axis `data`; B is divisible by the number of its devices.
    """
    graph, state = nnx.split(encoder)
    whole = meshes.replicated(mesh)
    state = jax.device_put(jax.tree.map(functools.partial(_movable, mesh), state), whole)
    program = _program(_Structure(graph), mesh, px, tuple(map(float, mean)), tuple(map(float, std)))
    return functools.partial(program, state)


def _movable(mesh: jax.sharding.Mesh, leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    # By way of the host: what one device holds cannot go to those of other processes. What is
    # there already stays, and takes no second place.
    there = isinstance(leaf, jax.Array) and leaf.sharding.device_set == set(mesh.devices.flat)
    return leaf if there else np.asarray(leaf)


def forget() -> None:
    """Frees the compiled programs, which take up to a quarter of an encoder's memory on the CPU."""
    _program.cache_clear()


class _Structure:
    """A model's graph as a dictionary key: Flax's own compares, but may hold unhashable lists."""

    def __init__(self, graph: nnx.GraphDef):
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and self.graph == other.graph

    def __hash__(self) -> int:
        return len(self.graph.nodes)


# Kept, so that both splits and both encoders of an evaluation share one compiled program.
@functools.lru_cache(maxsize=4)
def _program(structure: _Structure, mesh, px: int, mean: tuple[float, ...], std: tuple):
    def encode(state, patches):
        encoder = nnx.merge(structure.graph, state)
        with jax.default_matmul_precision("highest"):
            return encoder(compose.plain_view(patches, px=px, mean=mean, std=std))

    return jax.jit(
        encode,
        out_shardings=meshes.replicated(mesh),
        compiler_options=meshes.compiler_options(mesh),
    )
