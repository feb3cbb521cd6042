"""Near-duplicates among the candidates of a mix, and near_duplicates.csv, which lists them."""

import collections
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.csv

from histo_simclr.prepare import candidates as reading
from histo_simclr.prepare import near
from histo_simclr.prepare.candidates import Candidates

# Pairs in near_duplicates.csv (16 MB); the others are counted all the same.
MOST_LISTED = 100_000


class Near(NamedTuple):
    """Pairs of rows. Rows are numbered: all held-out ones, then all candidates.

    Fields:
      first, second: (m,) int64, first < second; second is a candidate.
      bits: (m,) uint8, bits in which the perceptual hashes differ. Of rows with equal hashes, each
        is paired with the first of them only, and this one stands for all in other pairs.
      is_later: (n,) bool, candidates near a held-out row or near a candidate that comes before
        them and is not itself such a one: what to drop to keep one of each.
      is_whole: whether the pairs are all; not so beyond the bounds of `near.pairs`. A row is later
        only by a pair that was found.
    """

    first: np.ndarray
    second: np.ndarray
    bits: np.ndarray
    is_later: np.ndarray
    is_whole: bool


def find(held_out: np.ndarray, hashes: np.ndarray, is_available: np.ndarray, distance: int) -> Near:
    """Pairs among the available candidates, and of these with held-out rows.

    Args:
      held_out: (h,) uint64, perceptual hashes of held-out rows.
      hashes: (n,) uint64, those of the candidates.
      is_available: (n,) bool, candidates to look at.
      distance: bits in which the two of a pair may differ.
    """
    rows = np.concatenate([np.arange(len(held_out)), len(held_out) + np.flatnonzero(is_available)])
    values = np.concatenate([held_out, hashes[is_available]])
    unique, start, number = np.unique(values, return_index=True, return_inverse=True)
    # Different hashes in the order in which they first occur: held-out ones first.
    order = np.argsort(start)
    rank = np.empty(len(unique), np.int64)
    rank[order] = np.arange(len(unique))
    number, lead = rank[number], rows[start[order]]
    pairs, bits, is_whole = near.pairs(unique[order], distance)
    stays = near.kept(pairs, lead < len(held_out))
    is_lead = rows == lead[number]
    is_later = np.zeros(len(hashes), bool)
    later = rows[(~is_lead | ~stays[number]) & (rows >= len(held_out))]
    is_later[later - len(held_out)] = True
    first = np.concatenate([lead[number[~is_lead]], lead[pairs[:, 0]]])
    second = np.concatenate([rows[~is_lead], lead[pairs[:, 1]]])
    bits = np.concatenate([np.zeros((~is_lead).sum(), np.uint8), bits])
    wanted = np.flatnonzero(second >= len(held_out))
    wanted = wanted[np.lexsort((second[wanted], first[wanted]))]
    return Near(first[wanted], second[wanted], bits[wanted], is_later, is_whole)


def write(
    file: Path, found: Near, candidates: list[Candidates], fates: np.ndarray
) -> dict[str, int]:
    """Writes the first MOST_LISTED pairs with their keys and what became of each row.

    Args:
      file: CSV to write: bits, then key, cohort and fate of both rows.
      found: see `find`.
      candidates: those that `find` was given.
      fates: (n,) str, of the candidates.

    Returns:
      Number of all pairs by the cohorts they connect, e.g. {"a": 2, "a, b": 1}, descending.
    """
    listed = slice(MOST_LISTED)
    both = np.concatenate([found.first[listed], found.second[listed]])
    rows, place = np.unique(both, return_inverse=True)
    first, second = np.split(place, 2)
    held_out = sum(len(each.held_out) for each in candidates)
    fate = np.full(len(rows), "held out", object)
    fate[rows >= held_out] = fates[rows[rows >= held_out] - held_out]
    sets = [each.held_out for each in candidates] + [each.row for each in candidates]
    bounds = np.cumsum([0, *(len(each) for each in sets)])
    keys: list[pyarrow.Array] = []
    cohort = np.empty(len(rows), object)
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        low, high = np.searchsorted(rows, [start, end])
        source = candidates[number % len(candidates)]
        cohort[low:high] = source.info["cohort"]
        for table in reading.take(source.path, sets[number][rows[low:high] - start], ["key"]):
            keys += table["key"].chunks
    key = pyarrow.chunked_array(keys, pyarrow.string()).combine_chunks()
    columns: dict[str, Any] = {"bits": found.bits[listed]}
    for name, chosen in (("first", first), ("second", second)):
        columns |= {name: key.take(pyarrow.array(chosen))}
        columns |= {f"{name}_cohort": cohort[chosen], f"{name}_fate": fate[chosen]}
    schema = pyarrow.schema(
        [(name, pyarrow.int64() if name == "bits" else pyarrow.string()) for name in columns]
    )
    pyarrow.csv.write_csv(pyarrow.table(columns, schema=schema), file)
    return _by_cohorts(found, bounds[1:], [each.info["cohort"] for each in candidates])


def _by_cohorts(found: Near, ends: np.ndarray, names: list[str]) -> dict[str, int]:
    """Counts of pairs.

    Args:
      found: the pairs.
      ends: (2C,) int, where the rows of each set end: all held-out ones, then all candidates.
      names: cohort of each of the C sets.
    """
    counts: collections.Counter[str] = collections.Counter()
    first, second = (np.searchsorted(ends, rows, "right") for rows in (found.first, found.second))
    codes, pairs = np.unique(first * len(ends) + second, return_counts=True)
    for code, count in zip(codes.tolist(), pairs.tolist(), strict=True):
        one, other = divmod(code, len(ends))
        is_held, one, other = one < len(names), *(names[each % len(names)] for each in (one, other))
        alone = one if one == other else f"{one}, {other}"
        counts[f"{other}, {one} (held out)" if is_held else alone] += count
    return {name: counts[name] for name in sorted(counts, key=lambda name: (-counts[name], name))}
