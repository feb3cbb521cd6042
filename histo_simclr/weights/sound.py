"""Are these weights? Looks at each tensor that is loaded."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.weights.tensors import Tensors

FLOATS = ("float16", "bfloat16", "float32", "float64")


class Sound(Mapping[str, np.ndarray]):
    """Name → float32 array, read when asked for, and refused when these are no weights.

    Args:
      tensors: of the file.
      loaded: torchvision's name → the file's key.
      file: for messages.

    Attributes:
      converted: dtype → how many tensors of it were converted to float32.
    """

    def __init__(self, tensors: Tensors, loaded: Mapping[str, str], file: Path):
        self.tensors, self.loaded, self.file = tensors, loaded, file
        self.converted: Counter[str] = Counter()

    def __getitem__(self, name: str) -> np.ndarray:
        """The array; InputError when it holds no weights."""
        key = self.loaded[name]
        dtype = self.tensors.stored[key].dtype
        if dtype not in FLOATS:
            raise self._wrong(f"{key} is of {dtype}, no floating-point numbers")
        if dtype != "float32":
            self.converted[dtype] += 1
        # A copy: JAX may keep the array as it is, and this one may be a map of the file.
        with np.errstate(over="ignore"):
            array = np.array(self.tensors[key], np.float32)
        if not np.isfinite(array).all():
            raise self._wrong(f"{key} holds values that are no numbers")
        if name.endswith("running_var") and (array < 0).any():
            raise self._wrong(f"{key} holds negative variances")
        return array

    def __iter__(self) -> Iterator[str]:
        """Names of torchvision."""
        return iter(self.loaded)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.loaded)

    def _wrong(self, what: str) -> InputError:
        return InputError(
            f"is damaged, or no weights: {what}",
            where=self.file,
            way_out="get the file anew",
        )
