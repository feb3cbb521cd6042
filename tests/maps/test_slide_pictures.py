import io

import numpy as np
import pytest
from PIL import Image

from histo_simclr.maps import slide_pictures
from histo_simclr.maps.slide_pictures import SlidePictures


def decoded(jpeg):
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        return np.asarray(image.convert("RGB"), int)


def test_a_patch_is_what_openslide_reads_there(cmu):
    import openslide

    with openslide.OpenSlide(cmu) as slide:
        region = slide.read_region((640, 1024), 0, (256, 256)).convert("RGB")
    expected = np.asarray(region.resize((64, 64), Image.Resampling.BICUBIC), int)
    with SlidePictures({"cmu": str(cmu)}) as pictures:
        found = decoded(pictures.patch("cmu", 640, 1024, 256.0))
    assert found.shape == (64, 64, 3)
    assert np.abs(found - expected).mean() < 6
    assert pictures.trouble == {}


def test_small_patches_are_not_blown_up(cmu):
    with SlidePictures({"cmu": str(cmu)}) as pictures:
        assert decoded(pictures.patch("cmu", 640, 1024, 20.0)).shape == (20, 20, 3)


def test_a_thumbnail_shows_all_of_the_slide_within_its_bounds(cmu, tmp_path, write_tiff, noise):
    loud = write_tiff(tmp_path / "loud.tif", [noise(1800, 1700)])
    with SlidePictures({"cmu": str(cmu), "loud": str(loud)}) as pictures:
        calm, found = pictures.thumbnail("cmu"), pictures.thumbnail("loud")
    assert calm.size == (2220, 2967)
    tall, wide = decoded(calm.jpeg).shape[:2]
    assert 1000 < tall <= slide_pictures.THUMBNAIL_SIDE
    assert wide / tall == pytest.approx(2220 / 2967, abs=2e-3)
    assert found.size == (1700, 1800)
    assert len(found.jpeg) <= slide_pictures.THUMBNAIL_BYTES


def test_a_slide_that_does_not_say_its_resolution_has_pictures_too(tmp_path, write_tiff, noise):
    path = write_tiff(tmp_path / "a.tif", [noise(300, 200)], mpp=0)
    with SlidePictures({"a": str(path)}) as pictures:
        assert pictures.thumbnail("a").size == (200, 300)
        assert pictures.patch("a", 0, 0, 100.0)


def test_what_is_broken_or_not_at_hand_gives_none_and_is_named_once(tmp_path):
    (tmp_path / "torn.svs").write_bytes(b"II*\0 torn")
    with SlidePictures({"torn": str(tmp_path / "torn.svs")}) as pictures:
        assert pictures.thumbnail("torn") is None
        assert pictures.patch("torn", 0, 0, 64.0) is None
        assert pictures.patch("elsewhere", 0, 0, 64.0) is None
    assert pictures.trouble.keys() == {"torn"}


def test_few_slides_are_open_at_a_time(tmp_path, write_tiff, noise, monkeypatch):
    monkeypatch.setattr(slide_pictures, "_OPEN", 2)
    pixels = noise(64, 64)
    places = {name: str(write_tiff(tmp_path / f"{name}.tif", [pixels])) for name in "abcd"}
    with SlidePictures(places) as pictures:
        for name in "abcdab":
            assert pictures.patch(name, 0, 0, 64.0)
            assert len(pictures._open) <= 2
