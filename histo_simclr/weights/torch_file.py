"""Files of torch.save, read and written without torch.

Two formats: a zip archive (torch 1.6 and later), whose members carry checksums, and the older row
of pickles followed by bare storages, which carry none. Pickles are read by `torch_pickle`, which
runs nothing of them; storages are read when their tensor is asked for, so that an optimizer's
state is never read at all.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.weights import torch_pickle, torch_values
from histo_simclr.weights.torch_values import PickleError, Storage, Tensor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_BITS = {"bfloat16": "uint16"}  # numpy has none
_ALIGNMENT = 64  # bytes; torch's own, so that it can map the tensors
# What zipfile raises for a torn or changed archive.
_ZIP_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    struct.error,
    ValueError,
)
_WAY_OUT = "get the file anew"


class Content(NamedTuple):
    """What a file holds.

    Fields:
      value: dicts, lists, numbers, text, `Stored` for every tensor, `Inert` for all else.
      format: "torch zip" or "torch legacy".
    """

    value: Any
    format: str


def is_one(head: bytes) -> bool:
    """Whether a file that begins so may be one: a zip archive, or a pickle."""
    return head[:4] == b"PK\x03\x04" or head[:1] == b"\x80"


def read(path: Path) -> Content:
    """The content of a file of torch.save; no element of a tensor is read yet.

    Raises:
      InputError: it is torn, changed, or holds code.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            value = _read_zip(path) if is_zip else _read_legacy(path, file)
    except PickleError as error:
        raise _damaged(path, str(error)) from error
    return Content(value, "torch zip" if is_zip else "torch legacy")


def _read_zip(path: Path) -> Any:
    try:
        # Left open: the tensors are read from it later.
        archive = zipfile.ZipFile(path)
        names = {info.filename: info for info in archive.infolist()}
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    except _ZIP_DAMAGE as error:
        raise PickleError("its zip archive is torn") from error
    if len(roots) != 1 or f"{roots[0]}constants.pkl" in names:
        what = "a TorchScript program" if roots else "a zip archive without torch's data.pkl"
        raise InputError(
            f"is {what}, not weights",
            where=path,
            way_out="save a state dict: torch.save(model.state_dict(), FILE)",
        )
    root = roots[0]
    size = path.stat().st_size

    def member(name: str) -> bytes:
        info = names.get(root + name)
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
            raise PickleError(f"its member {name!r} is missing or not as torch writes it")
        try:
            return archive.read(info)
        except _ZIP_DAMAGE as error:
            raise PickleError(f"its member {name!r} is torn or changed") from error

    if f"{root}byteorder" in names and member("byteorder") != b"little":
        raise PickleError("its bytes are in big-endian order")
    value = torch_pickle.load(io.BytesIO(member("data.pkl"))).value

    def elements(storage: Storage) -> np.ndarray:
        try:
            return _elements(storage, member(f"data/{storage.key}"))
        except PickleError as error:
            raise _damaged(path, str(error)) from error

    return _with_tensors(value, elements)


def _elements(storage: Storage, data: bytes | np.ndarray) -> np.ndarray:
    dtype = _dtype(storage)
    first, end = storage.offset * dtype.itemsize, (storage.offset + storage.size) * dtype.itemsize
    if end > len(data):
        raise PickleError(f"its storage {storage.key!r} is shorter than its tensors")
    return np.frombuffer(data, np.uint8)[first:end].view(dtype)


def _dtype(storage: Storage) -> np.dtype:
    return np.dtype(_BITS.get(storage.dtype, storage.dtype)).newbyteorder("<")


def _read_legacy(path: Path, file: BinaryIO) -> Any:
    if torch_pickle.load(file).value != _LEGACY_MAGIC:
        raise InputError(
            "is a pickle, but not one of torch.save",
            where=path,
            way_out="save a state dict: torch.save(model.state_dict(), FILE)",
        )
    version, system = torch_pickle.load(file).value, torch_pickle.load(file).value
    if version != _LEGACY_VERSION or not isinstance(system, dict):
        raise PickleError("it is of an unknown version of torch")
    if system.get("little_endian") is not True:
        raise PickleError("its bytes are in big-endian order")
    value, storages = torch_pickle.load(file)
    keys = torch_pickle.load(file).value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise PickleError("its list of storages is torn")
    places = _places(file, keys, storages)

    def elements(storage: Storage) -> np.ndarray:
        if storage.key not in places:
            raise _damaged(path, f"its storage {storage.key!r} is missing")
        start, length = places[storage.key]
        try:
            # A map of the file, so that only what is looked at takes memory.
            data = np.memmap(path, np.uint8, "r", start, (length,)) if length else b""
            return _elements(storage, data)
        except (PickleError, ValueError, OSError) as error:
            raise _damaged(path, f"its storage {storage.key!r} is torn") from error

    return _with_tensors(value, elements)


