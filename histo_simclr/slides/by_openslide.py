"""Slides by OpenSlide: SVS, NDPI, MRXS, SCN, BIF, DICOM, tiled TIFF and others."""

from pathlib import Path

from PIL import Image

from histo_simclr.slides.pyramid import WHITE, SlideError, library


class OpenSlidePyramid:
    """Every format of OpenSlide: SVS, NDPI, MRXS, SCN, BIF, DICOM, tiled TIFF and others."""

    reader = "OpenSlide"

    def __init__(self, path: Path):
        openslide = library("openslide")
        self._error = openslide.OpenSlideError
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError:
            raise SlideError("unknown format") from None
        except self._error as error:
            raise SlideError(str(error)) from None
        self.properties = dict(self._slide.properties)
        self.dimensions = list(self._slide.level_dimensions)
        if "<OME" in self.properties.get("tiff.ImageDescription", ""):
            self.close()
            raise SlideError("an OME-TIFF, of which it sees neither levels nor mpp")
        color = self.properties.get("openslide.background-color", "")
        self.background = tuple(bytes.fromhex(color)) if len(color) == 6 else WHITE

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        """See Pyramid."""
        # OpenSlide wants whole level-0 px and divides by its own downsample again: where that is no
        # whole number, what it returns is off by up to half a level-0 px.
        scale = self._slide.level_downsamples[level]
        try:
            image = self._slide.read_region(
                (round(x * scale), round(y * scale)), level, (width, height)
            )
        except self._error as error:
            raise SlideError(f"damaged ({error})") from None
        if image.getchannel("A").getextrema()[0] == 255:
            return image.convert("RGB")
        below = Image.new("RGBA", image.size, (*self.background, 255))
        return Image.alpha_composite(below, image).convert("RGB")

    def close(self) -> None:
        """Closes the file."""
        self._slide.close()
