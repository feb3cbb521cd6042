"""Arrays → an npz file, one array at a time, where numpy.savez wants all of them at once."""

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def write(path: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes a file that is on disk when this returns; `numpy.load` reads it without pickle.

    Args:
      path: of the file.
      arrays: name and array, each asked for when the one before is written.

    Raises:
      OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
