"""Weights that others made → an encoder of ours, and what is known of them."""

import zipfile
from pathlib import Path

from histo_simclr.errors import InputError
from histo_simclr.weights import formats, torch_file
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
    if zipfile.is_zipfile(path) and _is_npz(path):
        return formats.of_npz(path)
    if torch_file.is_one(head):
        return formats.of_torch(path)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return formats.of_safetensors(path)
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
