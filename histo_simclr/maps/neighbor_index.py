"""Nearest patches of other slides: exact among few, by an index among many."""

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import neighbors

# Up to so many patches the exact search takes seconds, and no library (docs/neighbor_index.py).
EXACT_UP_TO = 20_000
# Links of a node, candidates while it is built and asked: docs/benchmarks.md, Nearest patches.
_LINKS, _BUILT_WITH, _ASKED_WITH = 32, 200, 128
# Neighbors fetched for each that is wanted: most are of the query's own slide, and do not count.
_FETCHED = 8
# Queries whose candidates are compared at a time.
_BLOCK = 512


class NeighborIndex:
    """A gallery of patches to search in.

    Args:
      features: (n, D) float32.
      groups: (n,) integers; neighbors of the query's own group do not count.

    Raises:
      InputError: more than EXACT_UP_TO patches, and the extra `look` is not installed.
    """

    def __init__(self, features: np.ndarray, groups: np.ndarray):
        self._unit = neighbors.unit_length(features)
        self._groups = groups
        self._center = self._unit.mean(0)
        self._index = self._built() if len(features) > EXACT_UP_TO else None

    def nearest(
        self, queries: np.ndarray, groups: np.ndarray, *, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The most similar patches of other groups, most similar first.

        Where the index gives too few of other groups, the exact search is asked.

        Args:
          queries: (m, D) float32.
          groups: (m,) integers.
          count: neighbors wanted of each.

        Returns:
          As `neighbors.nearest`: (m, count) rows, -1 where there are too few, and cosines.
        """
        if self._index is None:
            return self._exact(queries, groups, count)
        found = np.full((len(queries), count), -1)
        cosines = np.full((len(queries), count), np.nan, np.float32)
        unit = neighbors.unit_length(queries)
        for start in range(0, len(queries), _BLOCK):
            part = slice(start, start + _BLOCK)
            found[part], cosines[part] = self._approximate(unit[part], groups[part], count)
        lacking = np.flatnonzero((found < 0).any(1))
        if len(lacking):
            found[lacking], cosines[lacking] = self._exact(queries[lacking], groups[lacking], count)
        return found, cosines

    def _exact(self, queries, groups, count) -> tuple[np.ndarray, np.ndarray]:
        return neighbors.nearest(
            queries,
            self._unit,
            count=count,
            query_groups=groups,
            gallery_groups=self._groups,
        )

    def _approximate(self, unit, groups, count) -> tuple[np.ndarray, np.ndarray]:
        fetched = min(count * _FETCHED, len(self._unit))
        # One thread: what several build or find may differ from run to run.
        keys = self._index.search(unit - self._center, fetched, threads=1).keys.astype(np.int64)
        cosines = np.einsum("md,mcd->mc", unit, self._unit[keys])
        cosines[self._groups[keys] == groups[:, None]] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        keys, cosines = (np.take_along_axis(each, order, axis=1) for each in (keys, cosines))
        counts = np.isfinite(cosines)
        return np.where(counts, keys, -1), np.where(counts, cosines, np.nan)

    def _built(self):
        try:
            from usearch.index import Index
        except ImportError as error:
            raise InputError(
                f"an index is wanted for {len(self._unit):,} patches, and usearch cannot be "
                f"imported ({error})",
                where="--gallery",
                way_out="install the extra: pip install 'histo-simclr[look]', or give "
                f"--gallery {EXACT_UP_TO}",
            ) from error
        index = Index(
            ndim=self._unit.shape[1],
            # Of unit vectors it orders as cosines do; about their mean float32 has digits left.
            metric="l2sq",
            dtype="f32",
            connectivity=_LINKS,
            expansion_add=_BUILT_WITH,
            expansion_search=_ASKED_WITH,
        )
        index.add(np.arange(len(self._unit)), self._unit - self._center, threads=1)
        return index
