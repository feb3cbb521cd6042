import hashlib
import io

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize("function", [image_hash.exact, image_hash.perceptual])
def test_floats_are_refused(function):
    with pytest.raises(ValueError, match="uint8"):
        function(PIXELS / 255.0)


def picture(seed, side=64):
    """Smooth at the scale of nuclei, with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 250, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-4, 5, smooth.shape), 0, 255).astype(np.uint8)


def bits_apart(first, second):
    return int(image_hash.perceptual(first) ^ image_hash.perceptual(second)).bit_count()


@pytest.mark.parametrize("shape", [(64, 64), (96, 80)])
def test_perceptual_hash_is_that_of_scipys_dct(shape):
    from scipy.fft import dctn

    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    luma = pixels.astype(float) @ [77, 150, 29]
    low = dctn(luma, type=2)[1:9, 1:9].ravel()
    expected = "".join("1" if value > np.median(low) else "0" for value in low)
    assert f"{image_hash.perceptual(pixels):064b}" == expected


def test_copies_are_near_and_other_pictures_far():
    for seed in range(8):
        pixels = picture(seed)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=60)
        smaller = Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC)
        brighter = np.clip(pixels * 1.05 + 4, 0, 255).astype(np.uint8)
        for copy in (np.asarray(Image.open(file)), np.asarray(smaller), brighter):
            assert bits_apart(pixels, copy) <= 4
        assert bits_apart(pixels, picture(seed + 100)) > 12
        assert bits_apart(pixels, pixels[::-1]) > 12


def test_flat_pictures_of_any_color_hash_to_zero():
    for color in ([255, 255, 255], [231, 201, 222], [0, 0, 0]):
        assert image_hash.perceptual(np.full((96, 96, 3), color, np.uint8)) == 0
