"""Whose file is it? Keys and shapes of a file's tensors → which of them are the encoder's.

Every key is accounted for: it is loaded, or known and left out for a stated reason, or the file is
refused. Nothing is ever loaded in part. The layouts are those that the projects' own code writes.
"""

import difflib
import re
from collections.abc import Mapping
from typing import NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ARCHS
from histo_simclr.weights import names

Shapes = Mapping[str, tuple[int, ...]]

# What wrappers of torch put into names, at any place: DataParallel, torch.compile, strategies.
WRAPPERS = frozenset(("module", "_orig_mod", "_forward_module"))
HEAD = "projection head"
CLASSIFIER = "classifier"
ONLINE = "classifier trained beside the encoder"
COPY = "momentum copy of the network"
TRAINING = "state of the training, not of the network"
COUNTERS = "counts of training batches"


class Layout(NamedTuple):
    """How one project names its tensors.

    Fields:
      name: of the project or family.
      prefix: before the encoder's names.
      is_sequential: the encoder is `nn.Sequential(*resnet.children())`: numbers instead of names.
      left_out: pattern of a key (from its start) → why it is no part of the encoder.
    """

    name: str
    prefix: str
    is_sequential: bool
    left_out: dict[str, str]


class Plan(NamedTuple):
    """What becomes of each key of a file.

    Fields:
      arch: one of ARCHS, told from the tensors.
      layout: name of the layout.
      loaded: torchvision's name → the file's key.
      left_out: reason → the file's keys.
    """

    arch: str
    layout: str
    loaded: dict[str, str]
    left_out: dict[str, list[str]]


_LIGHTLY = {
    r"(projection|prediction)_head(_momentum|_teacher|_student)?\.": HEAD,
    r"(backbone|teacher_backbone)_momentum\.|teacher_backbone\.|teacher_head\.": COPY,
    r"(criterion|prototypes|memory_bank)\b": TRAINING,
    r"(online_)?classifier\.": ONLINE,
}
_SOLO = {
    r"(projector|predictor|key_projector)\.": HEAD,
    r"momentum_(backbone|encoder|projector|predictor|classifier)\.": COPY,
    r"(classifier|online_classifier)\.": ONLINE,
    r"(queue|queue_ptr|queue_y|prototypes|knn|whitening|center)\b": TRAINING,
}
_MOCO = {
    r"encoder_k\.|momentum_encoder\.": COPY,
    r"(queue|queue_ptr)$": TRAINING,
    r"(predictor|projector)\.": HEAD,
}
# Sequential numbers of list(resnet.children()): ReLU and pooling, 2, 3 and 8, hold nothing.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}

# Read in the projects' code: torchvision, timm; ozanciga/self-supervised-histopathology (README);
# lightly-ai/lightly (examples/pytorch_lightning/simclr.py, moco.py); vturrisi/solo-learn
# (solo/methods/base.py: `backbone`, before 2022 `encoder`); Spijkervet/SimCLR (simclr/simclr.py);
# facebookresearch/moco; sthalles/SimCLR (`backbone`, head in its fc).
LAYOUTS = (
    Layout("Ciga et al. (Lightning)", "model.resnet.", False, {r"model\.(?!resnet\.)": HEAD}),
    Layout("Ciga et al.", "resnet.", False, {}),
    Layout("torchvision or timm", "", False, {}),
    Layout("lightly", "backbone.", True, _LIGHTLY),
    Layout("lightly (before 1.2)", "model.backbone.", True, {r"model\.projection_head\.": HEAD}),
    Layout("solo-learn or sthalles/SimCLR", "backbone.", False, _SOLO | _LIGHTLY),
    Layout("Spijkervet/SimCLR or solo-learn", "encoder.", False, _SOLO),
    Layout("MoCo", "encoder_q.", False, _MOCO),
    Layout("MoCo v3", "base_encoder.", False, _MOCO),
    Layout("DSMIL", "features.", True, {r"l[12]\.": HEAD}),
)


def plan(shapes: Shapes, *, where: object, arch: str = "") -> Plan:
    """What becomes of each of a file's tensors.

    Args:
      shapes: key → shape, of every tensor in the file.
      where: the file, for messages.
      arch: what the user says that it is; "" to believe the tensors.

    Raises:
      InputError: no known layout, another network, or keys that are missing or of no known use.
    """
    plain = _without_wrappers(shapes, where)
    for layout in LAYOUTS:
        own = _own(layout, plain)
        if not _has_stem(own, plain):
            continue
        found = _arch(own, plain)
        if not found:
            raise _another_network(plain, own, where)
        if arch not in ("", found):
            raise InputError(
                f"holds a {found}, --arch says {arch}",
                where=where,
                way_out=f"give --arch {found} or leave it out",
            )
        return _accounted(layout, own, plain, found, where)
    raise _unknown(plain, where)


def _without_wrappers(shapes: Shapes, where: object) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Key without wrappers' parts → the file's key and shape."""
    plain = {}
    for key, shape in shapes.items():
        short = ".".join(part for part in key.split(".") if part not in WRAPPERS)
        if short in plain:
            raise InputError(
                f"holds both {plain[short][0]} and {key}",
                where=where,
                way_out="save the network that you mean alone",
            )
        plain[short] = key, tuple(shape)
    return plain


def _own(layout: Layout, plain: Mapping[str, object]) -> dict[str, str]:
    """Name within the encoder, torchvision's → key without wrappers; fc and others come along."""
    own = {}
    for key in plain:
        if not key.startswith(layout.prefix):
            continue
        name = key[len(layout.prefix) :]
        if layout.is_sequential:
            first, _, rest = name.partition(".")
            name = f"{_CHILDREN[first]}.{rest}" if first in _CHILDREN else f"({name})"
        own[name] = key
    return own


