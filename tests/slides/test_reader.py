import contextlib

import numpy as np
import pytest
from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.slides import reader
from histo_simclr.slides.by_openslide import OpenSlidePyramid
from histo_simclr.slides.by_pillow import PlainImage
from histo_simclr.slides.by_tifffile import TiffPyramid
from histo_simclr.slides.by_wsidicom import DicomPyramid
from histo_simclr.slides.pyramid import SlideError


def halved(pixels: np.ndarray, times: int) -> np.ndarray:
    height, width = (side // times * times for side in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(height // times, times, width // times, times, 3)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


@pytest.fixture(params=["generic", "ome", "strips", "png"])
def same_pixels(request, tmp_path, write_tiff, noise):
    """One image in a file of each kind: (path, pixels, library that should open it)."""
    pixels = noise(200, 150)
    if request.param == "png":
        Image.fromarray(pixels).save(tmp_path / "s.png")
        return tmp_path / "s.png", pixels, "Pillow"
    if request.param == "strips":
        path = write_tiff(tmp_path / "s.tif", [pixels], tile=None, rowsperstrip=33)
        return path, pixels, "tifffile"
    path = write_tiff(tmp_path / "s.tif", [pixels], ome=request.param == "ome")
    return path, pixels, "OpenSlide" if request.param == "generic" else "tifffile"


def test_every_reader_returns_the_pixels_that_were_written(same_pixels):
    path, pixels, library = same_pixels
    with reader.open_slide(path, mpp=0.5) as slide:
        assert slide.reader == library
        assert slide.dimensions == [(150, 200)]
        for x, y in ((0, 0), (61, 63), (150 - 40, 200 - 40)):
            found = slide.read(x, y, mpp=0.5, px=40)
            np.testing.assert_array_equal(found, pixels[y : y + 40, x : x + 40])


def test_beyond_every_edge_is_white(same_pixels):
    path, pixels, _ = same_pixels
    framed = np.pad(pixels, ((50, 50), (50, 50), (0, 0)), constant_values=255)
    with reader.open_slide(path, mpp=0.5) as slide:
        for x, y in ((-30, -20), (130, 190), (-50, 100), (400, 400)):
            expected = np.full((50, 50, 3), 255, np.uint8)
            if x < 400:
                expected = framed[y + 50 : y + 100, x + 50 : x + 100]
            np.testing.assert_array_equal(slide.read(x, y, mpp=0.5, px=50), expected)


def test_readers_agree_on_a_real_slide_to_the_last_bit(cmu):
    with (
        contextlib.closing(OpenSlidePyramid(cmu)) as by_openslide,
        contextlib.closing(TiffPyramid(cmu)) as by_tifffile,
    ):
        assert by_openslide.dimensions == by_tifffile.dimensions == [(2220, 2967)]
        for box in ((0, 0, 300, 300), (1111, 977, 257, 129), (2100, 2900, 200, 100)):
            np.testing.assert_array_equal(
                np.asarray(by_openslide.region(0, *box)), np.asarray(by_tifffile.region(0, *box))
            )


def test_one_jpeg_gives_the_same_pixels_in_every_reader(tmp_path, cmu, dicom_wsi):
    """As a plain image, as the tile of a TIFF and as that of a DICOM slide."""
    import tifffile

    with contextlib.closing(OpenSlidePyramid(cmu)) as pyramid:
        pyramid.region(0, 500, 500, 256, 256).save(tmp_path / "s.jpg", quality=90, subsampling=1)
    data = (tmp_path / "s.jpg").read_bytes()
    kind = {"shape": (256, 256, 3), "dtype": np.uint8, "photometric": "ycbcr"}
    kind |= {"compression": "jpeg", "subsampling": (2, 1), "tile": (256, 256)}
    tifffile.imwrite(tmp_path / "s.tif", iter([data]), metadata=None, **kind)
    options = {"size": (256, 256), "tile": 256, "photometric": "YBR_FULL_422"}
    dicom_wsi.write(tmp_path / "s.dcm", [data], **options)
    expected = np.asarray(Image.open(tmp_path / "s.jpg"))
    for library, name in (
        (PlainImage, "s.jpg"),
        (OpenSlidePyramid, "s.tif"),
        (TiffPyramid, "s.tif"),
        (OpenSlidePyramid, "s.dcm"),
        (DicomPyramid, "s.dcm"),
    ):
        with contextlib.closing(library(tmp_path / name)) as pyramid:
            found = np.asarray(pyramid.region(0, 0, 0, 256, 256))
        np.testing.assert_array_equal(found, expected, f"{library.reader} {name}")


def test_hamamatsus_tags_make_an_ndpi(tmp_path, cmu):
    """One JPEG a level and its private tags (openslide.org/formats/hamamatsu), by tifffile."""
    import tifffile

    with contextlib.closing(OpenSlidePyramid(cmu)) as pyramid:
        base = pyramid.region(0, 500, 500, 640, 480)
    levels = (base, base.resize((320, 240), Image.Resampling.BOX))
    decoded = []
    with tifffile.TiffWriter(tmp_path / "s.ndpi") as file:
        for image, lens, mpp in zip(levels, (20.0, 10.0), (0.5, 1.0), strict=True):
            image.save(tmp_path / "level.jpg", quality=90)
            decoded.append(np.asarray(Image.open(tmp_path / "level.jpg")))
            tags = [(65420, "I", 1, 1, True), (65421, "f", 1, lens, True)]
            tags += [(offset, "i", 1, 0, True) for offset in (65422, 65423, 65424)]
            file.write(
                iter([(tmp_path / "level.jpg").read_bytes()]),
                shape=decoded[-1].shape,
                dtype=np.uint8,
                photometric="ycbcr",
                compression="jpeg",
                subsampling=(2, 2),
                rowsperstrip=image.height,
                metadata=None,
                resolution=(1e4 / mpp, 1e4 / mpp),
                resolutionunit="CENTIMETER",
                extratags=tags,
            )
    with reader.open_slide(tmp_path / "s.ndpi") as slide:
        assert slide.reader == "OpenSlide"
        assert slide.properties["openslide.vendor"] == "hamamatsu"
        assert (slide.resolution, slide.power) == ((0.5, 0.5, "openslide.mpp-x"), 20)
        for mpp, expected in zip((0.5, 1.0), decoded, strict=True):
            np.testing.assert_array_equal(slide.read(0, 0, mpp=mpp, px=200), expected[:200, :200])


def test_real_slide_says_what_it_is(cmu):
    with reader.open_slide(cmu) as slide:
        assert slide.reader == "OpenSlide"
        assert slide.resolution == (0.499, 0.499, "openslide.mpp-x")
        assert slide.power == 20
        assert slide.properties["openslide.vendor"] == "aperio"


@pytest.mark.parametrize("ome", [False, True])
@pytest.mark.parametrize(
    ("mpp", "level"), [(0.46, 0), (0.5, 0), (0.99, 0), (1.0, 1), (1.9, 1), (2.0, 2), (7.0, 2)]
)
def test_the_nearest_finer_level_is_read(tmp_path, write_tiff, ome, mpp, level):
    shades = [np.full((400 // d, 600 // d, 3), 50 * d, np.uint8) for d in (1, 2, 4)]
    path = write_tiff(tmp_path / "s.tif", shades, ome=ome)
    with reader.open_slide(path) as slide:
        assert slide.downsamples == [1.0, 2.0, 4.0]
        found = slide.read(40, 40, mpp=mpp, px=16)
        assert set(np.unique(found)) == {50 * 2**level}
        assert slide.level(mpp) == (level, 2.0**level, (600 >> level, 400 >> level))


# Odd sizes: those of the levels are rounded down. OpenSlide then places a level by the ratio
# of the rounded sizes, between pixels: see test_openslide_is_within_half_a_pixel.
@pytest.mark.parametrize(
    ("ome", "size"), [(False, (400, 608)), (True, (400, 608)), (True, (403, 611))]
)
def test_a_place_is_the_same_place_on_every_level(tmp_path, write_tiff, noise, ome, size):
    base = noise(*size)
    levels = [base, halved(base, 2), halved(base, 4)]
    path = write_tiff(tmp_path / "s.tif", levels, ome=ome)
    with reader.open_slide(path) as slide:
        for mpp, level in ((1.0, 1), (2.0, 2)):
            for x, y in ((0, 0), (64, 128), (400, 200)):
                left, top = x >> level, y >> level
                expected = levels[level][top : top + 32, left : left + 32]
                np.testing.assert_array_equal(slide.read(x, y, mpp=mpp, px=32), expected)


def test_openslide_is_within_half_a_pixel_where_level_sizes_are_rounded(tmp_path, write_tiff):
    rows, columns = np.mgrid[:403, :611]
    base = np.stack([columns % 256, rows % 256, 0 * rows], axis=2).astype(np.uint8)
    path = write_tiff(tmp_path / "s.tif", [base, base[:402:2, :610:2]])
    with reader.open_slide(path) as slide:
        assert slide.reader == "OpenSlide"
        assert slide.downsamples == [1.0, 2.0]
        found = slide.read(300, 300, mpp=1.0, px=32).astype(int)
    np.testing.assert_allclose(found[7, :, 0] + 256, 300 + 2 * np.arange(32), atol=1)
    np.testing.assert_allclose(found[:, 7, 1] + 256, 300 + 2 * np.arange(32), atol=1)


def test_resampling_happens_once_from_the_level_chosen(tmp_path, write_tiff, noise):
    base = noise(400, 400)
    levels = [base, halved(base, 2)]
    path = write_tiff(tmp_path / "s.tif", levels, mpp=0.25)
    with reader.open_slide(path) as slide:
        found = slide.read(41, 20, mpp=0.7, px=50)
    # 50 px · 0.7 / 0.25 = 140 level-0 px = 70 px of level 1, from (20.5, 10).
    expected = Image.fromarray(levels[1]).resize(
        (50, 50), Image.Resampling.BICUBIC, box=(20.5, 10, 90.5, 80)
    )
    inner = slice(3, -3)  # the kernel does not reach past the region that was read
    np.testing.assert_allclose(
        found[inner, inner].astype(int), np.asarray(expected)[inner, inner].astype(int), atol=1
    )


def test_true_mpp_counts_on_both_axes(tmp_path, write_tiff):
    rows, columns = np.mgrid[:300, :300]
    pixels = np.stack([columns % 256, rows % 256, columns * 0], axis=2).astype(np.uint8)
    path = write_tiff(tmp_path / "s.tif", [pixels], mpp=(0.25, 0.5))
    with reader.open_slide(path) as slide:
        assert slide.side(0.5, 32) == (64.0, 32.0)
        found = slide.read(10, 20, mpp=0.5, px=32).astype(int)
    np.testing.assert_allclose(found[5, :, 0], 10.5 + 2 * np.arange(32), atol=1)
    np.testing.assert_allclose(found[:, 5, 1], 20 + np.arange(32), atol=1)


def test_finer_than_the_slide_is_refused_beyond_ten_percent(cmu):
    with reader.open_slide(cmu) as slide:
        assert slide.read(0, 0, mpp=0.46, px=8).shape == (8, 8, 3)
        assert not slide.reaches(0.45)
        with pytest.raises(SlideError, match="0.25 µm/px is finer than its 0.499"):
            slide.read(0, 0, mpp=0.25, px=8)


@pytest.mark.parametrize("block", [2048, 100])
def test_thumbnail_is_the_mean_of_what_each_pixel_covers(
    tmp_path, write_tiff, noise, block, monkeypatch
):
    monkeypatch.setattr(reader, "_BLOCK", block)
    base = noise(320, 480)
    path = write_tiff(tmp_path / "s.tif", [base], mpp=0.5)
    with reader.open_slide(path) as slide:
        thumbnail = slide.thumbnail(8.0, max_pixels=10**6)
        np.testing.assert_allclose(thumbnail.astype(int), halved(base, 16).astype(int), atol=1)
        assert np.prod(slide.thumbnail(8.0, max_pixels=100).shape[:2]) <= 100


def test_planes_stored_apart_are_put_together(tmp_path, write_tiff, noise):
    pixels = noise(100, 90)
    path = write_tiff(
        tmp_path / "s.tif", [pixels.transpose(2, 0, 1)], planarconfig="separate", tile=(32, 32)
    )
    with contextlib.closing(TiffPyramid(path)) as pyramid:
        found = np.asarray(pyramid.region(0, 10, 20, 80, 80))
    np.testing.assert_array_equal(found, pixels[20:100, 10:90])


def test_colors_below_transparent_pixels_do_not_show(tmp_path):
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[:, 10:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "s.png")
    with reader.open_slide(tmp_path / "s.png", mpp=1.0) as slide:
        found = slide.read(0, 0, mpp=1.0, px=20)
    assert (found[:, :10] == 255).all()
    assert (found[:, 10:] == 0).all()


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 16}])
@pytest.mark.parametrize(
    ("photometric", "options"),
    [
        ("minisblack", {}),
        ("miniswhite", {}),
        ("rgb", {}),
        ("rgb", {"extrasamples": ("unassalpha",)}),
        ("ycbcr", {"compression": "jpeg"}),
    ],
)
def test_colors_of_a_tiff_are_those_that_pillow_sees(tmp_path, noise, photometric, options, layout):
    import tifffile

    if photometric == "ycbcr" and "rowsperstrip" in layout:
        pytest.skip("Pillow takes no JPEG in strips of tifffile's")
    pixels = noise(100, 130)
    if photometric in ("minisblack", "miniswhite"):
        pixels = pixels[..., 0]
    if "extrasamples" in options:
        alpha = np.random.default_rng(2).integers(0, 256, (100, 130, 1), np.uint8)
        pixels = np.concatenate([pixels, alpha], axis=2)
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, pixels, photometric=photometric, **options, **layout)
    with Image.open(path) as image:
        shown = image.convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    pyramid = reader.READERS[1](path)
    found = np.asarray(pyramid.region(0, 0, 0, 130, 100)).astype(int)
    outside = np.asarray(pyramid.region(0, -5, -5, 4, 4))
    pyramid.close()
    assert abs(found - np.asarray(expected)).max() <= 1  # alpha is rounded differently
    assert (outside == 255).all()


