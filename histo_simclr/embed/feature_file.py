"""One slide's features as HDF5: written row by row, whole or not there; read back to go on.

Chunks are of 1024 rows: whoever reads these files does not notice, and reads them ten times faster
than in the chunks of one row that TRIDENT writes.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from histo_simclr.errors import InputError

CHUNK_ROWS = 1024
# Bytes of chunks that are kept while they fill: some thousand features of any encoder.
_CACHE = 64 * 2**20
TEMPORARY = ".tmp"

Attributes = Mapping[str, Any]


class Content(NamedTuple):
    """What a file holds besides features.

    Fields:
      coords: (n, 2) integers, x and y of the top left corners in level-0 px, of the type to store.
      tissue: (n,) float32, share of each patch that is tissue.
      coords_attributes, features_attributes: of the two datasets.
    """

    coords: np.ndarray
    tissue: np.ndarray
    coords_attributes: Attributes
    features_attributes: Attributes


class FeatureFile:
    """A file that grows; it has its name only after `finish`.

    Args:
      path: of the file.
      content: what it holds besides features.
      dimensions: D.
      dtype: "float32" or "float16".

    Raises:
      InputError: the disk is full, or the place cannot be written; as all methods do.
    """

    def __init__(self, path: Path, content: Content, dimensions: int, dtype: str):
        self._path, self._temporary = path, _temporary(path)
        self._count, self._done = len(content.coords), 0
        with writing(path, self._temporary):
            self._file = h5py.File(self._temporary, "w", rdcc_nbytes=_CACHE)
            _add_coords(self._file, content)
            self._features = _dataset(self._file, "features", (self._count, dimensions), dtype)
            self._features.attrs.update(content.features_attributes)

    def append(self, features: np.ndarray) -> bool:
        """Writes the next (m, D) rows; whether these were the last."""
        with self._writing():
            self._features[self._done : self._done + len(features)] = features
        self._done += len(features)
        return self._done == self._count

    def finish(self) -> None:
        """Closes the file and gives it its name."""
        with self._writing():
            self._file.close()
            settle(self._temporary, self._path)

    def abandon(self) -> None:
        """Lets the file go without a trace."""
        _close(self._file)
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with writing(self._path, self._temporary):
                yield
        except InputError:
            self.abandon()
            raise


def write_coords(path: Path, content: Content) -> None:
    """A file of coordinates alone, with the attributes of `coords`; whole or not there."""
    temporary = _temporary(path)
    with writing(path, temporary):
        with h5py.File(temporary, "w") as file:
            _add_coords(file, content)
        settle(temporary, path)


class Stored(NamedTuple):
    """What a complete file says of itself.

    Fields:
      count, dimensions: N and D.
      dtype: of the features.
      model_sha256: of the encoder's weights; empty when the file does not say.
      settings: what decided its places, see `layouts`; empty when the file does not say.
      coords: (N, 2).
    """

    count: int
    dimensions: int
    dtype: str
    model_sha256: str
    settings: str
    coords: np.ndarray


def stored(path: Path) -> Stored | None:
    """What the file at `path` is; None when there is none, or it is torn."""
    if not path.exists():
        return None
    try:
        with h5py.File(path, "r") as file:
            features, coords = file["features"], file["coords"]
            if len(features) != len(coords) or features.ndim != 2:
                return None
            return Stored(
                *features.shape,
                str(features.dtype),
                str(features.attrs.get("model_sha256", "")),
                str(coords.attrs.get("settings", "")),
                coords[:].astype(np.int64),
            )
    except (OSError, KeyError, RuntimeError, TypeError, ValueError):  # HDF5 names its own reasons
        return None


@contextlib.contextmanager
def writing(path: Path, temporary: Path) -> Iterator[None]:
    """InputError for what the file system refuses; the temporary file is then removed."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot be written ({_reason(error)})",
            where=path,
            way_out="check free space and permissions, or choose another --out; the same command "
            "goes on from the slides that are done",
        ) from error


def settle(temporary: Path, path: Path) -> None:
    """Gives a file that was written its name, safe from a power failure."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)


def _add_coords(file: h5py.File, content: Content) -> None:
    coords = _dataset(file, "coords", content.coords.shape, content.coords.dtype)
    coords[:] = content.coords
    coords.attrs.update(content.coords_attributes)
    tissue = _dataset(file, "tissue_fraction", content.tissue.shape, np.float32)
    tissue[:] = content.tissue


def _dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    chunks = (max(1, min(CHUNK_ROWS, shape[0])), *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunks, maxshape=(None, *shape[1:]))


def _close(file: h5py.File) -> None:
    # A disk that was full is full still when what is left in memory goes there.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        file.close()


def _reason(error: Exception) -> str:
    """The operating system's reason, which HDF5 gives in the middle of its own."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    found = re.search(r"error message = '([^']*)'", str(error))
    return found[1] if found else str(error).splitlines()[0]
