"""Weights that others made → an encoder of ours, and what is known of them."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from histo_simclr import fingerprint
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance, git_revision, package_versions
from histo_simclr.weights import formats, label, layouts, names, sound, sources, torch_file
from histo_simclr.weights.formats import Contents

_ONNX_HEADS = (b"\x08",)  # protobuf's first field of a ModelProto: the IR version


def tensors_of(path: str | Path) -> Contents:
    """What a file or folder of weights holds, whatever the network; nothing large is read yet.

    Args:
      path: torch (zip or older), safetensors, npz or ONNX file, or a folder with config.json and
        its weights (timm, Hugging Face).

    Raises:
      InputError: there is nothing, or it is something else, torn, changed, or holds code.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return formats.of_folder(path)
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=path, way_out=formats.GIVE
        ) from error
    # Before torch: the length that a safetensors file begins with may look like a pickle.
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return formats.of_safetensors(path)
    if zipfile.is_zipfile(path) and _is_npz(path):
        return formats.of_npz(path)
    if torch_file.is_one(head):
        return formats.of_torch(path)
    if head.startswith(_ONNX_HEADS) and path.suffix == ".onnx":
        return formats.of_onnx(path)
    raise InputError(_stranger(head), where=path, way_out=formats.GIVE)


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _stranger(head: bytes) -> str:
    if not head:
        return "is empty"
    for magic, what in formats.STRANGERS.items():
        if head.startswith(magic):
            return f"is not a file of weights but {what}"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not the file: the download failed"
    return "is not a file of weights that is known here"


class Translation(NamedTuple):
    """A file of weights as an encoder, and what became of what the file holds.

    Fields:
      encoder: in eval mode.
      provenance: of it; `origin` says the same as the other fields.
      contents, plan: of the file.
      converted: dtype → how many tensors were converted from it to float32.
      known: what it expects and whose it is; None of our own exports, whose provenance says it.
    """

    encoder: ResNet
    provenance: Provenance
    contents: Contents
    plan: layouts.Plan
    converted: dict[str, int]
    known: sources.Known | None


def read(path: str | Path, **said: Any) -> tuple[ResNet, Provenance]:
    """An encoder and its provenance, as `translate` finds them, with the same arguments."""
    found = translate(path, **said)
    return found.encoder, found.provenance


def translate(
    path: str | Path,
    *,
    arch: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    px: int = 0,
    mpp: Sequence[float] = (),
    source: str = "",
    license: str = "",
) -> Translation:
    """A file or folder of weights → an encoder; every one of its keys is accounted for.

    Args:
      path: as for `tensors_of`.
      arch: what it must be; "" to believe the tensors.
      mean, std: per channel of pixels in [0, 1]; None where the source or the file says it.
      px: side of the patches it was trained on; 0: as the file says, else 224.
      mpp: µm/px that it was trained on, when known.
      source: one of `sources.SOURCES`, for files that are not known by themselves.
      license: of the weights, SPDX.

    Raises:
      InputError: no such file, a damaged one, another network, an unknown layout or normalization,
        or another fingerprint than its label states.
    """
    path = Path(path)
    contents = tensors_of(path)
    said = {"mean": mean, "std": std, "px": px, "mpp": mpp, "source": source, "license": license}
    own = None if contents.label is None else label.read(contents.label, where=path)
    if own is not None:
        _check_silent(said, path)
    shapes = {name: each.shape for name, each in contents.tensors.stored.items()}
    plan = layouts.plan(shapes, where=path, arch=arch)
    _check_arch(plan.arch, own.provenance.arch if own else contents.arch, path)
    if own is not None:
        _check_digest(contents, plan, own, path)
        encoder, converted = _encoder(contents, plan)
        fingerprint.check(encoder, own.provenance, own.fingerprint, where=path)
        return Translation(encoder, own.provenance, contents, plan, converted, None)
    sha256 = _sha256(contents.file)
    known = sources.settle(
        **said, sha256=sha256, arch=plan.arch, pretrained_cfg=contents.pretrained_cfg, where=path
    )
    encoder, converted = _encoder(contents, plan)
    provenance = _provenance(contents, plan, known, sha256)
    return Translation(encoder, provenance, contents, plan, converted, known)


def _check_silent(said: dict[str, Any], path: Path) -> None:
    if given := [f"--{name}" for name, value in said.items() if value]:
        raise InputError(
            f"says itself what it is and expects, and {', '.join(given)} was given",
            where=path,
            way_out="leave it out",
        )


def _check_arch(found: str, stated: str, path: Path) -> None:
    # Of timm's other ResNets some have the same tensors and compute something else.
    if stated not in ("", found):
        raise InputError(
            f"says that it is a {stated}, and holds the tensors of a {found}",
            where=path,
            way_out="only torchvision's own ResNets can be imported; if it is one, correct what "
            "it says",
        )


def _check_digest(contents: Contents, plan: layouts.Plan, own: label.Label, path: Path) -> None:
    # Of the file's tensors, one at a time, not of the encoder's, which would all be copied.
    if label.model_sha256(sound.Sound(contents.tensors, plan.loaded, path)) != own.model_sha256:
        raise InputError(
            "holds other weights than its label states",
            where=path,
            way_out="get it anew, with the files that lay beside it",
        )


def recognized(contents: Contents, path: Path) -> tuple[layouts.Plan, str]:
    """Whose network a file holds, and the digest of its weights (`label.model_sha256`).

    Raises:
      InputError: an unknown layout, another network, or tensors that cannot be weights.
    """
    shapes = {name: each.shape for name, each in contents.tensors.stored.items()}
    plan = layouts.plan(shapes, where=path, arch="")
    return plan, label.model_sha256(sound.Sound(contents.tensors, plan.loaded, contents.file))


def left_out(contents: Contents, plan: layouts.Plan) -> dict[str, list[str]]:
    """Reason → names of all that was not loaded: tensors, and what lies beside them."""
    found = dict(plan.left_out)
    for reason, keys in (
        (layouts.TRAINING, contents.left_out),
        (layouts.ANOTHER, contents.others),
    ):
        if keys:
            found[reason] = [*found.get(reason, []), *keys]
    return found


def _provenance(
    contents: Contents, plan: layouts.Plan, known: sources.Known, sha256: str
) -> Provenance:
    origin = {
        "kind": "imported",
        "file": contents.file.name,
        "sha256": sha256,
        "format": contents.format,
        "layout": plan.layout,
        "source": known.source,
        "statistics_from": known.told_by,
        "license": known.license,
        "citation": known.citation,
        "url": known.url,
        "note": known.note,
        "ignored": left_out(contents, plan),
        "loaded": len(plan.loaded),
    }
    return Provenance(
        arch=plan.arch,
        hidden=0,
        out=0,
        px=known.px,
        mean=known.mean,
        std=known.std,
        mpp=known.mpp,
        mix={},
        config={},
        versions=package_versions(),
        revision=git_revision(),
        origin=origin,
    )


def _encoder(contents: Contents, plan: layouts.Plan) -> tuple[ResNet, dict[str, int]]:
    tensors = sound.Sound(contents.tensors, plan.loaded, contents.file)
    encoder = names.from_torch(tensors, plan.arch)
    return encoder, dict(tensors.converted)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
