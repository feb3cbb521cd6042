"""Nearest neighbors by cosine, without the full matrix in memory: arrays in, arrays out."""

import numpy as np

# Similarities held at once: 64 MB of float32.
_BLOCK = 16_000_000


def nearest(
    queries: np.ndarray,
    gallery: np.ndarray,
    *,
    count: int,
    query_groups: np.ndarray | None = None,
    gallery_groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar rows of a gallery for each query, most similar first.

    Args:
      queries, gallery: (m, D), (n, D) features, of any length but 0; scaled to length 1 here.
      count: neighbors wanted of each query.
      query_groups, gallery_groups: (m,), (n,) names; a neighbor of the query's own group, such as
        the query itself or another patch of its slide, does not count. None: all count.

    Returns:
      (m, count) int64 rows of the gallery, -1 where there are too few; and (m, count) float32
      cosines, NaN there. Of equal cosines the lower row comes first.
    """
    queries, gallery = unit_length(queries), unit_length(gallery)
    group = None
    if query_groups is not None and gallery_groups is not None:
        names = np.concatenate([query_groups, gallery_groups])
        group = np.split(np.unique(names, return_inverse=True)[1], [len(queries)])
    found = np.full((len(queries), count), -1)
    cosines = np.full((len(queries), count), np.nan, np.float32)
    taken = min(count, len(gallery))
    rows = max(1, _BLOCK // max(1, len(gallery)))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        table = queries[block] @ gallery.T
        if group is not None:
            table[group[0][block, None] == group[1][None]] = -np.inf
        # Ascending, because a stable sort by falling cosine then leaves ties in the rows' order.
        best = np.sort(np.argpartition(-table, taken - 1, axis=1)[:, :taken], axis=1)
        value = np.take_along_axis(table, best, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        best, value = (np.take_along_axis(each, order, axis=1) for each in (best, value))
        counts = np.isfinite(value)
        found[block, :taken] = np.where(counts, best, -1)
        cosines[block, :taken] = np.where(counts, value, np.nan)
    return found, cosines


def unit_length(features: np.ndarray) -> np.ndarray:
    """(n, D) rows divided by their lengths, of the same dtype; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)
