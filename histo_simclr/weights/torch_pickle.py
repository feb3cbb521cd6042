"""Pickles of torch files, read without running anything: a small interpreter of its own.

It knows lists, dicts, numbers, text and torch's way to say "a tensor". Whatever class or function
else a pickle names stands in the result as an `Inert` with that name: nothing is imported, called
or given attributes. Names that no weights need and that attacks do (os.system, eval, …) are refused
outright. Opcodes are split by the standard library's `pickletools`, which executes nothing.
"""

import pickletools
import warnings
from typing import Any, BinaryIO, NamedTuple

from histo_simclr.weights import torch_values
from histo_simclr.weights.torch_values import Inert, PickleError, Storage

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
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = """
INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE
SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
"""
REFUSED, BUILTINS, VALUES = (frozenset(each.split()) for each in (_REFUSED, _BUILTINS, _VALUES))
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}


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
            target[torch_values.key(key)] = value

    def _do_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(torch_values.call(function, arguments))

    _do_newobj = _do_reduce

    def _do_newobj_ex(self) -> None:
        self.stack.pop()
        self._do_reduce()

    def _do_obj(self) -> None:
        function = self._above_mark()[0]
        self.stack.append(torch_values.call(function, ()))

    def _do_build(self) -> None:
        # State of an object: of no use here, whatever the object.
        self.stack.pop()
        if not self.stack:
            raise IndexError("state of nothing")

    def _do_binpersid(self) -> None:
        storage = torch_values.storage(self.stack.pop())
        if isinstance(storage, Storage):
            self.storages.setdefault(storage.key, storage)
        self.stack.append(storage)
