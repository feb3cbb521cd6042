"""Whole images by overlapping tiles: where they lie, and one map out of theirs. Arrays only."""

import numpy as np


def corners(shape: tuple[int, int], tile: int, overlap: float) -> np.ndarray:
    """Top left corners of tiles that cover an image, evenly spread.

    Args:
      shape: (H, W), each at least `tile`.
      tile: side in pixels.
      overlap: least share of its side that a tile has in common with the next, in [0, 1).

    Returns:
      (n, 2) int64: y, x; row by row, the last ones flush with the border.
    """
    stride = max(1, round(tile * (1 - overlap)))
    lines = []
    for length in shape:
        count = -(-(length - tile) // stride) + 1
        lines.append(np.round(np.linspace(0, length - tile, count)).astype(np.int64))
    return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)


def padded(image: np.ndarray, tile: int) -> np.ndarray:
    """An image (H, W, …) mirrored at the bottom and right until no side is below `tile`."""
    missing = [(0, max(0, tile - length)) for length in image.shape[:2]]
    return np.pad(image, missing + [(0, 0)] * (image.ndim - 2), mode="symmetric")


def window(tile: int) -> np.ndarray:
    """(tile, tile) float32 weights: a tile counts most in its middle, where it saw all around.

    Hann's, at half pixels: above 0 everywhere, and of constant sum at half overlap.
    """
    line = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    return np.outer(line, line).astype(np.float32)


def stitch(tiles: np.ndarray, places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The mean of the tiles at each pixel, weighted by `window`.

    Args:
      tiles: (n, tile, tile, C) floats.
      places: (n, 2) their corners, see `corners`; every pixel is covered.
      shape: (H, W) of the whole.

    Returns:
      (H, W, C) float32.
    """
    side = tiles.shape[1]
    weight = window(side)[..., None]
    total = np.zeros((*shape, tiles.shape[3]), np.float32)
    weights = np.zeros((*shape, 1), np.float32)
    for tile, (y, x) in zip(tiles, places, strict=True):
        total[y : y + side, x : x + side] += weight * tile
        weights[y : y + side, x : x + side] += weight
    return total / weights
