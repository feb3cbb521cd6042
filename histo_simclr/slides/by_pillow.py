"""Plain images as slides of one level, by Pillow."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from histo_simclr.slides.pyramid import WHITE, SlideError, first_line


class PlainImage:
    """A PNG, JPEG or BMP as a slide of one level; it is decoded whole."""

    reader = "Pillow"
    background = WHITE
    # Formats whose resolution tag is about paper, so no mpp comes from it.
    FORMATS = ("PNG", "JPEG", "BMP")

    def __init__(self, path: Path):
        self.properties: Mapping[str, str] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=self.FORMATS) as image:
                    image.load()
        except Image.UnidentifiedImageError:
            raise SlideError("no PNG, JPEG or BMP image") from None
        except Image.DecompressionBombError:
            raise SlideError("more than 178 million pixels: save it as a tiled TIFF") from None
        except Exception as error:  # decoders raise whatever the bytes lead them into
            raise SlideError(f"does not decode ({first_line(error)})") from None
        if image.mode not in ("RGB", "RGBA", "L", "P"):
            raise SlideError(f"samples of kind {image.mode}: save it as 8-bit RGB")
        if image.mode != "RGB":
            below = Image.new("RGBA", image.size, (*WHITE, 255))
            image = Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
        self._image = image
        self.dimensions = [image.size]

    def region(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        """See Pyramid."""
        out = Image.new("RGB", (width, height), WHITE)
        right, bottom = min(x + width, self._image.width), min(y + height, self._image.height)
        if right > max(x, 0) and bottom > max(y, 0):
            part = self._image.crop((max(x, 0), max(y, 0), right, bottom))
            out.paste(part, (max(-x, 0), max(-y, 0)))
        return out

    def close(self) -> None:
        """Lets the pixels go."""
        self._image.close()
