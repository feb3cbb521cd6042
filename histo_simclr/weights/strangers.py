"""Files that hold another network, or none in a known layout: what they look like."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ARCHS

# Key without wrappers' parts → the file's key and shape.
Plain = Mapping[str, tuple[str, tuple[int, ...]]]


class Known(Protocol):
    """A known layout: its name, and keys of its first two convolutions."""

    name: str
    stem: str
    block: str


# What shows in the keys of other networks → what they are called.
_STRANGERS = {
    r"(^|\.)(cls_token|pos_embed|patch_embed\.)": "a vision transformer",
    r"relative_position_bias_table": "a Swin transformer",
    r"(^|\.)stages\.\d|downsample_layers\.": "a ConvNeXt",
    r"denseblock\d": "a DenseNet",
    r"conv_stem\.|_depthwise_conv|blocks\.\d+\.\d+\.conv_dw": "an EfficientNet or MobileNet",
    r"(^|\.)features\.\d+\.conv\.": "a MobileNet",
    r"(^|\.)Mixed_\d": "an Inception network",
    r"embedder\.convolution": "a ResNet of transformers' own class (timm's is known here)",
    r"onnx::": "an ONNX program whose weights have no names any more",
    r"(^|\.)se\.fc\d|\.se_module\.": "a ResNet with squeeze and excitation",
    r"(^|\.)conv1\.0\.weight": "a ResNet with a deep stem (ResNet-D)",
    r"(^|\.)shortcut\.\d": "a ResNet for CIFAR (its shortcut is called shortcut)",
}


def _looks_like(plain: Plain) -> str:
    for pattern, what in _STRANGERS.items():
        if any(re.search(pattern, key) for key in plain):
            return what
    return ""


def another_network(plain: Plain, own: Mapping[str, str], where: object) -> InputError:
    """The error of a ResNet that is none of ours.

    Args:
      plain: all keys and shapes.
      own: torchvision's name → key, of what lies under the layout's prefix.
      where: the file.
    """
    stem = plain[own["conv1.weight"]][1]
    counts = [
        len({n.split(".")[1] for n in own if n.startswith(f"layer{s}.")}) for s in (1, 2, 3, 4)
    ]
    kind = "bottleneck" if "layer1.0.conv3.weight" in own else "basic"
    first = plain[own["layer1.0.conv1.weight"]][1] if "layer1.0.conv1.weight" in own else ()
    inner = plain[own["layer1.0.conv2.weight"]][1] if "layer1.0.conv2.weight" in own else ()
    if stem[1:2] not in ((3,), ()):
        what = f"a ResNet for images of {stem[1]} channels"
    elif stem[2:] != (7, 7):
        what = f"a ResNet with a stem of {stem[2]}x{stem[3]} px, as for CIFAR or other small images"
    elif stem[0] != 64:
        what = f"a ResNet {stem[0] / 64:g} times as wide"
    elif inner and first and inner[1:2] != first[0:1]:
        what = "a ResNeXt (convolutions in groups)"
    elif first and first[0] != 64:
        what = f"a wide ResNet ({first[0]} channels in its first block)"
    elif not any(name.endswith("running_mean") for name in own):
        what = "a ResNet without BatchNorm's running statistics (instance or group norm)"
    else:
        what = _looks_like(plain) or f"a ResNet of {kind} blocks {counts}"
    return InputError(
        f"holds {what}",
        where=where,
        way_out=f"only torchvision's {', '.join(ARCHS)} can be imported",
    )


def unknown(plain: Plain, layouts: Sequence[Known], where: object) -> InputError:
    """The error of keys in no known layout; shows the nearest and lists them all."""
    what = _looks_like(plain)
    if what:
        return InputError(
            f"holds {what}",
            where=where,
            way_out=f"only torchvision's {', '.join(ARCHS)} can be imported",
        )
    layout = nearest(list(plain), layouts)
    return InputError(
        f"holds {len(plain)} tensors in no known layout ({few(list(plain))}); the nearest known "
        f"is {layout.name}, which begins {layout.stem}",
        where=where,
        way_out="rename the keys to torchvision's, as in {k.removeprefix('PREFIX'): v for k, v in "
        "state.items()}, and save them anew",
        listed=[f"known: {each.name}: {each.stem}" for each in layouts],
    )


def nearest(keys: list[str], layouts: Sequence[Known]) -> Known:
    """The layout whose keys are most like these."""

    def likeness(layout: Known) -> float:
        return sum(
            max(difflib.SequenceMatcher(None, wanted, key).ratio() for key in keys[:400])
            for wanted in (layout.stem, layout.block)
        )

    return max(layouts, key=likeness)


def few(keys: list[str]) -> str:
    """The first of many keys, and how many more there are."""
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown
