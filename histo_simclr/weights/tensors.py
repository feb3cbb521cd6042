"""Tensors that stay in their file until they are asked for, one at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np


class Stored(NamedTuple):
    """One tensor of a file.

    Fields:
      shape: of what `read` gives.
      dtype: as the file has it, by numpy's name; "bfloat16" as well.
      read: gives the array, bfloat16 as float32; InputError when the file is damaged there.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


class Tensors(Mapping[str, np.ndarray]):
    """Name → array; each access reads the file again, so only what is held takes memory."""

    def __init__(self, stored: Mapping[str, Stored]):
        self.stored = dict(stored)

    def __getitem__(self, name: str) -> np.ndarray:
        """The array, read now."""
        return self.stored[name].read()

    def __iter__(self) -> Iterator[str]:
        """Names, in the file's order."""
        return iter(self.stored)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.stored)


def in_torchs_order(stored: Stored) -> Stored:
    """A kernel (height, width, in, out) as (out, in, height, width); other tensors as they are."""
    if len(stored.shape) != 4:
        return stored
    shape = tuple(stored.shape[axis] for axis in (3, 2, 0, 1))
    return Stored(shape, stored.dtype, lambda: stored.read().transpose(3, 2, 0, 1))


def widened(bits: np.ndarray) -> np.ndarray:
    """Bits of bfloat16 values (uint16) → the same values as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