def _places(
    file: BinaryIO, keys: list[str], storages: dict[str, Storage]
) -> dict[str, tuple[int, int]]:
    """Key → (offset, bytes) of each storage: a count of elements, then the elements, in turn."""
    size = os.fstat(file.fileno()).st_size
    places, at = {}, file.tell()
    for key in keys:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or key not in storages:
            raise PickleError(f"it ends before its storage {key!r}, or does not say what that is")
        length = struct.unpack("<q", head)[0] * _dtype(storages[key]).itemsize
        if length < 0 or at + 8 + length > size:
            raise PickleError(f"it ends within its storage {key!r}")
        places[key] = (at + 8, length)
        at += 8 + length
    return places


def _with_tensors(value: Any, elements: Callable[[Storage], np.ndarray]) -> Any:
    """The same dicts, with `Stored` for every tensor that is an entry of one; lists as they are."""
    if isinstance(value, Tensor):
        return value.stored(elements)
    done: set[int] = set()
    waiting = [value]
    while waiting:  # no recursion: a pickle may be of any depth
        each = waiting.pop()
        if not isinstance(each, dict) or id(each) in done:
            continue
        done.add(id(each))
        for key, entry in each.items():
            if isinstance(entry, Tensor):
                each[key] = entry.stored(elements)
            else:
                waiting.append(entry)
    return value


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"cannot be read: {what}", where=path, way_out=_WAY_OUT)


def write(path: Path, content: np.ndarray | Mapping[str, np.ndarray]) -> None:
    """Writes what `torch.load(path, weights_only=True)` gives back: a tensor, or a dict of them.

    The caller sees to a temporary name, if the file is to appear whole.

    Args:
      path: written anew.
      content: an array, or name → array, each of a dtype that torch has; C order.

    Raises:
      OSError: the disk is full, or the place cannot be written.
    """
    if isinstance(content, np.ndarray):
        arrays, body = [content], _pickled(0, content)
    else:
        # Looked at twice, one by one: a mapping may make its arrays when they are asked for.
        arrays = content.values()
        pairs = enumerate(content.items())
        body = b"}(" + b"".join(_text(name) + _pickled(n, each) for n, (name, each) in pairs) + b"u"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _put(archive, "data.pkl", b"\x80\x02" + body + b".")
        _put(archive, "byteorder", b"little")
        for number, array in enumerate(arrays):
            little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            _put(archive, f"data/{number}", little.reshape(-1).view(np.uint8).data)
        _put(archive, "version", b"3\n")


def _put(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    info = zipfile.ZipInfo(f"archive/{name}")  # dated 1980: the same bytes every time
    begins = archive.fp.tell() + 30 + len(info.filename) + 4
    info.extra = struct.pack("<HH", 0x4246, -begins % _ALIGNMENT) + b"Z" * (-begins % _ALIGNMENT)
    info.file_size = len(data)
    with archive.open(info, "w") as member:
        member.write(data)


_STORAGE_OF = {dtype: storage for storage, dtype in torch_values.STORAGES.items()}


def _pickled(number: int, array: np.ndarray) -> bytes:
    """torch._utils._rebuild_tensor_v2((storage), 0, shape, strides, False, OrderedDict())."""
    strides, step = [], 1
    for size in reversed(array.shape):
        strides.insert(0, step)
        step *= max(size, 1)
    storage = b"".join(
        (
            _text("storage"),
            f"ctorch\n{_STORAGE_OF[array.dtype.name]}\n".encode(),
            _text(str(number)),
            _text("cpu"),
            _number(array.size),
        )
    )
    return b"".join(
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            b"(" + storage + b"tQ",
            _number(0),
            b"(" + b"".join(map(_number, array.shape)) + b"t",
            b"(" + b"".join(map(_number, strides)) + b"t",
            b"\x89ccollections\nOrderedDict\n)RtR",
        )
    )


def _number(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded
