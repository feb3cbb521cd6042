import hashlib

import numpy as np
import pytest

from histo_simclr import image_hash

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_equal_pixels_in_other_memory_order_have_equal_hashes():
    assert image_hash.exact(PIXELS) == image_hash.exact(np.asfortranarray(PIXELS))


def test_hash_is_sha256_of_shape_and_bytes():
    expected = hashlib.sha256(b"(8, 8, 3)" + PIXELS.tobytes()).hexdigest()
    assert image_hash.exact(PIXELS) == expected


def test_one_level_of_one_channel_changes_the_hash():
    other = PIXELS.copy()
    other[3, 4, 1] ^= 1
    assert image_hash.exact(PIXELS) != image_hash.exact(other)


def test_same_bytes_in_another_shape_differ():
    assert image_hash.exact(PIXELS) != image_hash.exact(PIXELS.reshape(4, 16, 3))


def test_floats_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        image_hash.exact(PIXELS / 255.0)
