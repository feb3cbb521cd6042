"""Patches of many slides → features, in full batches: small slides share one.

A batch is encoded while the next is put together. Knows no files.
"""

import collections
import concurrent.futures
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import numpy as np

# Batches on the devices or on their way: one is computed, the next lies ready.
AHEAD = 2


class Batches:
    """Encodes patches in the order in which they come.

    Args:
      program: (B, px, px, 3) uint8 on the devices → (B, D) float32, see `evaluate.extract`.
      sharding: of its argument.
      batch_size: B.
      px: side of the patches.

    Attributes:
      busy: seconds for which the devices had work.
    """

    def __init__(
        self,
        program: Callable[[jax.Array], jax.Array],
        sharding: jax.sharding.Sharding,
        batch_size: int,
        px: int,
    ):
        self._program, self._sharding = program, sharding
        self._shape = (batch_size, px, px, 3)
        self._flying: collections.deque[tuple[concurrent.futures.Future, float, Any]]
        self._flying = collections.deque()
        # Waits for the devices, so that the moment at which they are done is known.
        self._watch = concurrent.futures.ThreadPoolExecutor(1)
        self._ended = 0.0
        self.busy = 0.0
        self._begin()

    def warm_up(self) -> float:
        """Compiles the program; the seconds that it took."""
        start = time.monotonic()
        blank = jax.device_put(np.zeros(self._shape, np.uint8), self._sharding)
        jax.block_until_ready(self._program(blank))
        return time.monotonic() - start

    def put(self, owner: Hashable, patches: np.ndarray) -> Iterator[tuple[Hashable, np.ndarray]]:
        """Takes (n, px, px, 3) patches; yields what is done of all that was put before.

        Yields:
          (owner, (m, D) float32), in the order in which their patches were put.
        """
        while len(patches):
            room = self._shape[0] - self._filled
            part, patches = patches[:room], patches[room:]
            self._batch[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            self._owners.append((owner, len(part)))
            if self._filled == self._shape[0]:
                yield from self._send()

    def rest(self) -> Iterator[tuple[Hashable, np.ndarray]]:
        """What is still to come, as of `put`; the last batch is padded."""
        if self._filled:
            self._batch[self._filled :] = 0
            yield from self._send()
        while self._flying:
            yield from self._land()

    def close(self) -> None:
        """Ends the thread that waits for the devices."""
        self._watch.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        # A new array each time: on the CPU the device works on this very memory.
        self._batch = np.empty(self._shape, np.uint8)
        self._owners: list[tuple[Hashable, int]] = []
        self._filled = 0

    def _send(self) -> Iterator[tuple[Hashable, np.ndarray]]:
        while len(self._flying) >= AHEAD:
            yield from self._land()
        start = time.monotonic()
        features = self._program(jax.device_put(self._batch, self._sharding))
        self._flying.append((self._watch.submit(_fetched, features), start, self._owners))
        self._begin()

    def _land(self) -> Iterator[tuple[Hashable, np.ndarray]]:
        future, start, owners = self._flying.popleft()
        features, ended = future.result()
        self.busy += ended - max(start, self._ended)
        self._ended = ended
        first = 0
        for owner, count in owners:
            yield owner, features[first : first + count]
            first += count


def _fetched(features: jax.Array) -> tuple[np.ndarray, float]:
    return np.asarray(features), time.monotonic()
