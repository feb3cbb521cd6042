"""One source image → encoded patches with fingerprint and moments; what the worker processes run.

Knows nothing of record sets and TensorFlow, so that a worker starts in a fraction of a second.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from histo_simclr import image_hash
from histo_simclr.prepare import storage

FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
# Modes whose conversion to 8-bit RGB loses nothing that one could see. Others (16-bit gray, CMYK,
# LAB, float) need a choice of range or profile that only the owner of the data can make.
CONVERTIBLE = ("RGB", "L", "P", "YCbCr")
ALPHA = ("RGBA", "LA", "PA", "RGBX")
_ORIENTATION = 0x0112


class Cutting(NamedTuple):
    """How images become patches.

    Fields:
      px: side of a stored patch.
      cut: side of the square of source pixels that one patch covers.
      encoding: "jpeg" or "png", for patches whose pixels had to change.
      quality: JPEG quality, 1 to 95; chroma is stored 4:2:0.
    """

    px: int
    cut: int
    encoding: str
    quality: int


class Patch(NamedTuple):
    """One encoded patch.

    Fields:
      image: JPEG or PNG bytes of px × px RGB pixels.
      x, y: left and top edge in source pixels; -1 when the patch is the whole source.
      side: source pixels that the patch's side covers.
      pixels_sha256: image_hash.exact of the decoded pixels.
      perceptual_hash: image_hash.perceptual of them.
      moments: mean of r, g, b and mean square of r, g, b, pixels in [0, 1].
      mask: PNG bytes of px × px class numbers; empty without one.
    """

    image: bytes
    x: int
    y: int
    side: int
    pixels_sha256: str
    perceptual_hash: int
    moments: tuple[float, ...]
    mask: bytes = b""


class Result(NamedTuple):
    """What became of one source: its hash and patches, or the reason why it was left out."""

    source_sha256: str
    patches: list[Patch]
    reason: str


class BadImageError(Exception):
    """A source that gives no patch; the message is the reason for rejected.csv."""


def cut_sources(sources: Sequence[str | bytes], cutting: Cutting) -> list[Result]:
    """Results of several sources (file paths, or the files' bytes), in their order."""
    return [_cut_source(source, cutting) for source in sources]


def _cut_source(source: str | bytes, cutting: Cutting) -> Result:
    digest = ""
    try:
        data = read(source)
        digest = hashlib.sha256(data).hexdigest()
        return Result(digest, cut_image(data, cutting), "")
    except BadImageError as error:
        return Result(digest, [], str(error))


def read(source: str | bytes) -> bytes:
    """The bytes of a source; BadImageError when it cannot be read."""
    if isinstance(source, bytes):
        return source
    try:
        with storage.open_file(source) as file:
            return file.read()
    except FileNotFoundError:
        raise BadImageError("no such file") from None
    except OSError as error:
        raise BadImageError(f"cannot be read ({error.strerror or error})") from None


def cut_image(data: bytes, cutting: Cutting) -> list[Patch]:
    """Patches of one encoded image, row by row.

    An image that needs no pixel changed (JPEG, px × px, upright RGB) keeps its bytes. Else each
    square of `boxes` is resampled (bicubic, antialiased) and encoded anew.

    Raises:
      BadImageError: the bytes are no image of the supported kinds, or do not decode to the end.
    """
    return cut_decoded(data, *decode(data), cutting)


def cut_decoded(data: bytes, image: Image.Image, untouched: bool, cutting: Cutting) -> list[Patch]:
    """`cut_image` of an image that is decoded already: one patch for each of its `boxes`."""
    squares = boxes(*image.size, cutting.cut)
    if untouched and len(squares) == 1 and image.size == (cutting.px, cutting.px):
        whole = squares[0]
        return [_describe(data, np.asarray(image), whole.x, whole.y, whole.side)]
    return [_encode(image, square, cutting) for square in squares]


def decode(data: bytes) -> tuple[Image.Image, bool]:
    """An upright RGB image, and whether these JPEG bytes already say just that.

    Alpha is laid on white, which is what empty glass looks like. 16-bit RGB keeps its high byte.

    Raises:
      BadImageError: as in `cut_image`.
    """
    if not data:
        raise BadImageError("zero bytes")
    try:
        with warnings.catch_warnings():
            # Warnings of foreign files concern their metadata; missing pixels raise.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            kind, frames = image.format, getattr(image, "n_frames", 1)
            turned = image.getexif().get(_ORIENTATION, 1) != 1
            image.load()
            upright = ImageOps.exif_transpose(image) if turned else image
    except Image.UnidentifiedImageError:
        raise BadImageError("not a JPEG, PNG, TIFF or BMP image") from None
    except Image.DecompressionBombError:
        raise BadImageError("more than 178 million pixels: cut it into tiles first") from None
    except Exception as error:  # decoders raise whatever the bytes lead them into
        reason = re.sub(r"<[^>]*>", "", str(error)).strip()
        raise BadImageError(f"does not decode ({reason or type(error).__name__})") from None
    if frames > 1 and kind != "MPO":
        raise BadImageError(f"{frames} pages in one file: save the one that is meant")
    untouched = kind == "JPEG" and image.mode == "RGB" and not turned
    return _to_rgb(upright), untouched


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ALPHA or (image.mode in CONVERTIBLE and "transparency" in image.info):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode not in CONVERTIBLE:
        raise BadImageError(f"samples of kind {image.mode}: save it as 8-bit RGB")
    return image.convert("RGB")


class Box(NamedTuple):
    """A square of source pixels. x, y: as in Patch; left, top: where it really lies."""

    x: int
    y: int
    left: int
    top: int
    side: int


def boxes(width: int, height: int, cut: int) -> list[Box]:
    """The squares that become patches.

    An image with a side below `cut` gives one patch: the whole, or the centre square when it is
    not square. A larger one is cut on a grid from its top left corner; what is left at the right
    and bottom, being less than `cut`, is dropped.
    """
    short = min(width, height)
    if short < cut or width == height == cut:
        left, top = (width - short) // 2, (height - short) // 2
        return [Box(*((-1, -1) if width == height else (left, top)), left, top, short)]
    return [
        Box(x, y, x, y, cut)
        for y in range(0, height - cut + 1, cut)
        for x in range(0, width - cut + 1, cut)
    ]


def _encode(image: Image.Image, box: Box, cutting: Cutting) -> Patch:
    # Crop before resampling: with `resize(box=…)` the filter would mix in the neighbours' pixels.
    patch = image.crop((box.left, box.top, box.left + box.side, box.top + box.side))
    if box.side != cutting.px:
        patch = patch.resize((cutting.px, cutting.px), Image.Resampling.BICUBIC)
    return encode(patch, cutting, x=box.x, y=box.y, side=box.side)


def encode(patch: Image.Image, cutting: Cutting, *, x: int, y: int, side: int) -> Patch:
    """An RGB image of px × px as a Patch, whose fingerprint is that of the decoded bytes."""
    buffer = io.BytesIO()
    if cutting.encoding == "png":
        patch.save(buffer, "PNG")
        return _describe(buffer.getvalue(), np.asarray(patch), x, y, side)
    patch.save(buffer, "JPEG", quality=cutting.quality, subsampling="4:2:0")
    return _describe(buffer.getvalue(), np.asarray(Image.open(buffer)), x, y, side)


def _describe(data: bytes, pixels: np.ndarray, x: int, y: int, side: int) -> Patch:
    hashes = image_hash.exact(pixels), image_hash.perceptual(pixels)
    return Patch(data, x, y, side, *hashes, moments(pixels))


def moments(pixels: np.ndarray) -> tuple[float, ...]:
    """Mean of r, g, b, then mean square of r, g, b, of uint8 pixels scaled to [0, 1]."""
    # Integer sums are exact, so the figures do not depend on the order of summation. Row by row in
    # the narrowest types that hold them: 255² fits 16 bits, and 65,536 rows of it 32.
    total = pixels.sum(axis=0, dtype=np.uint32).sum(axis=0)
    square = np.square(pixels, dtype=np.uint16).sum(axis=0, dtype=np.uint32).sum(axis=0)
    scale = 255.0 * pixels.shape[0] * pixels.shape[1]
    return (*(total / scale).tolist(), *(square / (255.0 * scale)).tolist())
