"""Rows in, features out: the second jitted program's first part, and the color floor.

An encoder's features are computed once, in float32, the batch split over the mesh; padding of the
last batch is dropped. Labels are none of this module's business.
"""

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from histo_simclr import encode, records
from histo_simclr import mesh as meshes
from histo_simclr.input import order, reader
from histo_simclr.model.resnet import ResNet


def features(
    encoder: ResNet,
    rows: records.Rows,
    *,
    px: int,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    mesh: jax.sharding.Mesh,
) -> np.ndarray:
    """Features of all rows, in their order.

    Args:
      encoder: in eval mode; neither it nor its statistics change.
      rows: n patches of any side; resized to px when theirs differs.
      px, mean, std: what the encoder expects, from its provenance; mean and std per channel of
        pixels in [0, 1].
      batch_size: patches at a time over all devices; rounded up to a multiple of their number.
        Does not change the result.
      mesh: with the axis `data`.

    Returns:
      (n, encoder.num_features) float32, the same on every process.

    Raises:
      InputError: a record that is corrupt or does not decode (a substitute would have the wrong
        label), or no rows.
    """
    sharding = meshes.batch_sharding(mesh)
    program = encode.encoding(encoder, px=px, mean=mean, std=std, mesh=mesh)
    done: list[jax.Array] = []
    for patches in _batches(rows, -(-batch_size // mesh.size) * mesh.size):
        done.append(program(jax.make_array_from_process_local_data(sharding, patches)))
        if len(done) > 1:
            # One batch behind: reading goes on while the device works, and no queue builds up.
            jax.block_until_ready(done[-2])
    return np.concatenate([np.asarray(batch) for batch in done])[: len(rows)]


def color_histogram(rows: records.Rows, *, bins: int, batch_size: int) -> np.ndarray:
    """How often each level occurs per channel: what color alone tells, without any morphology.

    Args:
      rows: n patches.
      bins: of equal width over 0 to 255, per channel; divides 256.
      batch_size: patches at a time. Does not change the result.

    Returns:
      (n, 3 * bins) float32: red, green, blue; each third sums to 1.

    Raises:
      InputError: a record that is corrupt or does not decode, or no rows.
    """
    sequence, _ = order.sequential(len(rows), batch_size)
    channel = np.arange(3) * bins
    found = []
    for patches in reader.read(rows, sequence.__getitem__, start=0, stop=len(sequence)):
        count, pixels = len(patches), patches[0, ..., 0].size
        places = patches // np.uint8(256 // bins) + channel
        places += np.arange(count)[:, None, None, None] * (3 * bins)
        counts = np.bincount(places.ravel(), minlength=count * 3 * bins)
        found.append(counts.reshape(count, 3 * bins) / pixels)
    return np.concatenate(found)[: len(rows)].astype(np.float32)


def _batches(rows: records.Rows, batch_size: int) -> Iterator[np.ndarray]:
    """This process's share of each batch; the last one is padded to full size."""
    sequence, _ = order.sequential(len(rows), batch_size)

    def my_rows(number: int) -> np.ndarray:
        return order.host_slice(sequence[number], jax.process_index(), jax.process_count())

    return reader.read(rows, my_rows, start=0, stop=len(sequence))
