"""Made-up images as encoded bytes, for the tests of prepare."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8, smooth like tissue: noise would not survive JPEG."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image: np.ndarray | Image.Image, kind: str = "JPEG", **options) -> bytes:
    """Image bytes of a given format."""
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Pixels as Pillow decodes them."""
    return np.asarray(Image.open(io.BytesIO(data)))


def tree(root: Path, names: dict[str, bytes]) -> Path:
    """Writes files, given by path relative to root, and returns root."""
    for name, data in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root
