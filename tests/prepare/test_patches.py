import io

import numpy as np
import pytest
from PIL import Image

from histo_simclr.prepare import patches
from histo_simclr.prepare.patches import BadImageError, Cutting

AS_IS = Cutting(px=32, cut=32, encoding="jpeg", quality=90)
AS_PNG = AS_IS._replace(encoding="png")


def test_jpeg_of_the_right_size_keeps_its_bytes(images):
    data = images.encode(images.pixels(32, 32), quality=70)
    (patch,) = patches.cut_image(data, AS_IS)
    assert patch.image == data
    assert (patch.x, patch.y, patch.side) == (-1, -1, 32)


def test_progressive_jpeg_keeps_its_bytes(images):
    data = images.encode(images.pixels(32, 32), progressive=True)
    assert patches.cut_image(data, AS_IS)[0].image == data


def test_png_of_the_right_size_becomes_jpeg_420_of_near_pixels(images):
    source = images.pixels(32, 32)
    (patch,) = patches.cut_image(images.encode(source, "PNG"), AS_IS)
    stored = Image.open(io.BytesIO(patch.image))
    assert stored.format == "JPEG"
    assert [layer[1:3] for layer in stored.layer] == [(2, 2), (1, 1), (1, 1)]
    assert (
        np.abs(np.asarray(stored).astype(int) - source).mean() < 8
    )  # chroma at half size; other pixels differ by 90


def test_grid_takes_whole_squares_only_and_keeps_their_pixels(images):
    source = images.pixels(70, 100)
    found = patches.cut_image(images.encode(source, "PNG"), AS_PNG)
    assert [(p.x, p.y) for p in found] == [(0, 0), (32, 0), (64, 0), (0, 32), (32, 32), (64, 32)]
    for patch in found:
        square = source[patch.y : patch.y + 32, patch.x : patch.x + 32]
        np.testing.assert_array_equal(images.decoded(patch.image), square)


def test_cut_squares_do_not_see_their_neighbours(images):
    source = np.zeros((64, 128, 3), np.uint8)
    source[:, 64:] = 255
    found = patches.cut_image(images.encode(source, "PNG"), AS_PNG._replace(cut=64))
    assert [images.decoded(patch.image).max() for patch in found] == [0, 255]
    assert images.decoded(found[1].image).min() == 255


def test_downsampling_averages(images):
    checkers = np.indices((64, 64)).sum(0) % 2 * 255
    source = np.repeat(checkers[..., None], 3, axis=-1).astype(np.uint8)
    (patch,) = patches.cut_image(images.encode(source, "PNG"), AS_PNG._replace(px=16, cut=64))
    inner = images.decoded(patch.image)[2:-2, 2:-2].astype(int)
    # Nearest neighbour would give 0 or 255, an antialiasing filter about 127.
    assert np.abs(inner - 127).max() < 10


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (20, 20, (-1, -1, 0, 0, 20)),
        (20, 50, (15, 0, 15, 0, 20)),
        (31, 20, (0, 5, 0, 5, 20)),
        (32, 32, (-1, -1, 0, 0, 32)),
    ],
)
def test_image_with_a_side_below_the_cut_gives_its_centre_square(height, width, box):
    assert [tuple(each) for each in patches.boxes(width, height, 32)] == [box]


def test_exif_orientation_turns_the_pixels(images):
    source = images.pixels(32, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: to be shown turned by 90 degrees clockwise
    data = images.encode(source, "JPEG", exif=exif)
    (patch,) = patches.cut_image(data, AS_PNG)
    expected = np.rot90(images.decoded(data), -1)
    np.testing.assert_array_equal(images.decoded(patch.image), expected)


def test_transparent_pixels_become_white(images):
    source = np.dstack([images.pixels(32, 32), np.full((32, 32), 255, np.uint8)])
    source[:8, :, 3] = 0
    (patch,) = patches.cut_image(images.encode(source, "PNG"), AS_PNG)
    stored = images.decoded(patch.image)
    assert (stored[:8] == 255).all()
    np.testing.assert_array_equal(stored[8:], source[8:, :, :3])


def test_palette_and_gray_become_rgb(images):
    palette = Image.fromarray(images.pixels(32, 32)).quantize(64)
    (patch,) = patches.cut_image(images.encode(palette, "PNG"), AS_PNG)
    np.testing.assert_array_equal(images.decoded(patch.image), np.asarray(palette.convert("RGB")))
    gray = images.pixels(32, 32)[..., 0]
    (patch,) = patches.cut_image(images.encode(gray, "BMP"), AS_PNG)
    np.testing.assert_array_equal(images.decoded(patch.image), np.repeat(gray[..., None], 3, -1))


@pytest.mark.parametrize("missing", [1, 2, 3, 300])
def test_truncated_jpeg_is_refused_be_it_by_its_end_marker_only(images, missing):
    # TensorFlow's decoder, which reads the bytes later, refuses a missing end marker too.
    data = images.encode(images.pixels(32, 32))
    with pytest.raises(BadImageError, match="(?i)does not decode.*truncated"):
        patches.cut_image(data[:-missing], AS_IS)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda images: b"", "zero bytes"),
        (lambda images: b"this is no image", "not a JPEG, PNG, TIFF or BMP image"),
        (lambda images: images.encode(np.zeros((32, 32), np.uint16), "PNG"), "kind I;16"),
        (
            lambda images: images.encode(Image.new("CMYK", (32, 32))),
            "kind CMYK: save it as 8-bit RGB",
        ),
        (
            lambda images: images.encode(
                Image.new("RGB", (32, 32)),
                "TIFF",
                save_all=True,
                append_images=[Image.new("RGB", (32, 32))],
            ),
            "2 pages",
        ),
    ],
)
def test_what_cannot_be_a_patch_is_refused_with_the_reason(images, make, reason):
    with pytest.raises(BadImageError, match=reason):
        patches.cut_image(make(images), AS_IS)


def test_missing_file_is_a_reason_not_an_error():
    (result,) = patches.cut_sources(["/nowhere/a.jpg"], AS_IS)
    assert (result.reason, result.patches) == ("no such file", [])


def test_moments_are_those_of_the_stored_pixels(images):
    (patch,) = patches.cut_image(images.encode(images.pixels(48, 48), "PNG"), AS_IS)
    stored = images.decoded(patch.image).astype(np.float64) / 255
    expected = [*stored.mean((0, 1)), *(stored**2).mean((0, 1))]
    np.testing.assert_allclose(patch.moments, expected, rtol=1e-12)


def test_sums_of_the_largest_white_patch_do_not_wrap():
    column = np.broadcast_to(np.uint8(255), (4096, 4096, 3))[:, :4]
    assert patches.moments(column) == (1.0,) * 6
