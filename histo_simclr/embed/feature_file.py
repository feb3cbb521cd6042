"""One slide's features as HDF5: written row by row, whole or not there; read back to go on.

Chunks are of 1024 rows: whoever reads these files does not notice, and reads them ten times faster
than in the chunks of one row that TRIDENT writes.
"""

import contextlib
import errno
import fcntl
import io
import os
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
            self._bytes = _Bytes(self._temporary)
        self._file: h5py.File | None = None
        with self._writing():
            self._file = h5py.File(self._bytes, "w", rdcc_nbytes=_CACHE)
            _add_coords(self._file, content)
            self._features = _dataset(self._file, "features", (self._count, dimensions), dtype)
            self._features.attrs.update(content.features_attributes)

    def append(self, features: np.ndarray) -> bool:
        """Writes the next (m, D) rows; whether these were the last."""
        with self._writing():
            # Rounded by numpy: HDF5's own conversion to float16 (1.14.6) is off by a factor of two
            # for some of the numbers that round up to a power of two.
            rows = features.astype(self._features.dtype, copy=False)
            self._features[self._done : self._done + len(rows)] = rows
        self._done += len(features)
        return self._done == self._count

    def finish(self) -> None:
        """Closes the file and gives it its name."""
        with self._writing():
            self._file.close()
            self._bytes.refuse_errors()
            settle(self._temporary, self._path)
        self._bytes.close()

    def abandon(self) -> None:
        """Lets the file go without a trace."""
        if self._file is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._file.close()
        self._bytes.close()
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with writing(self._path, self._temporary):
                try:
                    yield
                finally:  # goes before what HDF5 says when it misses what was not written
                    self._bytes.refuse_errors()
        except InputError:
            self.abandon()
            raise


def write_coords(path: Path, content: Content) -> None:
    """A file of coordinates alone, with the attributes of `coords`; whole or not there."""
    temporary = _temporary(path)
    with writing(path, temporary), contextlib.closing(_Bytes(temporary)) as target:
        with h5py.File(target, "w") as file:
            _add_coords(file, content)
        target.refuse_errors()
        settle(temporary, path)


Encoder = tuple[str, tuple[float, ...], tuple[float, ...]]


def encoder_of(attributes: Mapping[str, Any]) -> Encoder:
    """What tells one encoder from another, of the attributes of `features`."""
    looks = (np.ravel(attributes.get(name, ())).astype(float) for name in ("mean", "std"))
    mean, std = (tuple(each.tolist()) for each in looks)
    return str(attributes.get("model_sha256", "")), mean, std


def is_of_others(path: Path) -> bool:
    """Whether HDF5 opens the file and it is none of ours: other programs' stay as they are."""
    try:
        with h5py.File(path, "r") as file:
            return "settings" not in getattr(file.get("coords"), "attrs", ())
    except OSError:
        return False


class Stored(NamedTuple):
    """What a complete file says of itself.

    Fields:
      count, dimensions: N and D.
      dtype: of the features.
      encoder: its weights' model_sha256, its mean and std; empty where the file does not say.
      settings: what decided its places, see `layouts`; empty when the file does not say.
      coords: (N, 2).
    """

    count: int
    dimensions: int
    dtype: str
    encoder: Encoder
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
                encoder_of(features.attrs),
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
    except OSError as error:
        if not isinstance(error, BlockingIOError):
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            way_out="check free space and permissions, or choose another --out; the same command "
            "goes on from the slides that are done",
        ) from error


def settle(temporary: Path, path: Path) -> None:
    """Gives a file that was written its name, safe from a power failure."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


class _Bytes(io.FileIO):
    """A file for HDF5 to write, whose errors are kept: from an error HDF5 itself may crash.

    Raises:
      BlockingIOError: another process is writing it.
      OSError: it cannot be made.
    """

    def __init__(self, path: Path):
        super().__init__(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        self._error: OSError | None = None
        try:
            fcntl.flock(self, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BlockingIOError(errno.EAGAIN, "another process is writing it") from None
        except OSError:  # a file system without locks: nothing to ask
            pass
        super().truncate(0)

    def write(self, data: Any) -> int:
        """Writes all of `data`, or keeps the reason why not."""
        view = memoryview(data).cast("B")
        done = 0
        with self._kept():
            while done < len(view):
                done += super().write(view[done:])
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Sets the length, or keeps the reason why not."""
        with self._kept():
            super().truncate(size)
        return size or 0

    def refuse_errors(self) -> None:
        """OSError if anything could not be written."""
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._error = self._error or error


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
