"""Masks beside images: which file is whose, what its values mean, and cutting both as one.

A mask says the class of every pixel of its image. It may be drawn in class numbers, in numbers of
objects (1, 2, 3, … of one class) or in colors; it is stored in class numbers.
"""

import hashlib
import io
import itertools
import os
import posixpath
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from histo_simclr.errors import InputError
from histo_simclr.prepare import patches, storage
from histo_simclr.prepare.item import Item, Walk
from histo_simclr.prepare.patches import BadImageError, Box, Cutting, Patch, Result

# Lossless ones: JPEG would blur one class into another; see `_is_threshold` for the exception.
FORMATS = ("PNG", "TIFF", "BMP")
# Pixels of the class of this name belong to none: neither learned nor counted.
IGNORE_NAME, IGNORE = "ignore", 255


class MaskClasses(NamedTuple):
    """What the values of a set's masks mean.

    Fields:
      names: of the K classes, in the order of their numbers.
      ranges: (class number or IGNORE, lowest value, highest value); a color counts as 0xRRGGBB.
      in_color: whether the values are colors.
    """

    names: tuple[str, ...]
    ranges: tuple[tuple[int, int, int], ...]
    in_color: bool


def parse_classes(text: str) -> MaskClasses:
    """Reads `--mask-classes`: names with their values, separated by commas, in order.

    `background,gland` are values 0 and 1; `background=0,nucleus=1-65535` takes a range, for masks
    that number objects; `rest=#000000,gland=#ff0000,gland=#00ff00` takes colors, two for a class.
    The name `ignore` marks pixels that belong to no class.

    Raises:
      InputError: no or one class, a value that is none, overlapping values, numbers and colors.
    """
    names: list[str] = []
    ranges: list[tuple[int, int, int]] = []
    colors = set()
    for position, entry in enumerate(text.split(",")):
        name, equals, value = (part.strip() for part in entry.partition("="))
        low, high, is_color = _range(value if equals else str(position), entry)
        if not name or not name.isprintable():
            raise _bad_classes(f"{entry!r} has no name that can be printed")
        if name != IGNORE_NAME and name not in names:
            names.append(name)
        ranges.append((IGNORE if name == IGNORE_NAME else names.index(name), low, high))
        colors.add(is_color)
    ordered = sorted(ranges, key=lambda each: each[1])
    for (_, _, before), (_, low, _) in itertools.pairwise(ordered):
        if low <= before:
            raise _bad_classes("a value belongs to two classes")
    if len(colors) > 1:
        raise _bad_classes("numbers and colors together")
    if not 2 <= len(names) < IGNORE:
        raise _bad_classes(f"{len(names)} class(es)")
    return MaskClasses(tuple(names), tuple(ranges), colors.pop())


def _range(value: str, entry: str) -> tuple[int, int, bool]:
    if re.fullmatch("#[0-9a-fA-F]{6}", value):
        return int(value[1:], 16), int(value[1:], 16), True
    # Nine digits: what pixels can hold, and more.
    match = re.fullmatch("([0-9]{1,9})(?:-([0-9]{1,9}))?", value)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise _bad_classes(f"{entry!r} has no value, range or color")
    return int(match[1]), int(match[2] or match[1]), False


def _bad_classes(what: str) -> InputError:
    return InputError(
        what,
        where="--mask-classes",
        way_out="write e.g. background,gland or background=0,nucleus=1-65535 or "
        "rest=#000000,gland=#ff0000",
    )


def with_masks(walk: Walk, template: str) -> Walk:
    """The walk's items with the masks that lie where `template` says; masks themselves left out.

    Args:
      walk: of files.
      template: path of an image's mask, relative to the source: `{folder}` and `{stem}` are the
        image's, e.g. `../masks/{folder}/{stem}.png` or `{folder}/{stem}_anno.bmp`. Items that
        name their mask keep it.

    Raises:
      InputError: a template without `{stem}` or with another field. While walking: images that
        are no files.
    """
    fields = set(re.findall(r"\{([^{}]*)\}", template))
    if "stem" not in fields or fields - {"stem", "folder"}:
        raise InputError(
            f"{template!r} does not say which mask is whose",
            where="--masks",
            way_out="use {stem} and {folder}, e.g. '../masks/{folder}/{stem}.png'",
        )

    def paired() -> Iterator[Item]:
        for item in walk():
            yield item if item.mask else item._replace(mask=_mask_of(item, template))

    def without_masks() -> Iterator[Item]:
        # Hidden among images by an ending only, masks would be taken for images without a mask.
        taken = {item.mask for item in paired()}
        return (item for item in paired() if _normal(item.data) not in taken)

    return without_masks


