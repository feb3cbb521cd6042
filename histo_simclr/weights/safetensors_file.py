"""Tensors → a safetensors file, one tensor at a time.

The library `safetensors` reads what this writes. Its own writer holds all tensors twice in memory,
and puts the metadata into another order at each call, so that no two exports would be equal.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_DTYPES = {np.dtype("<f4"): "F32", np.dtype("<i8"): "I64"}
_ALIGNMENT = 8  # bytes: where the first tensor begins


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a file that is on disk when this returns.

    Args:
      path: of the file.
      tensors: name → float32 or int64 array.
      metadata: the format knows text alone.

    Raises:
      OSError: the file cannot be written.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    # The library's order: widest type first, so that every tensor is aligned, then by name.
    ordered = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    begin = 0
    for name in ordered:
        array = tensors[name]
        end = begin + array.nbytes
        header[name] = {
            "dtype": _DTYPES[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            array = np.ascontiguousarray(tensors[name])
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        file.flush()
        os.fsync(file.fileno())
