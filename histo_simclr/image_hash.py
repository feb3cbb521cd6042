"""Fingerprints of pixels: equal ones for equal pixels, near ones for pictures that look alike."""

import functools
import hashlib

import numpy as np

# ITU-R BT.601 in 256ths: whole numbers, which add up alike on every machine and fit 16 bits.
_LUMA = np.array([77, 150, 29], np.uint16)
_FREQUENCIES = 8


def exact(pixels: np.ndarray) -> str:
    """SHA-256 of a patch's pixels as 64 hex digits; the file format plays no part.

    Args:
      pixels: (H, W, 3) uint8. The shape enters the hash: the same bytes folded otherwise differ.

    Raises:
      ValueError: not uint8, where equal pictures in other ranges would get unequal hashes.
    """
    _check(pixels)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def perceptual(pixels: np.ndarray) -> int:
    """64-bit DCT hash; few bits differ between copies of one picture, about 32 between others.

    Bit by bit: is the coefficient above the median of the 8 × 8 lowest frequencies of the luma,
    without those that are constant along a side (Zauner, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", 2010). Survives another JPEG quality, size or brightness;
    does not survive a turn, a flip, or a shift by more than a few pixels. A flat picture gives 0.

    Args:
      pixels: (H, W, 3) uint8.

    Returns:
      0 to 2**64 - 1; the first bit is the lowest frequency's.

    Raises:
      ValueError: not uint8.
    """
    _check(pixels)
    height, width, _ = pixels.shape
    red, green, blue = (pixels[..., channel] * _LUMA[channel] for channel in range(3))
    luma = red + green + blue
    # Rounded, so that what is zero but for rounding does not decide bits.
    coefficients = np.round(_cosines(height) @ luma @ _cosines(width).T, 4)
    bits = coefficients > np.median(coefficients)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@functools.lru_cache(maxsize=8)
def _cosines(side: int) -> np.ndarray:
    """(8, side): the waves of the DCT-II of frequency 1 to 8, scaled to amplitudes."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    return np.cos(np.pi * frequency * (2 * np.arange(side) + 1) / (2 * side)) * (2 / side)


def _check(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8, not {pixels.dtype}")
