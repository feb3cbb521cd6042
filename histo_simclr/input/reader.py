"""Rows → fetched, checked, decoded uint8 batches: the only place of TensorFlow in training.

tf.data asks for batch k; its records are read by offset (`os.pread`), their checksums compared,
then parsed and decoded in parallel, in order. Knows no devices, no config, no permutation.
"""

import functools
import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from histo_simclr import records
from histo_simclr.errors import InputError

# Soft limits on descriptors are often 1024, and a large mix has thousands of shards.
MAX_OPEN_SHARDS = 256
PREFETCHED_BATCHES = 2
_PREPARE_AGAIN = "make the record set again with `histo-simclr prepare`"

log = logging.getLogger(__name__)


class Watch:
    """What was read so far; may be looked at from any thread while reading goes on.

    Fields:
      rows_read: records read and found sound, replacements included.
      corrupt_rows: row numbers whose checksum failed, each once however often it was met.
    """

    def __init__(self) -> None:
        self.rows_read = 0
        self.corrupt_rows: set[int] = set()
        self.lock = threading.Lock()

    @property
    def corrupt(self) -> int:
        """Number of different corrupt records met."""
        return len(self.corrupt_rows)


def read(
    rows: records.Rows,
    batch_rows: Callable[[int], np.ndarray],
    *,
    start: int,
    stop: int,
    max_corrupt: float = 0.0,
    watch: Watch | None = None,
) -> Iterator[np.ndarray]:
    """Decoded batches `start` to `stop - 1`, in order, read ahead in the background.

    A record whose checksum fails is replaced by the next sound row, counted and logged once; what
    replaces it depends on the row alone, so that every run sees the same pixels. By
    default none may be corrupt: where rows carry labels, a substitute would have the wrong one.

    Args:
      rows: where the records lie.
      batch_rows: step -> (b,) row numbers; b is the same for every step. Called in other threads.
      start: first step.
      stop: step after the last one.
      max_corrupt: share of all rows, in [0, 1), that may be corrupt.
      watch: counts what is read; one a set of rows.

    Yields:
      (b, px, px, 3) uint8 RGB, read-only.

    Raises:
      InputError: naming shard and offset: too many corrupt records, a shard that is missing or
        truncated, an image that does not decode or has another size. Raised by the iterator.
    """
    if not 0 <= max_corrupt < 1:
        raise InputError(
            f"is {max_corrupt}, not a share in [0, 1)",
            where="data.max_corrupt",
            way_out="0.001 lets one record in a thousand be replaced",
        )
    fetch = _Fetch(rows, batch_rows, max_corrupt, watch or Watch(), ("image",))
    return _batches(fetch, start, stop)


def read_masked(
    rows: records.Rows, batch_rows: Callable[[int], np.ndarray], *, start: int, stop: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`read` for rows whose records have masks; none may be corrupt.

    Yields:
      (b, px, px, 3) uint8 RGB, and (b, px, px) uint8, the class of each pixel; both read-only.

    Raises:
      InputError: as `read`; a record without a mask, or whose mask has another size.
    """
    fetch = _Fetch(rows, batch_rows, 0.0, Watch(), ("image", "mask"))
    return _batches(fetch, start, stop)


def _batches(fetch: "_Fetch", start: int, stop: int) -> Iterator[Any]:
    """An array a batch, or a tuple of them where several features are read."""
    if start >= stop:
        return
    import tensorflow as tf

    step = start
    batches = _dataset(fetch, start, stop).as_numpy_iterator()
    try:
        for batch in batches:
            yield batch if len(batch) > 1 else batch[0]
            step += 1
    except tf.errors.OpError:
        # tf.data wraps every exception; the one behind it is what the user can act on.
        if step in fetch.failures:
            raise fetch.failures[step] from None
        _explain(fetch, step)
        raise
    finally:
        del batches  # stops and joins the threads of tf.data, which use the descriptors
        fetch.close()


def _dataset(fetch: "_Fetch", start: int, stop: int):
    import tensorflow as tf

    _keep_off_accelerators()
    batch_size, px = len(fetch.batch_rows(start)), fetch.rows.px

    def encoded(step):
        examples = tf.numpy_function(fetch, [step], tf.string)
        return _parse(tf.ensure_shape(examples, [batch_size]), fetch.names)

    def decoded(*encoded):
        pairs = zip(fetch.names, encoded, strict=True)
        return tuple(
            tf.ensure_shape(_DECODERS[name](each), [px, px, *_CHANNELS[name]])
            for name, each in pairs
        )

    options = tf.data.Options()
    options.deterministic = True
    # Decoding is parallel over images; threads inside one would only compete.
    options.threading.max_intra_op_parallelism = 1
    dataset = tf.data.Dataset.range(start, stop)
    dataset = dataset.map(encoded, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    dataset = dataset.map(decoded, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(PREFETCHED_BATCHES)
    return dataset.with_options(options)


def _parse(examples, names: tuple[str, ...]):
    import tensorflow as tf

    schema = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    parsed = tf.io.parse_example(examples, schema)
    return tuple(parsed[name] for name in names)


def _decode(image):
    import tensorflow as tf

    # Takes PNG too. Accurate: the same pixels as Pillow's, hence as the manifest's statistics and
    # as users of PyTorch. The default is off by one level on average, up to 8, and no faster.
    return tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_mask(mask):
    import tensorflow as tf

    return tf.io.decode_png(mask, channels=1)[..., 0]


_DECODERS = {"image": _decode, "mask": _decode_mask}
_CHANNELS = {"image": (3,), "mask": ()}


def _keep_off_accelerators() -> None:
    # TensorFlow would claim the accelerator's memory, which JAX needs.
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        try:
            tf.config.set_visible_devices([], kind)
        except RuntimeError:  # its devices were set up before: too late to hide any
            log.warning("TensorFlow was started before the input; it may hold %s memory", kind)


def _explain(fetch: "_Fetch", step: int) -> None:
    """Finds the image of a batch that tf.data failed on; raises InputError if there is one."""
    import tensorflow as tf

    px = fetch.rows.px
    for row, name in itertools.product(map(int, fetch.batch_rows(step)), fetch.names):
        try:
            (encoded,) = _parse([fetch.sound_record(row)], (name,))
            height, width = _DECODERS[name](encoded[0]).shape[:2]
        except tf.errors.OpError:
            what = f"record is sound, but holds no {name} that decodes"
        else:
            if height == width == px:
                continue
            what = f"{name} of {width} x {height} px, the index says {px} x {px}"
        raise InputError(what, where=fetch.place(row), way_out=_PREPARE_AGAIN) from None


class _Shard:
    """An open shard; its descriptor lives as long as somebody holds this object."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)


class _Fetch:
    """Step → serialised Examples of its rows. Called by several threads at once."""

    def __init__(
        self, rows, batch_rows, max_corrupt: float, watch: Watch, names: tuple[str, ...]
    ) -> None:
        self.rows, self.batch_rows, self.watch = rows, batch_rows, watch
        self.max_corrupt, self.names = max_corrupt, names
        self.failures: dict[int, Exception] = {}
        # Dropping a shard from the cache closes it only when no other thread still reads it.
        self._open = functools.lru_cache(MAX_OPEN_SHARDS)(_Shard)

    def __call__(self, step: np.ndarray) -> np.ndarray:
        try:
            found = [self.sound_record(int(row)) for row in self.batch_rows(int(step))]
        except Exception as error:
            self.failures[int(step)] = error
            raise
        with self.watch.lock:
            self.watch.rows_read += len(found)
        return np.array(found, dtype=object)

    def close(self) -> None:
        self._open.cache_clear()
        self.failures.clear()

    def place(self, row: int) -> str:
        return f"{self.rows.shards[self.rows.shard[row]]}, offset {self.rows.offset[row]}"

    def sound_record(self, row: int) -> bytes:
        """The record of a row, or of the next row that is sound."""
        while records.masked_crc(record := self._record(row)) != self.rows.crc[row]:
            self._count_corrupt(row)  # ends the search at the latest when all are corrupt
            row = (row + 1) % len(self.rows)
        return record

    def _record(self, row: int) -> bytes:
        length = int(self.rows.length[row])
        try:
            shard = self._open(self.rows.shards[self.rows.shard[row]])
            record = os.pread(shard.descriptor, length, int(self.rows.offset[row]))
        except OSError as error:
            raise InputError(
                f"shard cannot be read ({error.strerror})",
                where=self.place(row),
                way_out="restore the shard, or mix again without its record set",
            ) from error
        if len(record) < length:
            raise InputError(
                f"shard is truncated: {len(record)} of the record's {length} bytes are left",
                where=self.place(row),
                way_out="copy the shard again, or make it with `histo-simclr prepare`",
            )
        return record

    def _count_corrupt(self, row: int) -> None:
        with self.watch.lock:
            is_new = row not in self.watch.corrupt_rows
            self.watch.corrupt_rows.add(row)
            count = self.watch.corrupt
        if count > self.max_corrupt * len(self.rows):
            raise InputError(
                f"record fails its checksum; with it {count} of {len(self.rows)} records are "
                f"corrupt, and data.max_corrupt allows a share of {self.max_corrupt:g}",
                where=self.place(row),
                way_out=_PREPARE_AGAIN,
            )
        if is_new:
            log.warning("record fails its checksum, next row taken: %s", self.place(row))
