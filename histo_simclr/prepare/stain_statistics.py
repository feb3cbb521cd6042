"""Color statistics of each cohort in CIELAB and HED, for stain augmentation and normalization.

Measured on patches drawn from the cohort's part of the mix, on a grid of each patch's pixels.
"""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from histo_simclr.prepare import candidates, draw, tfrecord
from histo_simclr.prepare.candidates import Candidates

# Pixels looked at along each side: their mean and spread are the patch's within a percent or so.
GRID = 56
# Linear sRGB (D65) → XYZ, IEC 61966-2-1; the white point is what white gives.
_XYZ_FROM_RGB = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
# Optical density of hematoxylin, eosin, DAB in R, G, B (Ruifrok and Johnston, "Quantification of
# histochemical staining by color deconvolution", 2001), as scikit-image has it.
_RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_DARKEST = 1e-6


def measure(
    found: list[Candidates], chosen: list[np.ndarray], patches: int, seed: int
) -> dict[str, Any]:
    """Statistics of each cohort's drawn patches.

    Args:
      found: record sets.
      chosen: manifest rows drawn from each, ascending.
      patches: at most so many of each cohort are read, chosen at random.
      seed: of that choice.

    Returns:
      By cohort: see `summarize`.

    Raises:
      InputError: a shard is missing, or a record in it damaged.
    """
    names = list(dict.fromkeys(each.info["cohort"] for each in found))
    cohorts = {}
    for name in names:
        parts = [
            (source, rows)
            for source, rows in zip(found, chosen, strict=True)
            if source.info["cohort"] == name and len(rows)
        ]
        total = sum(len(rows) for _, rows in parts)
        if total:
            picked = draw.choose(total, min(patches, total), seed=seed, cohort=name)
            cohorts[name] = summarize(_pixels(parts, picked))
    return {
        "of": "patches drawn at random from the mix; lab: CIELAB (D65), hed: Ruifrok-Johnston, "
        "as scikit-image scales them; mean and std of the patches' means and of their stds",
        "cohorts": cohorts,
    }


def summarize(patches: Iterable[np.ndarray]) -> dict[str, Any]:
    """Spread of color within and between patches, as RandStainNA draws from (arXiv 2206.12694).

    Args:
      patches: (n, 3) uint8 pixels each.

    Returns:
      patches, and for lab and hed: mean_of_means, std_of_means, mean_of_stds, std_of_stds, each
      of three channels.
    """
    moments: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"lab": [], "hed": []}
    for pixels in patches:
        for space, convert in (("lab", lab), ("hed", hed)):
            values = convert(pixels)
            moments[space].append((values.mean(0), values.std(0)))
    found: dict[str, Any] = {"patches": len(moments["lab"])}
    for space, pairs in moments.items():
        values = np.array(pairs)  # (patches, mean or std, channel)
        found[space] = {
            f"{outer}_of_{inner}s": np.round(getattr(values[:, i], outer)(0), 5).tolist()
            for i, inner in enumerate(("mean", "std"))
            for outer in ("mean", "std")
        }
    return found


def lab(pixels: np.ndarray) -> np.ndarray:
    """(…, 3) uint8 sRGB → (…, 3) float64 CIELAB: L in 0 to 100, a and b about -100 to 100."""
    value = pixels / 255
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    ratio = linear @ _XYZ_FROM_RGB.T / _WHITE
    cube = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = np.moveaxis(cube, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def hed(pixels: np.ndarray) -> np.ndarray:
    """(…, 3) uint8 sRGB → (…, 3) float64 amounts of hematoxylin, eosin and DAB, none below 0."""
    density = np.log(np.maximum(pixels / 255, _DARKEST)) / np.log(_DARKEST)
    return np.maximum(density @ np.linalg.inv(_RGB_FROM_HED), 0)


def _pixels(parts: list[tuple[Candidates, np.ndarray]], picked: np.ndarray) -> Iterable[np.ndarray]:
    """A grid of pixels of each picked row, rows counted over all parts."""
    start = 0
    for source, rows in parts:
        end = start + len(rows)
        low, high = np.searchsorted(picked, [start, end])
        columns = ["shard", "offset", "length", "crc"]
        for table in candidates.take(source.path, rows[picked[low:high] - start], columns):
            for row in table.to_pylist():
                shard = source.path / row.pop("shard")
                image = Image.open(io.BytesIO(tfrecord.read_image(shard, **row))).convert("RGB")
                step = max(1, min(image.size) // GRID)
                yield np.asarray(image)[::step, ::step].reshape(-1, 3)
        start = end