def _mask_of(item: Item, template: str) -> str:
    if isinstance(item.data, bytes):
        raise InputError(
            "masks beside images that are no files",
            where="--masks",
            way_out="leave --masks out, or give a folder of images",
        )
    folder, name = posixpath.split(item.name)
    values = {"folder": folder or ".", "stem": posixpath.splitext(name)[0]}
    filled = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)
    return _normal(storage.join(item.data.removesuffix(item.name), filled))


def _normal(path: str) -> str:
    scheme, separator, rest = path.rpartition("://")
    return scheme + separator + (posixpath if separator else os.path).normpath(rest)


def cut_sources(
    sources: Sequence[tuple[str | bytes, str]], cutting: Cutting, classes: MaskClasses
) -> list[Result]:
    """Results of several (image, mask) pairs, in their order; see `patches.cut_sources`."""
    return [_cut_source(image, mask, cutting, classes) for image, mask in sources]


def _cut_source(
    source: str | bytes, mask_source: str, cutting: Cutting, classes: MaskClasses
) -> Result:
    digest = ""
    try:
        data = patches.read(source)
        digest = hashlib.sha256(data).hexdigest()
        image, untouched = patches.decode(data)
        if not mask_source:
            raise BadImageError("has no mask")
        mask = Image.fromarray(_read(mask_source, classes))
        if mask.size != image.size:
            sizes = ["{} x {} px".format(*each.size) for each in (mask, image)]
            raise BadImageError(f"mask of {sizes[0]} for an image of {sizes[1]}")
        cut = patches.cut_decoded(data, image, untouched, cutting)
        squares = patches.boxes(*image.size, cutting.cut)
        both = zip(cut, squares, strict=True)
        found = [_with_mask(patch, mask, square, cutting.px) for patch, square in both]
        return Result(digest, found, "")
    except BadImageError as error:
        return Result(digest, [], str(error))


def _read(source: str, classes: MaskClasses) -> np.ndarray:
    try:
        return class_numbers(patches.read(source), classes)
    except BadImageError as error:
        raise BadImageError(f"mask {posixpath.basename(source)}: {error}") from None


def class_numbers(data: bytes, classes: MaskClasses) -> np.ndarray:
    """The class of each pixel of an encoded mask.

    Palettes count by their numbers, unless classes are colors; gray stored as RGB counts as gray.

    Returns:
      (H, W) uint8: class numbers, IGNORE where none.

    Raises:
      BadImageError: no lossless image, unless the classes are two that a threshold tells apart, or
        values that are no class's.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            formats = (*FORMATS, "JPEG") if _is_threshold(classes) else FORMATS
            image = Image.open(io.BytesIO(data), formats=formats)
            image.load()
    except Image.UnidentifiedImageError:
        raise BadImageError("not a PNG, TIFF or BMP image") from None
    except Image.DecompressionBombError:
        raise BadImageError("more than 178 million pixels") from None
    except Exception as error:  # decoders raise whatever the bytes lead them into
        raise BadImageError(f"does not decode ({error})") from None
    # Unique values first: a mask has few, and as many pixels as its image.
    found, place = np.unique(_values(image, classes.in_color), return_inverse=True)
    numbers = np.full(len(found), -1)
    for number, low, high in classes.ranges:
        numbers[(found >= low) & (found <= high)] = number
    if (numbers < 0).any():
        unknown = found[numbers < 0].tolist()
        shown = [f"#{value:06x}" if classes.in_color else str(value) for value in unknown[:5]]
        more = ", …" if len(unknown) > 5 else ""
        raise BadImageError(f"values that --mask-classes does not name: {', '.join(shown)}{more}")
    return numbers.astype(np.uint8)[place].reshape(image.height, image.width)


def _is_threshold(classes: MaskClasses) -> bool:
    """Whether two classes share all of 0 to 255, one below the other: no blur makes a third."""
    low, high = min(classes.ranges, key=_lowest), max(classes.ranges, key=_lowest)
    return (
        not classes.in_color
        and len(classes.ranges) == len(classes.names) == 2
        and (low[1], low[2] + 1) == (0, high[1])
        and high[2] >= 255
    )


def _lowest(values: tuple[int, int, int]) -> int:
    return values[1]


def _values(image: Image.Image, in_color: bool) -> np.ndarray:
    """(H, W) integers; colors as 0xRRGGBB."""
    if in_color:
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int64), 2, 0)
        return red << 16 | green << 8 | blue
    pixels = np.asarray(image)
    if pixels.ndim == 3 and (pixels[..., :3] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or pixels.dtype.kind == "f":
        raise BadImageError("colors or fractions: name the classes by color, as in gland=#ff0000")
    return pixels.astype(np.int64)


def _with_mask(patch: Patch, mask: Image.Image, box: Box, px: int) -> Patch:
    part = mask.crop((box.left, box.top, box.left + box.side, box.top + box.side))
    if box.side != px:
        # No class between two others: the nearest pixel's.
        part = part.resize((px, px), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    part.save(buffer, "PNG")
    return patch._replace(mask=buffer.getvalue())
