"""Which collectives a compiled program has: read from the text of its HLO. Knows no JAX.

collectives.read(jitted.lower(…).compile().as_text())
"""

import math
import re
from typing import NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# Bits of an element; XLA names its types after them, but for these.
_BITS = {"pred": 8, "token": 0}
_INSTRUCTION = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"^(\w+)\[([\d,]*)\]$")


class Array(NamedTuple):
    """An array by XLA's name of its element type ("f32", "bf16", "s32"), and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes, were it stored densely."""
        bits = _BITS.get(self.dtype) or int(re.search(r"\d+", self.dtype)[0])
        return self.size * bits // 8


class Collective(NamedTuple):
    """One instruction that talks to other devices.

    Fields:
      kind: one of KINDS.
      arrays: what one device holds after it: of an all-gather the whole, of a reduce-scatter its
        part. Several where the compiler made one instruction of many.
    """

    kind: str
    arrays: tuple[Array, ...]

    @property
    def bytes(self) -> int:
        """Of all its arrays, on one device."""
        return sum(array.bytes for array in self.arrays)


def read(hlo: str) -> list[Collective]:
    """The collectives of a compiled program, in the order of its text.

    One that is split into start and done counts once; one in the body of a loop counts once, too,
    however often it runs. Groups of devices are not looked at.

    Args:
      hlo: what `as_text()` of a compiled JAX program gives, of any backend; or a dump of XLA's.
    """
    found = []
    for line in hlo.splitlines():
        if match := _INSTRUCTION.match(line):
            type_, kind, start = match.groups()
            parts = _split(_bare(type_))
            # What starts asynchronously gives (operands, results, …); all-reduce the result alone.
            if start and kind != "all-reduce":
                parts = _split(parts[1])
            found.append(Collective(kind, tuple(map(_array, parts))))
    return found


def _bare(type_: str) -> str:
    """Without layouts ({1,0:T(8,128)}), comments (/*index=5*/) and blanks."""
    return re.sub(r"\{[^{}]*\}|/\*.*?\*/|\s", "", type_)


def _split(type_: str) -> list[str]:
    """The parts of a tuple; of an array itself."""
    if not type_.startswith("("):
        return [type_]
    parts, depth = [""], 0
    for each in type_[1:-1]:
        depth += (each in "([") - (each in ")]")
        if each == "," and not depth:
            parts.append("")
        else:
            parts[-1] += each
    return parts


def _array(type_: str) -> Array:
    dtype, dimensions = _ARRAY.match(type_).groups()
    return Array(dtype, tuple(map(int, filter(None, dimensions.split(",")))))
