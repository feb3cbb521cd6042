"""Pickles of torch files, read without running anything: a small interpreter of its own.

It knows lists, dicts, numbers, text and torch's way to say "a tensor". Whatever class or function
else a pickle names stands in the result as an `Inert` with that name: nothing is imported, called
or given attributes. Names that no weights need and that attacks do (os.system, eval, …) are refused
outright. Opcodes are split by the standard library's `pickletools`, which executes nothing.
"""

import pickletools
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from histo_simclr.weights.tensors import Stored, widened

# What weights never name. The rest of what they might name stays inert.
_REFUSED = """
_io _pickle _posixsubprocess _thread asyncio bdb cffi code codeop commands ctypes dill cloudpickle
ftplib gc http importlib inspect io joblib marshal mmap multiprocessing nt ntpath operator os pdb
pickle pip pkgutil popen2 posix posixpath profile pty pydoc requests runpy shelve shutil signal site
smtplib socket socketserver ssl subprocess sys tempfile threading timeit trace urllib urllib2 venv
webbrowser xmlrpc zipimport
"""
# Of builtins only these: types of values that hyper-parameters hold.
_BUILTINS = """
bool bytearray bytes complex dict float frozenset int list object range set slice str tuple
"""
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
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = """
INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE
SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
"""
REFUSED, BUILTINS, VALUES = (frozenset(each.split()) for each in (_REFUSED, _BUILTINS, _VALUES))
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
_MOST_AXES = 8
_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2")


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


class Pickle(NamedTuple):
    """What a pickle holds.

    Fields:
      value: dicts, lists, tuples, numbers, text, `Tensor`, `Inert`.
      storages: key → every storage that it names, needed or not.
    """

    value: Any
    storages: dict[str, Storage]


def load(file: BinaryIO) -> Pickle:
    """One pickle, from where the file stands to just behind its end.

    Raises:
      PickleError: it is torn, no pickle, or names code.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            # Of Python's own decoder, about escapes in old pickles' text.
            warnings.simplefilter("ignore")
            for opcode, argument, _ in pickletools.genops(file):
                machine.step(opcode.name, argument)
        return Pickle(machine.result, machine.storages)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise PickleError("its pickle is torn or changed") from error


class _Machine:
    """The stack of a pickle, and what its opcodes do to it."""

    def __init__(self):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.result: Any = None

    def step(self, name: str, argument: Any) -> None:
        """One opcode; IndexError, KeyError, TypeError or ValueError when it does not fit."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name in ("GLOBAL", "INST"):
            self._name(*argument.split(" ", 1), makes=name == "INST")
        elif name not in ("PROTO", "FRAME"):
            action = getattr(self, f"_do_{name.lower()}", None)
            if action is None:
                raise PickleError(f"its pickle uses {name}, which weights do not")
            action()

    def _above_mark(self) -> list[Any]:
        at = self.marks.pop()
        above = self.stack[at:]
        if len(self.stack) < at:
            raise IndexError("below the mark")
        del self.stack[at:]
        return above

    def _name(self, module: str, name: str, *, makes: bool = False) -> None:
        top = module.split(".")[0]
        unknown = top in ("builtins", "__builtin__") and name not in BUILTINS
        if top in REFUSED or unknown:
            raise PickleError(
                f"it wants to use {module}.{name}, which is code and no weights; nothing was run"
            )
        if makes:
            self._above_mark()
        self.stack.append(Inert(f"{module}.{name}"))

    def _do_stop(self) -> None:
        self.result = self.stack.pop()

    def _do_mark(self) -> None:
        self.marks.append(len(self.stack))

    def _do_pop(self) -> None:
        self.stack.pop()

    def _do_pop_mark(self) -> None:
        self._above_mark()

    def _do_dup(self) -> None:
        self.stack.append(self.stack[-1])

    def _do_memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _do_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a name that is no text")
        self._name(module, name)

    def _do_tuple(self) -> None:
        self.stack.append(tuple(self._above_mark()))

    def _do_tuple1(self) -> None:
        self._tuple(1)

    def _do_tuple2(self) -> None:
        self._tuple(2)

    def _do_tuple3(self) -> None:
        self._tuple(3)

    def _tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise IndexError("too few values")
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def _do_list(self) -> None:
        self.stack.append(self._above_mark())

    _do_frozenset = _do_list

    def _do_dict(self) -> None:
        above = self._above_mark()
        self.stack.append({})
        self._set(above)

    def _do_append(self) -> None:
        self._extend([self.stack.pop()])

    def _do_appends(self) -> None:
        self._extend(self._above_mark())

    _do_additems = _do_appends

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Inert):
            raise TypeError("appends to what is no list")

    def _do_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _do_setitems(self) -> None:
        self._set(self._above_mark())

    def _set(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(flat) % 2:
            raise TypeError("sets entries of what is no dict")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            target[_key(key)] = value

    def _do_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_call(function, arguments))

    _do_newobj = _do_reduce

    def _do_newobj_ex(self) -> None:
        self.stack.pop()
        self._do_reduce()

    def _do_obj(self) -> None:
        function = self._above_mark()[0]
        self.stack.append(_call(function, ()))

    def _do_build(self) -> None:
        # State of an object: of no use here, whatever the object.
        self.stack.pop()
        if not self.stack:
            raise IndexError("state of nothing")

    def _do_binpersid(self) -> None:
        storage = _storage(self.stack.pop())
        if isinstance(storage, Storage):
            self.storages.setdefault(storage.key, storage)
        self.stack.append(storage)


def _key(key: Any) -> Any:
    # Nested tuples of tuples can take for ever to hash.
    simple = (str, bytes, int, float, type(None), Inert)
    if isinstance(key, simple):
        return key
    if isinstance(key, tuple) and all(isinstance(part, simple) for part in key):
        return key
    raise PickleError("its pickle is torn or changed")


def _call(function: Any, arguments: Any) -> Any:
    """What a call makes, of the few that make weights; nothing is called."""
    name = function.name if isinstance(function, Inert) else ""
    if name == "collections.OrderedDict":
        pairs = arguments[0] if arguments else ()
        return {_key(key): value for key, value in pairs}
    if name in [f"torch._utils.{each}" for each in _REBUILD]:
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


def _storage(persistent: Any) -> Any:
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