@pytest.mark.parametrize("photometric", ["separated", "cielab", "ycbcr", "palette"])
def test_colors_that_it_would_get_wrong_are_refused(tmp_path, noise, photometric):
    import tifffile

    pixels, options = noise(64, 64), {}
    if photometric == "separated":
        pixels = np.concatenate([pixels, pixels[..., :1]], axis=2)
    if photometric == "palette":
        pixels, options = pixels[..., 0], {"colormap": np.zeros((3, 256), np.uint16)}
    tifffile.imwrite(tmp_path / "s.tif", pixels, photometric=photometric, rowsperstrip=8, **options)
    with pytest.raises(SlideError, match="colors of kind .*: save it as RGB"):
        reader.READERS[1](tmp_path / "s.tif")


def test_strips_are_decoded_once_and_not_at_all_when_they_are_huge(tmp_path, noise, monkeypatch):
    import tifffile

    from histo_simclr.slides import by_tifffile

    tifffile.imwrite(tmp_path / "s.tif", noise(96, 96), photometric="rgb", rowsperstrip=32)
    pyramid = reader.READERS[1](tmp_path / "s.tif")
    decoded = []
    decode = pyramid._decoded
    monkeypatch.setattr(
        pyramid, "_decoded", lambda page, index: decoded.append(index) or decode(page, index)
    )
    for x in range(0, 96, 16):
        pyramid.region(0, x, 40, 16, 16)
    assert decoded == [1]
    monkeypatch.setattr(by_tifffile, "_KEPT_BYTES", 1)
    for y in (0, 40, 0):
        pyramid.region(0, 0, y, 16, 16)
    assert decoded == [1, 0, 1, 0]
    pyramid.close()
    monkeypatch.setattr(by_tifffile, "_LARGEST_BYTES", 96 * 32 * 3 - 1)
    with pytest.raises(SlideError, match="strips of 96 × 32 px: save it as a tiled TIFF"):
        reader.READERS[1](tmp_path / "s.tif")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "^zero bytes$"),
        (b"not a slide at all", "no reader opens it .*OpenSlide: unknown format; tifffile: not a"),
        (None, "cannot be read .No such file"),
    ],
)
def test_files_that_are_no_slides_say_why(tmp_path, data, says):
    if data is not None:
        (tmp_path / "s.svs").write_bytes(data)
    with pytest.raises(SlideError, match=says):
        reader.open_slide(tmp_path / "s.svs")


