"""Where the tissue of a slide is, from a thumbnail: simple measured rules, any stain.

Arrays in, arrays out. The limits were set on H&E, PAS and DAB sections of six public sets, at
8 µm/px.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from scipy import ndimage

# µm/px of the thumbnail the limits hold for, and its largest size: 23 × 23 mm at full detail.
MPP, MAX_PIXELS = 8.0, 8_000_000
# What may be taken out of the tissue, in the order in which a pixel is counted.
CAUSES = ("border", "pen", "blur", "speck")
# Saturation (max − min) / max: empty glass has up to 0.03, pale stroma from 0.07. Otsu's threshold
# lies between glass and tissue where there is glass, and inside the tissue where there is none.
SATURATION = (0.05, 0.15)
# Gray tissue (weak DAB, pigment) is this much darker than the glass.
GRAY = 0.9
# Value of what is no light at all: scanner borders.
DARK = 0.2
# Ink: (hue from, hue to in degrees, least saturation, least value).
INKS = ((80, 190, 0.25, 0.2), (190, 245, 0.5, 0.2), (345, 372, 0.7, 0.5))
BLACK_INK = (0.35, 0.2)  # largest value, largest saturation
# Mean |Laplacian| over mean deviation from a Gaussian of 2 px: sharp tissue has 1.4 and more in
# 99 of 100 places whatever its stain; blurred with a sigma of 10 µm it has at most 1.05.
SHARPNESS = 1.0
# µm²: smaller pieces are dirt or torn cells; smaller holes belong to the tissue; strokes of a pen
# and defocused fields are larger.
SPECK, HOLE, STROKE, FIELD = 10_000, 10_000, 10_000, 50_000
# µm around a stroke that its halo and the aliasing of the thumbnail reach.
HALO = 40


class Tissue(NamedTuple):
    """Where the tissue is.

    Fields:
      mask: (height, width) bool, the tissue that is kept.
      found: share of the slide's area that was taken for tissue before anything was removed.
      removed: share of that tissue by each cause of CAUSES; a place counts for the first only.
    """

    mask: np.ndarray
    found: float
    removed: dict[str, float]


def find(thumbnail: np.ndarray, mpp: float, keep: Collection[str] = ()) -> Tissue:
    """The tissue in a thumbnail.

    Args:
      thumbnail: (height, width, 3) uint8 RGB.
      mpp: its µm/px; about MPP, or coarser.
      keep: causes of CAUSES for which nothing is removed, e.g. "pen" for green stains.
    """
    saturation, value = _saturation_and_value(thumbnail)
    threshold = np.clip(otsu(saturation[value > DARK]), *SATURATION)
    glass = max(float(np.percentile(value, 99)), 0.85)
    found = (saturation > threshold) | (value < GRAY * glass)
    found = ndimage.binary_closing(found, iterations=1) | found
    found |= ~_larger(~found, HOLE / mpp**2)
    black = value < DARK
    flags = {
        "border": _touching_the_edge(black),
        "pen": _ink(thumbnail, saturation, value, mpp),
        "blur": found & _blurred(thumbnail, found, mpp),
    }
    mask, removed = found.copy(), {}
    total = max(int(found.sum()), 1)
    for cause in CAUSES:
        flag = ~_larger(mask, SPECK / mpp**2) if cause == "speck" else flags[cause]
        flag = flag & mask if cause not in keep else np.zeros_like(mask)
        removed[cause] = float(flag.sum() / total)
        mask &= ~flag
    return Tissue(mask, float(found.mean()), removed)


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold of values in [0, 1] by 256 bins: largest variance between the classes.

    0 without values (IEEE Trans. Syst. Man Cybern. 9 (1979) 62).
    """
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    if not counts.sum():
        return 0.0
    centers = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centers) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * centers)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(centers[np.argmax(between)])


def _saturation_and_value(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HSV's S and V, (height, width) float32 in [0, 1]."""
    # Channel by channel: numpy's max over an axis of length 3 takes ten times as long.
    red, green, blue = np.moveaxis(pixels, -1, 0)
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    saturation = (largest - smallest).astype(np.float32) / np.maximum(largest, 1)
    return saturation, largest.astype(np.float32) / 255


def _hue(pixels: np.ndarray) -> np.ndarray:
    """HSV's H in degrees, (…) float32; 0 for gray. pixels: (…, 3) uint8."""
    red, green, blue = np.moveaxis(pixels.astype(np.float32), -1, 0)
    largest = np.maximum(np.maximum(red, green), blue)
    spread = np.maximum(largest - np.minimum(np.minimum(red, green), blue), 1)
    sixth = np.where(
        largest == red,
        (green - blue) / spread % 6,
        np.where(largest == green, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )
    return 60 * sixth


def _ink(pixels: np.ndarray, saturation: np.ndarray, value: np.ndarray, mpp: float) -> np.ndarray:
    black_value, black_saturation = BLACK_INK
    ink = (value < black_value) & (saturation < black_saturation)
    colored = saturation > min(least for _, _, least, _ in INKS)
    hue = _hue(pixels[colored])
    colored_saturation, colored_value = saturation[colored], value[colored]
    inked = np.zeros_like(hue, bool)
    for low, high, least_saturation, least_value in INKS:
        turned = (hue - low) % 360 < high - low
        inked |= turned & (colored_saturation > least_saturation) & (colored_value > least_value)
    ink[colored] |= inked
    strokes = _larger(ink, STROKE / mpp**2)
    return ndimage.binary_dilation(strokes, iterations=max(1, round(HALO / mpp)))


def _blurred(pixels: np.ndarray, found: np.ndarray, mpp: float) -> np.ndarray:
    gray = pixels @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    window = 9
    fine = ndimage.uniform_filter(np.abs(ndimage.laplace(gray)), window)
    coarse = ndimage.uniform_filter(np.abs(gray - ndimage.gaussian_filter(gray, 2.0)), window)
    # + 1 gray level: where there is nothing to see, noise is not sharpness.
    return _larger(found & (fine < SHARPNESS * (coarse + 1)), FIELD / mpp**2)


def _touching_the_edge(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    edge = np.zeros(count + 1, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        edge[side] = True
    edge[0] = False
    return edge[labels]


def _larger(mask: np.ndarray, pixels: float) -> np.ndarray:
    """The connected pieces of a mask that have at least so many pixels."""
    if np.count_nonzero(mask) < pixels:
        return np.zeros_like(mask)
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    is_large = sizes >= pixels
    is_large[0] = False
    return is_large[labels]
