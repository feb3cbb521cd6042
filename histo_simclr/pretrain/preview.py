"""A picture of patches beside their views: what the encoder will be asked to tell apart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from histo_simclr import pictures, records
from histo_simclr.errors import InputError
from histo_simclr.input import order, reader
from histo_simclr.views import compose


def write_views(
    rows: records.Rows,
    views: Mapping[str, Any],
    path: Path,
    *,
    patches: int,
    pairs: int,
    seed: int,
    max_corrupt: float,
) -> None:
    """Writes a PNG with one row a patch: the patch, then its views as the train step makes them.

    Args:
      rows: of a mix.
      views: arguments of `compose.random_views`.
      path: PNG to write.
      patches: rows of the picture.
      pairs: pairs of views in a row.
      seed: chooses patches and views.
      max_corrupt: share of all rows that may be corrupt, as in `reader.read`.

    Raises:
      InputError: fewer patches than asked for, damaged records, or `path` cannot be written.
    """
    drawn = order.batch_rows(0, seed=seed, n=len(rows), batch_size=patches)
    batch = next(reader.read(rows, lambda _: drawn, start=0, stop=1, max_corrupt=max_corrupt))
    mean, std = (np.asarray(views[name], np.float32) for name in ("mean", "std"))

    @jax.jit
    def make(key: jax.Array, batch: jax.Array) -> tuple[jax.Array, jax.Array]:
        chances = compose.chances(key, len(batch), count=2)
        return compose.random_views(chances, batch, **views)

    shown = [
        np.clip(np.asarray(view) * std + mean, 0, 1)
        for pair in range(pairs)
        for view in make(jax.random.fold_in(jax.random.key(seed), pair), jnp.asarray(batch))
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.views_grid(batch, shown, path)
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror})", where=path, way_out="choose another place"
        ) from error
