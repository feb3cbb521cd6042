"""DICOM whole slides, by OpenSlide where it can and by wsidicom where it cannot."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from histo_simclr.slides import reader
from histo_simclr.slides.by_openslide import OpenSlidePyramid
from histo_simclr.slides.by_wsidicom import DicomPyramid
from histo_simclr.slides.pyramid import SlideError

BOTH = pytest.mark.parametrize("library", [OpenSlidePyramid, DicomPyramid])


def region(pyramid, *box, level=0):
    return np.asarray(pyramid.region(level, *box))


def jpeg(tile, subsampling):
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=90, subsampling=subsampling)
    return file.getvalue()


@pytest.fixture(scope="module")
def pixels(cmu):
    """(300, 400, 3) uint8 of the real slide."""
    with contextlib.closing(OpenSlidePyramid(cmu)) as pyramid:
        return region(pyramid, 500, 500, 400, 300)


@pytest.fixture
def encoded(tmp_path, dicom_wsi, pixels):
    """encoded(encode, syntax, photometric): a slide of `pixels`, in tiles of 128 px."""

    def write(encode, syntax, photometric, name="s.dcm", **options):
        frames = [encode(np.ascontiguousarray(tile)) for tile in dicom_wsi.tiles(pixels, 128)]
        options = {"size": (400, 300), "tile": 128, "syntax": syntax} | options
        return dicom_wsi.write(tmp_path / name, frames, photometric=photometric, **options)

    return write


def jpeg_ls(tile):
    import imagecodecs

    return imagecodecs.jpegls_encode(tile)


@pytest.fixture(scope="module")
def of_cmu(tmp_path_factory, dicom_wsi, cmu):
    """The real slide as DICOM, its JPEG tiles carried over as they are."""
    path = tmp_path_factory.mktemp("dicom") / "cmu.dcm"
    return dicom_wsi.write(path, dicom_wsi.verbatim(cmu), size=(2220, 2967), tile=240, mpp=0.499)


@BOTH
def test_a_dicom_has_the_pixels_of_the_svs_it_was_made_from(of_cmu, cmu, library):
    with (
        contextlib.closing(OpenSlidePyramid(cmu)) as of_svs,
        contextlib.closing(library(of_cmu)) as of_dicom,
    ):
        assert of_dicom.dimensions == of_svs.dimensions == [(2220, 2967)]
        for box in ((0, 0, 300, 300), (1111, 977, 257, 129), (2100, 2900, 200, 100)):
            np.testing.assert_array_equal(region(of_dicom, *box), region(of_svs, *box))


def test_a_dicom_says_what_it_is(of_cmu):
    with reader.open_slide(of_cmu) as slide:
        assert slide.reader == "OpenSlide"
        assert slide.resolution == (0.499, 0.499, "openslide.mpp-x")
        assert slide.properties["openslide.vendor"] == "dicom"


def encode_jpeg2000(tile):
    import imagecodecs

    return imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", mct=False)


@BOTH
@pytest.mark.parametrize(
    ("encode", "syntax"),
    [(np.ndarray.tobytes, ExplicitVRLittleEndian), (encode_jpeg2000, JPEG2000Lossless)],
)
def test_both_libraries_return_the_pixels_that_were_written(
    encoded, pixels, library, encode, syntax
):
    path = encoded(encode, syntax, "RGB")
    with contextlib.closing(library(path)) as pyramid:
        np.testing.assert_array_equal(region(pyramid, 0, 0, 400, 300), pixels)


def encode_htj2k(tile):
    import imagecodecs

    return imagecodecs.htj2k_encode(tile)


@pytest.mark.parametrize(
    ("encode", "syntax", "photometric"),
    [
        (jpeg_ls, JPEGLSLossless, "RGB"),
        (encode_htj2k, HTJ2KLossless, "YBR_RCT"),
        (lambda tile: tile[..., 1].tobytes(), ExplicitVRLittleEndian, "MONOCHROME2"),
    ],
    ids=["JPEG-LS", "HTJ2K", "gray"],
)
def test_what_openslide_does_not_open_is_read_by_wsidicom(
    encoded, pixels, encode, syntax, photometric
):
    path = encoded(encode, syntax, photometric, mpp=(0.25, 0.5))
    expected = pixels if photometric != "MONOCHROME2" else pixels[..., [1, 1, 1]]
    with pytest.raises(SlideError):
        OpenSlidePyramid(path)
    with reader.open_slide(path) as slide:
        assert slide.reader == "wsidicom"
        assert slide.resolution == (0.25, 0.5, "openslide.mpp-x")
        assert slide.properties["openslide.vendor"] == "dicom"
        found = slide.read(10, 20, mpp=0.5, px=100)
    assert found.shape == (100, 100, 3)
    with contextlib.closing(DicomPyramid(path)) as pyramid:
        np.testing.assert_array_equal(region(pyramid, 11, 13, 380, 280), expected[13:293, 11:391])


def test_jpeg_of_full_color_resolution_decodes_as_by_pillow(encoded, dicom_wsi, pixels):
    path = encoded(lambda tile: jpeg(tile, 0), "1.2.840.10008.1.2.4.50", "YBR_FULL")
    tile = next(iter(dicom_wsi.tiles(pixels, 128)))
    expected = np.asarray(Image.open(io.BytesIO(jpeg(np.ascontiguousarray(tile), 0))))
    with reader.open_slide(path) as slide:
        assert slide.reader == "wsidicom"
        np.testing.assert_array_equal(slide.read(0, 0, mpp=0.5, px=128), expected)


def write_series(dicom_wsi, folder, encode, syntax, *, series, shades):
    """Levels of one shade each, at 1:1, 1:2 and 1:8, a label and names out of order."""
    for level, name, shade in zip((0, 1, 3), ("c", "a", "b"), shades, strict=True):
        size = (512 >> level, 384 >> level)
        level_pixels = np.full((size[1], size[0], 3), shade, np.uint8)
        frames = [encode(np.ascontiguousarray(each)) for each in dicom_wsi.tiles(level_pixels, 128)]
        dicom_wsi.write(
            folder / f"{name}{series}.dcm",
            frames,
            size=size,
            tile=128,
            mpp=0.25 * 2**level,
            level=level,
            series=series,
            syntax=syntax,
        )
    label = [encode(np.zeros((128, 128, 3), np.uint8))]
    options = {"size": (128, 128), "tile": 128, "series": series, "kind": "LABEL"}
    dicom_wsi.write(folder / f"0{series}.dcm", label, syntax=syntax, **options)


@pytest.mark.parametrize(
    ("encode", "syntax", "library"),
    [
        (np.ndarray.tobytes, ExplicitVRLittleEndian, "OpenSlide"),
        (jpeg_ls, JPEGLSLossless, "wsidicom"),
    ],
)
def test_any_file_of_a_series_opens_the_slide_and_no_other(
    tmp_path, dicom_wsi, encode, syntax, library
):
    for series, shades in ((1, (50, 100, 150)), (2, (60, 110, 160))):
        write_series(dicom_wsi, tmp_path, encode, syntax, series=series, shades=shades)
    (tmp_path / "notes.dcm").write_text("no DICOM")
    for name in ("01", "a1", "b1", "c1"):
        with reader.open_slide(tmp_path / f"{name}.dcm") as slide:
            assert slide.reader == library
            assert slide.dimensions == [(512, 384), (256, 192), (64, 48)]
            assert slide.resolution[:2] == (0.25, 0.25)
            assert slide.properties["dicom.SeriesInstanceUID"].endswith(".1.4")
            for mpp, shade in ((0.25, 50), (0.5, 100), (1.9, 100), (2.0, 150)):
                assert (slide.read(64, 64, mpp=mpp, px=16) == shade).all()


@BOTH
def test_a_tile_that_is_left_out_is_white(encoded, dicom_wsi, pixels, tmp_path, library):
    places = [(column, row) for row in range(3) for column in range(4)]
    frames = [tile.tobytes() for tile in dicom_wsi.tiles(pixels, 128)]
    del places[5], frames[5]
    path = dicom_wsi.write(
        tmp_path / "s.dcm",
        frames,
        size=(400, 300),
        tile=128,
        syntax=ExplicitVRLittleEndian,
        sparse=places,
    )
    expected = pixels.copy()
    expected[128:256, 128:256] = 255
    with contextlib.closing(library(path)) as pyramid:
        np.testing.assert_array_equal(region(pyramid, 0, 0, 400, 300), expected)


@BOTH
def test_a_level_spread_over_several_files_is_put_together(tmp_path, dicom_wsi, pixels, library):
    frames = [tile.tobytes() for tile in dicom_wsi.tiles(pixels, 128)]
    options = {"size": (400, 300), "tile": 128, "syntax": ExplicitVRLittleEndian}
    for number, (start, stop) in enumerate(((0, 5), (5, 12)), 1):
        part = (number, 2, start)
        path = tmp_path / f"{number}.dcm"
        dicom_wsi.write(path, frames[start:stop], part=part, **options)
    for name in ("1.dcm", "2.dcm"):
        with contextlib.closing(library(tmp_path / name)) as pyramid:
            np.testing.assert_array_equal(region(pyramid, 0, 0, 400, 300), pixels)
    (tmp_path / "2.dcm").unlink()
    with pytest.raises(SlideError), contextlib.closing(library(tmp_path / "1.dcm")) as pyramid:
        region(pyramid, 0, 0, 400, 300)


@BOTH
def test_beyond_every_edge_is_white(encoded, pixels, library):
    path = encoded(np.ndarray.tobytes, ExplicitVRLittleEndian, "RGB")
    framed = np.pad(pixels, ((60, 60), (60, 60), (0, 0)), constant_values=255)
    with contextlib.closing(library(path)) as pyramid:
        for x, y in ((-30, -20), (370, 280), (-60, 100)):
            expected = framed[y + 60 : y + 110, x + 60 : x + 110]
            np.testing.assert_array_equal(region(pyramid, x, y, 50, 50), expected)
        assert (region(pyramid, 900, 900, 50, 50) == 255).all()


@pytest.mark.parametrize("keep", [0.0005, 0.001, 0.01, 0.3, 0.95])
@pytest.mark.parametrize(
    ("encode", "syntax"),
    [(np.ndarray.tobytes, ExplicitVRLittleEndian), (jpeg_ls, JPEGLSLossless)],
    ids=["plain", "JPEG-LS"],
)
def test_a_torn_dicom_is_never_read_as_if_it_were_whole(encoded, encode, syntax, keep):
    path = encoded(encode, syntax, "RGB")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(SlideError), reader.open_slide(path) as slide:
        slide.read(200, 100, mpp=0.5, px=200)


def test_a_slide_does_not_open_without_one_of_its_levels(tmp_path, dicom_wsi):
    write_series(dicom_wsi, tmp_path, jpeg_ls, JPEGLSLossless, series=1, shades=(50, 100, 150))
    data = (tmp_path / "c1.dcm").read_bytes()
    unknown = data.replace(JPEGLSLossless.encode(), b"1.2.840.10008.1.2.4.99")
    (tmp_path / "c1.dcm").write_bytes(unknown)
    for name in ("a1", "c1"):
        with pytest.raises(SlideError, match=r"wsidicom: c1\.dcm of the same slide cannot be read"):
            reader.open_slide(tmp_path / f"{name}.dcm")


def test_other_dicom_is_no_slide(tmp_path, dicom_wsi, encoded):
    path = encoded(jpeg_ls, JPEGLSLossless, "RGB")
    path.write_bytes(
        path.read_bytes().replace(b"10008.5.1.4.1.1.77.1.6", b"10008.5.1.4.1.1.77.1.4")
    )
    with pytest.raises(SlideError, match="no reader opens it .*wsidicom: "):
        reader.open_slide(path)
