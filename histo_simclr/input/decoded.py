"""Pixels of all rows, decoded once and kept in host memory: batches are then copies out of it.

For machines with more memory than time: an epoch's order is one of all rows, so every process
holds all of them. What is read is what `reader.read` reads, so the batches are the same bits.
"""

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.input import host_memory, order, reader

CHUNK = 256  # rows between looks at the memory that is left
SPARED = 0.1  # share of the available memory left to the rest of the run
SECONDS = 5.0  # between progress lines


def all_rows(
    rows: records.Rows,
    *,
    max_corrupt: float = 0.0,
    watch: reader.Watch | None = None,
    says: bool = True,
) -> np.ndarray:
    """Decodes every row, in order, on all cores.

    A corrupt record is replaced and counted as by `reader.read`; all of them are met here, also
    those that a short run would not have come to.

    Args:
      rows: where the records lie.
      max_corrupt, watch: as in `reader.read`.
      says: tells on stderr how far it is.

    Returns:
      (n, px, px, 3) uint8, read-only.

    Raises:
      InputError: they do not fit into memory, or as `reader.read`.
    """
    shape = (len(rows), rows.px, rows.px, 3)
    size = np.prod(shape, dtype=np.int64)
    _check(size, size)
    pixels = np.empty(shape, np.uint8)
    places, _ = order.sequential(len(rows), min(CHUNK, len(rows)))
    options = {"max_corrupt": max_corrupt, "watch": watch}
    start = last = time.monotonic()
    for number, chunk in enumerate(
        reader.read(rows, places.__getitem__, start=0, stop=len(places), **options)
    ):
        done = number * len(chunk)
        # Again: another process may be filling the same memory.
        _check(size * (len(rows) - done) // len(rows), size)
        pixels[done : done + len(chunk)] = chunk[: len(rows) - done]
        if says and time.monotonic() - last > SECONDS:
            last = time.monotonic()
            done += len(chunk)
            rate = done / (last - start)
            line = f"decoding into memory: {done:,} of {len(rows):,} patches, {rate:,.0f}/s"
            print(line, file=sys.stderr, flush=True)
    pixels.flags.writeable = False
    return pixels


def batches(
    pixels: np.ndarray, batch_rows: Callable[[int], np.ndarray], *, start: int, stop: int
) -> Iterator[np.ndarray]:
    """Batches `start` to `stop - 1` of `batch_rows`, as `reader.read` gives them."""
    for step in range(start, stop):
        yield pixels[batch_rows(step)]


def _check(wanted: int, size: int) -> None:
    """InputError when the `wanted` bytes still to be filled, of `size`, do not fit."""
    available = host_memory.available()
    if available is not None and wanted > (1 - SPARED) * available:
        size, wanted, had = (each / 2**30 for each in (size, wanted, (1 - SPARED) * available))
        raise InputError(
            f"the decoded patches take {size:,.1f} GiB in each process; of the {wanted:,.1f} GiB "
            f"to fill, {had:,.1f} GiB can be had",
            where="config.run.cache_decoded",
            way_out="set --config.run.cache_decoded=False, or take a machine with more memory",
        )
