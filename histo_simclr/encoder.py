"""An encoder to call: patches as they come from slides → features, nothing to guess.

Its normalization, size and resolution come from the file it was loaded from. Without TensorFlow.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from histo_simclr import checkpoint, encode, input_check
from histo_simclr import mesh as meshes
from histo_simclr.errors import InputError
from histo_simclr.model.resnet import ResNet
from histo_simclr.provenance import Provenance
from histo_simclr.weights import foreign, label, names

SMALLEST_BUCKET = 8  # patches


class Encoder:
    """Features of patches, computed on all devices of this process.

    Args:
      network: in eval mode.
      provenance: of it.
      batch_size: patches that lie on the devices at a time; rounded up to their number. Changes no
        feature.

    Attributes:
      arch: e.g. "resnet18".
      num_features: D.
      px: side of the patches that it was trained on; others are resized to it.
      mpp: µm/px that it was trained on, ascending; () when unknown.
      mean, std: per channel of pixels in [0, 1]; applied here.
      provenance: mix, cohorts, licences, configuration.
      sha256: of the weights, as every export states it.
    """

    def __init__(self, network: ResNet, provenance: Provenance, *, batch_size: int = 256):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"is {batch_size!r}", where="batch_size", way_out="give 1 or more")
        self.arch, self.num_features = network.arch, network.num_features
        self.px, self.mpp = provenance.px, provenance.mpp
        self.mean, self.std = provenance.mean, provenance.std
        self.provenance = provenance
        self.sha256 = label.model_sha256(names.to_torch(network))
        self._mesh = meshes.local()
        self._batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        looks = {"px": self.px, "mean": self.mean, "std": self.std}
        self._program = encode.encoding(network, **looks, mesh=self._mesh)
        self._check = input_check.Check(provenance)

    def __call__(self, patches: Any) -> np.ndarray:
        """Features of patches in memory, or in a file that numpy maps (`mmap_mode="r"`).

        Args:
          patches: (N, height, width, 3) uint8, red first; one (height, width, 3) counts as N = 1.
            Other types, ranges and orders of axes are converted where what is meant is beyond
            doubt, with a warning that says what was expected. Colors unlike those of the training
            are warned of as well; that red and blue changed places cannot be told from the colors
            of H&E.

        Returns:
          (N, num_features) float32.

        Raises:
          InputError: patches that are none: other shapes, no pixels, values that cannot be.
        """
        return next(self.stream([patches]))

    def stream(self, batches: Iterable[Any]) -> Iterator[np.ndarray]:
        """Features of batches as they come; while one is computed, the next is fetched.

        Args:
          batches: each as for a call, of any number of patches.

        Yields:
          (n, num_features) float32, one array a batch.
        """
        # Of the batches whose features are not all there: the array, and rows of it to come.
        waiting: deque[tuple[np.ndarray, int]] = deque()

        def chunks() -> Iterator[np.ndarray]:
            for batch in batches:
                patches = self._check.batch(batch)
                empty = np.empty((len(patches), self.num_features), np.float32)
                waiting.append((empty, len(patches)))
                for start in range(0, len(patches), self._batch_size):
                    yield patches[start : start + self._batch_size]

        for features in self._streamed(chunks()):
            while not waiting[0][1]:  # batches without patches
                yield waiting.popleft()[0]
            array, left = waiting.popleft()
            array[len(array) - left :][: len(features)] = features
            left -= len(features)
            if left:
                waiting.appendleft((array, left))
            else:
                yield array
        yield from (array for array, _ in waiting)

    def _streamed(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        sharding = meshes.batch_sharding(self._mesh)
        before: tuple[jax.Array, int] | None = None
        for chunk in chunks:
            padded = np.pad(chunk, [(0, self._bucket(len(chunk)) - len(chunk))] + [(0, 0)] * 3)
            now = self._program(jax.device_put(padded, sharding)), len(chunk)
            if before:  # one behind: the devices work while the next is fetched
                yield np.asarray(before[0])[: before[1]]
            before = now
        if before:
            yield np.asarray(before[0])[: before[1]]

    def _bucket(self, count: int) -> int:
        """Patches that a batch is padded to, so that few shapes are compiled."""
        bucket = SMALLEST_BUCKET
        while bucket < count:
            bucket *= 2
        bucket = -(-bucket // self._mesh.size) * self._mesh.size
        return min(bucket, self._batch_size)


def load_encoder(
    source: str | Path,
    *,
    arch: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    px: int = 0,
    batch_size: int = 256,
) -> Encoder:
    """An encoder from whatever holds one, its fingerprint checked where there is one.

    Args:
      source: a workdir, one step's folder, an imported folder, anything that `export` writes, or
        foreign weights (`weights.foreign`).
      arch, mean, std, px: of foreign weights that do not say so themselves; must be left out where
        the source does.
      batch_size: patches that lie on the devices at a time. Changes no feature.

    Raises:
      InputError: no encoder there, a damaged one, or one of unknown normalization.
    """
    mean, std = (None if each is None else tuple(np.ravel(each).tolist()) for each in (mean, std))
    network, provenance = read(source, arch=arch, mean=mean, std=std, px=px)
    return Encoder(network, provenance, batch_size=batch_size)


def read(source: str | Path, **told: Any) -> tuple[ResNet, Provenance]:
    """What `load_encoder` loads, without a program for it; arguments are the same.

    Raises:
      InputError: as `load_encoder`.
    """
    if not isinstance(source, str | Path):
        raise InputError(f"is {source!r}", where="source", way_out="give the path of an encoder")
    if not checkpoint.is_checkpoint(source):
        return foreign.read(Path(source), **told)
    if given := [name for name, value in told.items() if value]:
        raise InputError(
            f"a checkpoint says itself what it expects, and {', '.join(given)} was given",
            where=source,
            way_out="leave it out",
        )
    network, provenance, _ = checkpoint.load_encoder(source)
    return network, provenance