def _has_stem(own: Mapping[str, str], plain: Mapping) -> bool:
    key = own.get("conv1.weight")
    return key is not None and len(plain[key][1]) == 4 and any(n.startswith("layer1.") for n in own)


def _arch(own: Mapping[str, str], plain: Mapping) -> str:
    """The architecture that has these blocks, of these shapes; "" when none has."""
    for arch in ARCHS:
        wanted = names.shapes(arch)
        blocks = {name.rpartition(".")[0] for name in wanted if name.startswith("layer")}
        there = {name.rpartition(".")[0] for name in own if re.match(r"layer\d\.\d+\.", name)}
        # Tensors may be missing or too many; that is said of the architecture which is nearest.
        if len(blocks ^ there) > max(2, len(blocks) // 20):
            continue
        if all(plain[own[name]][1] == shape for name, shape in wanted.items() if name in own):
            return arch
    return ""


def _accounted(layout: Layout, own: Mapping, plain: Mapping, arch: str, where: object) -> Plan:
    wanted = names.shapes(arch)
    needed = [name for name in wanted if not name.endswith(names.BATCHES)]
    loaded = {name: plain[own[name]][0] for name in needed if name in own}
    inner = {key: name for name, key in own.items()}
    left_out: dict[str, list[str]] = {}
    unknown = []
    for key, (original, shape) in plain.items():
        name = inner.get(key, "")
        if name in loaded:
            continue
        reason = _reason(layout, key, name, shape, wanted)
        if reason:
            left_out.setdefault(reason, []).append(original)
        else:
            unknown.append(original)
    missing = [layout.prefix + name for name in needed if name not in own]
    for kind, keys in (("lacks", missing), ("holds what is no part of one:", unknown)):
        if keys:
            raise InputError(
                f"is a {arch} of the layout {layout.name}, but {kind} {_few(keys)}",
                where=where,
                way_out="save a whole state dict, of the encoder alone or with its head",
                listed=keys[3:40],
            )
    return Plan(arch, layout.name, loaded, left_out)


def _reason(layout: Layout, key: str, name: str, shape: tuple, wanted: Shapes) -> str:
    """Why a key is left out; "" when that is not known."""
    if name in wanted:
        return COUNTERS
    if re.match(r"fc\.(weight|bias)$", name) or (name.startswith("(9.") and layout.is_sequential):
        return f"{CLASSIFIER} ({shape[0]} classes)" if shape else CLASSIFIER
    if re.match(r"fc\.\d", name):
        return HEAD
    reasons = (why for pattern, why in layout.left_out.items() if re.match(pattern, key))
    return next(reasons, "")


def _few(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown


# What shows in the keys of other networks → what they are called.
_STRANGERS = {
    r"(^|\.)(cls_token|pos_embed|patch_embed\.)": "a vision transformer",
    r"relative_position_bias_table": "a Swin transformer",
    r"(^|\.)stages\.\d|downsample_layers\.": "a ConvNeXt",
    r"denseblock\d": "a DenseNet",
    r"conv_stem\.|_depthwise_conv|blocks\.\d+\.\d+\.conv_dw": "an EfficientNet",
    r"(^|\.)features\.\d+\.conv\.": "a MobileNet",
    r"(^|\.)Mixed_\d": "an Inception network",
    r"onnx::": "an ONNX program whose weights have no names any more",
    r"(^|\.)se\.fc\d|\.se_module\.": "a ResNet with squeeze and excitation",
    r"(^|\.)conv1\.0\.weight": "a ResNet with a deep stem (ResNet-D)",
    r"(^|\.)shortcut\.\d": "a ResNet for CIFAR (its shortcut is called shortcut)",
}


def _looks_like(plain: Mapping) -> str:
    for pattern, what in _STRANGERS.items():
        if any(re.search(pattern, key) for key in plain):
            return what
    return ""


def _another_network(plain: Mapping, own: Mapping[str, str], where: object) -> InputError:
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
    elif "layer1.0.bn1.running_mean" not in own:
        what = "a ResNet without BatchNorm's running statistics (instance or group norm)"
    else:
        what = _looks_like(plain) or f"a ResNet of {kind} blocks {counts}"
    return InputError(
        f"holds {what}",
        where=where,
        way_out=f"only torchvision's {', '.join(ARCHS)} can be imported",
    )


def _unknown(plain: Mapping[str, tuple[str, tuple[int, ...]]], where: object) -> InputError:
    what = _looks_like(plain)
    if what:
        return InputError(
            f"holds {what}",
            where=where,
            way_out=f"only torchvision's {', '.join(ARCHS)} can be imported",
        )
    layout = nearest(list(plain))
    return InputError(
        f"holds {len(plain)} tensors in no known layout ({_few(list(plain))}); the nearest known "
        f"is {layout.name}, which begins {example(layout)}",
        where=where,
        way_out="rename the keys to torchvision's, as in {k.removeprefix('PREFIX'): v for k, v in "
        "state.items()}, and save them anew",
        listed=[f"known: {each.name}: {example(each)}" for each in LAYOUTS],
    )


def example(layout: Layout) -> str:
    """Key of the stem in a layout."""
    return layout.prefix + ("0.weight" if layout.is_sequential else "conv1.weight")


def nearest(keys: list[str]) -> Layout:
    """The layout whose keys are most like these."""

    def likeness(layout: Layout) -> float:
        block = "4.0.conv1.weight" if layout.is_sequential else "layer1.0.conv1.weight"
        wanted = (example(layout), layout.prefix + block)
        return sum(
            max(difflib.SequenceMatcher(None, want, key).ratio() for key in keys[:400])
            for want in wanted
        )

    return max(LAYOUTS, key=likeness)
