"""What rows of a manifest amount to: counts by value, names, pixel statistics, digest."""

import collections
import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow
import pyarrow.compute

from histo_simclr.records import MOMENT_FIELDS

_NAMED = ("slide", "patient")


class Counts:
    """Rows by the values of some columns, and how many slides and patients are named.

    Args:
      columns: of few different values.
    """

    def __init__(self, columns: Sequence[str]):
        self._counters = {name: collections.Counter() for name in columns}
        self._names: dict[str, set[str]] = {name: set() for name in _NAMED}

    def add(self, table: pyarrow.Table) -> None:
        """Counts the rows of a table with these columns, slide and patient."""
        for name, counter in self._counters.items():
            for pair in table[name].value_counts().to_pylist():
                counter[pair["values"]] += pair["counts"]
        for name, seen in self._names.items():
            seen.update(pyarrow.compute.unique(table[name]).to_pylist())

    def by_value(self) -> dict[str, dict[str, int]]:
        """Of each column: rows by value, sorted by value."""
        return {
            name: {str(value): counter[value] for value in sorted(counter)}
            for name, counter in self._counters.items()
        }

    def named(self) -> dict[str, int]:
        """How many different slides and patients have a name."""
        return {f"{name}s": len(seen - {""}) for name, seen in self._names.items()}


class Pixels:
    """Mean and std of pixels from the rows' moments, and the digest of the rows."""

    def __init__(self) -> None:
        self._moments, self._rows = np.zeros(len(MOMENT_FIELDS)), 0
        self._digest = hashlib.sha256()

    def add(self, table: pyarrow.Table) -> None:
        """Takes in the rows of a table with the moments, key and pixels_sha256."""
        self._moments += [table[name].to_numpy().sum() for name in MOMENT_FIELDS]
        self._rows += len(table)
        lines = pyarrow.compute.binary_join_element_wise(table["key"], table["pixels_sha256"], "\t")
        self._digest.update("".join(f"{line}\n" for line in lines.to_pylist()).encode())

    def statistics(self) -> dict[str, list[float]]:
        """Mean and std of r, g, b over all pixels of all rows, pixels in [0, 1]."""
        mean, square = np.split(self._moments / self._rows, 2)
        return {"mean": mean.tolist(), "std": np.sqrt(square - mean**2).tolist()}

    def digest(self) -> str:
        """SHA-256 of the lines key, tab, pixels_sha256: names the patches and their order."""
        return self._digest.hexdigest()
