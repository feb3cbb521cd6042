"""Host batches → global device arrays, one step ahead of the device. Knows no files, no TensorFlow.

Also measures the share of time that the device stood idle for want of input.
"""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

# How finely the end of a running step is noticed while its successor's input is not there yet.
POLL_SECONDS = 0.001


class Feed:
    """Puts batches on the devices in a background thread.

    Args:
      batches: this process's part of each global batch: an array or a pytree of them, first axis
        sharded; any dtype. An array must not be written to after it was given out. Consumed and
        closed in the thread.
      sharding: of the global array.
      depth: batches kept ready on the devices.
    """

    def __init__(
        self, batches: Iterator[Any], sharding: jax.sharding.Sharding, depth: int = 2
    ) -> None:
        self._batches, self._sharding = batches, sharding
        self._ready: queue.Queue = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._end: BaseException | None = None
        self._waited, self._since = 0.0, None
        self._thread = threading.Thread(target=self._fill, name="feed", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next(self, pending: Any) -> Any:
        """The next global batch, structured as `batches` gave it.

        Args:
          pending: output of the last dispatched step (any pytree of arrays that no later step
            was donated), None before the first. While it is being computed the device is busy,
            and waiting for input costs nothing.

        Raises:
          StopIteration: no more batches, or closed.
          Exception: whatever reading or transferring raised.
        """
        if self._end is not None:
            raise self._end
        item = self._take(pending)
        if isinstance(item, BaseException):
            self._end = item
            raise item
        if self._since is None:  # the pipeline's start-up is no sign of slow input
            self._waited, self._since = 0.0, time.perf_counter()
        return item

    def wait_fraction(self) -> float:
        """Share of the time since the last call in which the device idled for want of input."""
        if self._since is None:
            return 0.0
        now = time.perf_counter()
        fraction = self._waited / max(now - self._since, 1e-9)
        self._waited, self._since = 0.0, now
        return min(fraction, 1.0)

    def close(self) -> None:
        """Stops the thread and lets go of all batches. May be called twice."""
        self._stopped.set()
        self._end = self._end or StopIteration()
        while self._thread.is_alive():
            self._drain()  # the thread may be waiting for a free place
            self._thread.join(timeout=0.01)
        self._drain()

    def _take(self, pending: Any) -> Any:
        arrays = [leaf for leaf in jax.tree.leaves(pending) if hasattr(leaf, "is_ready")]
        while not all(array.is_ready() for array in arrays):
            try:
                return self._ready.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
        start = time.perf_counter()
        item = self._ready.get()
        self._waited += time.perf_counter() - start
        return item

    def _fill(self) -> None:
        end: BaseException = StopIteration()
        try:
            self._transfer()
        except BaseException as error:  # surfaces in next(), whatever it is
            end = error
        self._ready.put(end)

    def _transfer(self) -> None:
        try:
            for batch in self._batches:
                if self._stopped.is_set():
                    return
                arrays = jax.tree.map(self._on_devices, batch)
                # Ready means on the device: a transfer under way is input the step waits for.
                self._ready.put(jax.block_until_ready(arrays))
                del arrays, batch
        finally:
            if hasattr(self._batches, "close"):
                self._batches.close()

    def _on_devices(self, part: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(self._sharding, part)

    def _drain(self) -> None:
        try:
            while True:
                self._ready.get_nowait()
        except queue.Empty:
            pass