@pytest.mark.parametrize("keep", [0.0001, 0.3, 0.65, 0.95, 0.999])
def test_a_torn_slide_is_never_read_as_if_it_were_whole(tmp_path, cmu, keep):
    data = cmu.read_bytes()
    (tmp_path / "s.svs").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(SlideError, match="no reader opens it"):
        reader.open_slide(tmp_path / "s.svs")


@pytest.mark.parametrize("ome", [False, True])
def test_damage_inside_is_found_when_it_is_read(tmp_path, write_tiff, noise, ome):
    path = write_tiff(tmp_path / "s.tif", [noise(256, 256)], ome=ome)
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) // 4)
    path.write_bytes(data)
    with (
        reader.open_slide(path, mpp=0.5) as slide,
        pytest.raises(SlideError, match="damaged"),
    ):
        slide.read(0, 0, mpp=0.5, px=256)


def test_sixteen_bit_and_many_channels_are_refused(tmp_path):
    import tifffile

    deep = np.zeros((100, 100, 3), np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    with pytest.raises(SlideError, match="uint16: save it as 8-bit RGB"):
        reader.open_slide(tmp_path / "deep.tif", mpp=0.5)
    many = np.zeros((5, 100, 100), np.uint8)
    tifffile.imwrite(tmp_path / "m.ome.tif", many, metadata={"axes": "CYX"}, tile=(32, 32))
    with pytest.raises(SlideError, match="5 channels"):
        reader.open_slide(tmp_path / "m.ome.tif", mpp=0.5)


def test_without_the_extra_its_name_is_said(cmu, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    with pytest.raises(InputError, match=r"openslide cannot be imported.*histo-simclr\[slides\]"):
        reader.open_slide(cmu)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/TCGA-AA-0001-01Z-00-DX1.0a1b.svs", "TCGA-AA-0001-01Z-00-DX1.0a1b"),
        ("x.ome.tiff", "x"),
        ("x.OME.tif", "x"),
        ("plain.ndpi", "plain"),
    ],
)
def test_slide_id_is_the_file_name_without_extension(name, expected):
    assert reader.slide_id(name) == expected
