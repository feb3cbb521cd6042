"""Rows and their order → global batches on the devices; every process reads its share of each."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from histo_simclr import mesh as meshes
from histo_simclr import records
from histo_simclr.input import decoded, device, order, reader


def global_batches(
    rows: records.Rows,
    batch_rows: Callable[[int], np.ndarray],
    *,
    start: int,
    stop: int,
    mesh: jax.sharding.Mesh,
    labels: np.ndarray | None = None,
    max_corrupt: float = 0.0,
    watch: reader.Watch | None = None,
    depth: int = 2,
    cached: bool = False,
) -> device.Feed:
    """Batches `start` to `stop - 1`, read ahead.

    Args:
      rows: where the records lie.
      batch_rows: step → (B,) row numbers of the global batch. Called in other threads.
      start: first step.
      stop: step after the last one.
      mesh: B is split over its devices.
      labels: (n,) of the rows, to travel with the patches.
      max_corrupt, watch: as in `reader.read`.
      depth: batches kept ready on the devices.
      cached: decodes all rows first, and keeps them in the memory of this process.

    Returns:
      Feed of patches (B, px, px, 3) uint8, or of pairs (patches, labels (B,)); a context manager.

    Raises:
      InputError: cached, and what is wrong with the records or too large for the memory.
    """

    def my_rows(step: int) -> np.ndarray:
        return order.host_slice(batch_rows(step), jax.process_index(), jax.process_count())

    batches: Iterator[Any]
    if cached:
        first = jax.process_index() == 0
        pixels = decoded.all_rows(rows, max_corrupt=max_corrupt, watch=watch, says=first)
        batches = decoded.batches(pixels, my_rows, start=start, stop=stop)
    else:
        batches = reader.read(
            rows, my_rows, start=start, stop=stop, max_corrupt=max_corrupt, watch=watch
        )
    if labels is not None:
        batches = _labelled(batches, (labels[my_rows(step)] for step in range(start, stop)))
    return device.Feed(batches, meshes.batch_sharding(mesh), depth=depth)


def _labelled(
    batches: Iterator[np.ndarray], labels: Iterator[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with contextlib.closing(batches):
        yield from zip(batches, labels, strict=True)
