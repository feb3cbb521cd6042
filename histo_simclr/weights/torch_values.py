"""What the pickles of torch say: tensors, storages, and names that stay names."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.weights.tensors import Stored, widened

STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_MOST_AXES = 8
_REBUILD = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")


class PickleError(ValueError):
    """The pickle cannot be read; the text says why, for use inside a line."""


class Inert:
    """A class, function or object that a pickle names; nothing is known of it but the name."""

    def __init__(self, name: str):
        self.name = name


class Storage(NamedTuple):
    """Where a tensor's elements lie: what torch puts into a persistent id."""

    key: str
    dtype: str
    size: int
    offset: int


class Tensor(NamedTuple):
    """A tensor before its elements are read; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def stored(self, read: Callable[[Storage], np.ndarray]) -> Stored:
        """As `Stored`; `read` gives all elements of a storage, flat, bfloat16 as uint16."""
        return Stored(self.shape, self.storage.dtype, lambda: self._view(read(self.storage)))

    def _view(self, elements: np.ndarray) -> np.ndarray:
        strides = [stride * elements.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(elements[self.offset :], self.shape, strides)
        return widened(view) if self.storage.dtype == "bfloat16" else view


def key(key: Any) -> Any:
    """A dict's key, when it is of a kind that can be one; PickleError otherwise."""
    # Nested tuples of tuples can take for ever to hash.
    simple = (str, bytes, int, float, type(None), Inert)
    if isinstance(key, simple):
        return key
    if isinstance(key, tuple) and all(isinstance(part, simple) for part in key):
        return key
    raise PickleError("its pickle is torn or changed")


def call(function: Any, arguments: Any) -> Any:
    """What a call makes, of the few that make weights; nothing is called."""
    name = function.name if isinstance(function, Inert) else ""
    if name == "collections.OrderedDict":
        pairs = arguments[0] if arguments else ()
        return {key(name): value for name, value in pairs}
    if name in _REBUILD:
        return _tensor(*arguments[:4])
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
        return arguments[0]
    if name in ("torch.nn.parameter.Parameter", "torch.Size"):
        return arguments[0]
    return Inert(name or "what a name made")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Any:
    if not isinstance(storage, Storage):
        return Inert("a tensor of an unknown kind")
    numbers = (offset, *shape, *strides)
    if any(type(each) is not int or each < 0 for each in numbers) or len(shape) != len(strides):
        raise TypeError("sizes that are none")
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    is_empty = 0 in shape
    if len(shape) > _MOST_AXES or (not is_empty and offset + reach >= storage.size):
        raise PickleError("a tensor reaches beyond its storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def storage(persistent: Any) -> Any:
    """A persistent id as `Storage`; `Inert` when its elements are of a kind unknown here."""
    kind, dtype, key, _, size, *view = persistent
    if kind != "storage" or not isinstance(dtype, Inert) or not isinstance(key, str | int):
        raise TypeError("no storage")
    if type(size) is not int or size < 0:
        raise TypeError("no size")
    name = STORAGES.get(dtype.name.rpartition(".")[2])
    if name is None:
        return Inert(dtype.name)
    # Of files before torch 0.4: a storage that is a part of another.
    offset = view[0][1] if view and view[0] is not None else 0
    if type(offset) is not int or offset < 0:
        raise TypeError("no offset")
    return Storage(str(key), name, size, offset)
