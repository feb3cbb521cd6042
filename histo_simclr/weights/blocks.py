"""The order of an encoder's layers, for programs that are written in another library's operations.

Names are torchvision's; `histo_simclr.model.resnet` is what they must agree with.
"""

from typing import NamedTuple

from histo_simclr.weights import names


class Layer(NamedTuple):
    """A convolution and the batch normalization behind it.

    Fields:
      conv, norm: names; their tensors are `{conv}.weight` and `{norm}.weight`, `.bias`,
        `.running_mean`, `.running_var`.
      side: of the kernel; side // 2 is its padding on all sides.
      stride: in both directions.
    """

    conv: str
    norm: str
    side: int
    stride: int


class Block(NamedTuple):
    """Layers with a ReLU between them, and one behind their sum with the shortcut.

    Fields:
      name: e.g. `layer1.0`.
      layers: two or three.
      shortcut: None where the input itself is added.
    """

    name: str
    layers: tuple[Layer, ...]
    shortcut: Layer | None


STEM = Layer("conv1", "bn1", side=7, stride=2)  # then a ReLU and a 3x3 maximum at stride 2


def of_arch(arch: str) -> list[Block]:
    """The blocks behind the stem, in order; the mean over places is what follows.

    Raises:
      InputError: unknown arch.
    """
    shapes = names.shapes(arch)
    found = dict.fromkeys(name.rsplit(".", 2)[0] for name in shapes if ".conv1." in name)
    return [_block(name, shapes) for name in found]


def _block(name: str, shapes: dict[str, tuple[int, ...]]) -> Block:
    stride = 2 if name.endswith(".0") and not name.startswith("layer1.") else 1
    count = 3 if f"{name}.conv3.weight" in shapes else 2
    layers = []
    for number in range(1, count + 1):
        side = shapes[f"{name}.conv{number}.weight"][-1]
        # torchvision's "v1.5": of a bottleneck's three, the 3x3 has the stride.
        strided = number == count - 1
        layers.append(
            Layer(f"{name}.conv{number}", f"{name}.bn{number}", side, stride if strided else 1)
        )
    shortcut = None
    if f"{name}.downsample.0.weight" in shapes:
        shortcut = Layer(f"{name}.downsample.0", f"{name}.downsample.1", 1, stride)
    return Block(name, tuple(layers), shortcut)
