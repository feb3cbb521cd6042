"""Whose file is it? Keys and shapes of a file's tensors → which of them are the encoder's.

Every key is accounted for: it is loaded, or known and left out for a stated reason, or the file is
refused. Nothing is ever loaded in part. The layouts are those that the projects' own code writes.
"""

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from histo_simclr.errors import InputError
from histo_simclr.model.resnet import STAGE_BLOCKS
from histo_simclr.weights import names, strangers

Shapes = Mapping[str, tuple[int, ...]]

# What wrappers of torch put into names, at any place: DataParallel, torch.compile, strategies.
WRAPPERS = frozenset(("module", "_orig_mod", "_forward_module"))
HEAD = "projection head"
LAST = "last layer"
ONLINE = "classifier trained beside the encoder"
COPY = "momentum copy of the network"
TRAINING = "state of the training, not of the network"
ANOTHER = "another network in the file"
AGAIN = "the same network once more"
STUDENT = "student, whose teacher is loaded"
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

    @property
    def stem(self) -> str:
        """Key of the first convolution."""
        return self.prefix + ("0.weight" if self.is_sequential else "conv1.weight")

    @property
    def block(self) -> str:
        """Key of the first block's first convolution."""
        return self.prefix + ("4.0.conv1.weight" if self.is_sequential else "layer1.0.conv1.weight")


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
# Its program for Lightning registers the encoder twice, alone and within the model.
_SPIJKERVET = {r"model\.encoder\.": AGAIN, r"model\.projector\.": HEAD}
# DINO's authors evaluate the teacher, an average of its student over the training.
_DINO = {
    r"student_backbone\.": STUDENT,
    r"(student|teacher)_head\.": HEAD,
    r"criterion\b": TRAINING,
}
_MOCO = {
    r"encoder_k\.|momentum_encoder\.": COPY,
    r"(queue|queue_ptr)$": TRAINING,
    r"(predictor|projector)\.": HEAD,
}
# Sequential numbers of list(resnet.children()): ReLU and pooling, 2, 3 and 8, hold nothing.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}

# Read in the projects' code: torchvision, timm; ozanciga/self-supervised-histopathology (README);
# lightly-ai/lightly (examples/pytorch_lightning/simclr.py, moco.py, dino.py); vturrisi/solo-learn
# (solo/methods/base.py: `backbone`, before 2022 `encoder`); Spijkervet/SimCLR (simclr/simclr.py);
# facebookresearch/moco; sthalles/SimCLR (`backbone`, head in its fc).
LAYOUTS = (
    Layout(
        "Ciga et al. (Lightning)",
        "model.resnet.",
        False,
        {r"model\.(projection|projector|head)": HEAD},
    ),
    Layout("Ciga et al.", "resnet.", False, {}),
    Layout("torchvision or timm", "", False, {}),
    Layout("lightly", "backbone.", True, _LIGHTLY),
    Layout("lightly (before 1.2)", "model.backbone.", True, {r"model\.projection_head\.": HEAD}),
    Layout("solo-learn or sthalles/SimCLR", "backbone.", False, _SOLO | _LIGHTLY),
    Layout("lightly (DINO)", "teacher_backbone.", True, _DINO),
    Layout("Spijkervet/SimCLR or solo-learn", "encoder.", False, _SOLO | _SPIJKERVET),
    Layout("MoCo", "encoder_q.", False, _MOCO),
    Layout("MoCo v3", "base_encoder.", False, _MOCO),
    Layout("DSMIL", "features.", True, {r"l[12]\.": HEAD}),
    Layout("nn.Sequential of torchvision's children", "", True, {}),
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
            raise strangers.another_network(plain, own, where)
        if arch not in ("", found):
            raise InputError(
                f"holds a {found}, --arch says {arch}",
                where=where,
                way_out=f"give --arch {found} or leave it out",
            )
        return _accounted(layout, own, plain, found, where)
    raise strangers.unknown(plain, LAYOUTS, where)


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


@functools.cache
def _shapes(arch: str) -> Shapes:
    return names.shapes(arch)


def _arch(own: Mapping[str, str], plain: Mapping) -> str:
    """The architecture that has these blocks, of these shapes; "" when none has."""
    if not any(name.endswith("running_mean") for name in own):
        return ""
    for arch in STAGE_BLOCKS:
        wanted = _shapes(arch)
        blocks = {name.rpartition(".")[0] for name in wanted if name.startswith("layer")}
        there = {name.rpartition(".")[0] for name in own if re.match(r"layer\d\.\d+\.", name)}
        # Tensors may be missing or too many; that is said of the architecture which is nearest.
        if len(blocks ^ there) > max(2, len(blocks) // 20):
            continue
        if all(plain[own[name]][1] == shape for name, shape in wanted.items() if name in own):
            return arch
    return ""


def _accounted(layout: Layout, own: Mapping, plain: Mapping, arch: str, where: object) -> Plan:
    wanted = _shapes(arch)
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
                f"is a {arch} of the layout {layout.name}, but {kind} {strangers.few(keys)}",
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
        return f"{LAST} ({shape[0]} outputs)" if shape else LAST
    if re.match(r"fc\.\d", name):
        return HEAD
    reasons = (why for pattern, why in layout.left_out.items() if re.match(pattern, key))
    return next(reasons, "")
