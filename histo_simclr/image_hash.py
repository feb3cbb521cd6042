"""Fingerprints of pixels: two patches with equal fingerprints hold the same pixels."""

import hashlib

import numpy as np


def exact(pixels: np.ndarray) -> str:
    """SHA-256 of a patch's pixels as 64 hex digits; the file format plays no part.

    Args:
      pixels: (H, W, 3) uint8. The shape enters the hash: the same bytes folded otherwise differ.

    Raises:
      ValueError: not uint8, where equal pictures in other ranges would get unequal hashes.
    """
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8, not {pixels.dtype}")
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
