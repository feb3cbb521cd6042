"""Where the tensors of an ONNX file lie, so that one at a time is read.

The library onnx reads files whole, and holds their weights twice while it does. Protocol Buffers
say of each field its number and its length, so that a walk over a file passes by what it holds.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

# number << 3 | wire type: fields with a length, of ModelProto and GraphProto.
GRAPH, METADATA, INITIALIZER = 7 << 3 | 2, 14 << 3 | 2, 5 << 3 | 2
_MOST_FIELDS = 100_000  # a ResNet-101 has a thousand; other files can look like millions
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


def parts(path: Path) -> tuple[bytes, list[slice]]:
    """What a model says of itself, and the places of its graph's initializers.

    Args:
      path: of a ModelProto, as onnx.save writes it.

    Returns:
      The bytes of a ModelProto with nothing but its `metadata_props`; and the places, in bytes of
      the file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is cut off, or no ModelProto.
    """
    metadata, places, graphs = [], [], 0
    with path.open("rb") as file:
        for tag, field, content in _fields(file, slice(0, os.fstat(file.fileno()).st_size)):
            if tag == METADATA:
                metadata.append(_read(file, field))
            elif tag == GRAPH:
                graphs += 1
                inner = _fields(file, content)
                places += [place for tag, _, place in inner if tag == INITIALIZER]
    if not graphs:
        raise ValueError("it holds no graph")
    return b"".join(metadata), places


def tensor(path: Path, place: slice) -> Any:
    """The onnx.TensorProto at a place that `parts` gave.

    Raises:
      OSError: the file cannot be read.
      google.protobuf.message.DecodeError: there is none.
    """
    import onnx

    with path.open("rb") as file:
        return onnx.TensorProto.FromString(_read(file, place))


def _fields(file: BinaryIO, place: slice) -> Iterator[tuple[int, slice, slice]]:
    """Tag, place, and place of the content of each field of a message; ValueError when cut off."""
    at = place.start
    for _ in range(_MOST_FIELDS):
        if at >= place.stop:
            return
        file.seek(at)
        tag = _varint(file)
        kind = tag & 7
        if kind == _VARINT:
            _varint(file)
            length = 0
        elif kind == _DELIMITED:
            length = _varint(file)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("no Protocol Buffers")
        content = slice(file.tell(), file.tell() + length)
        if content.stop > place.stop:
            raise ValueError("the file is cut off, or changed")
        yield tag, slice(at, content.stop), content
        at = content.stop
    raise ValueError("no ONNX program: too many fields")


def _varint(file: BinaryIO) -> int:
    """A number of 7 bits a byte, lowest first; the last byte has its high bit clear."""
    value = 0
    for shift in range(0, 70, 7):
        read = file.read(1)
        if not read:
            break
        value |= (read[0] & 0x7F) << shift
        if read[0] < 0x80:
            return value
    raise ValueError("the file is cut off, or no Protocol Buffers")


def _read(file: BinaryIO, place: slice) -> bytes:
    file.seek(place.start)
    return file.read(place.stop - place.start)
