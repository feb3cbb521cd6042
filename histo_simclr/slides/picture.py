"""What a slide gave, as a picture: thumbnail, outline of the tissue, chosen patches; and sheets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from histo_simclr.slides.grid import Places
from histo_simclr.slides.resolution import Resolution

# Longest side of a slide's picture, and side of its cell in a contact sheet, in px.
SIDE, CELL, TEXT = 1024, 200, 28
COLUMNS, ROWS = 8, 12  # of a contact sheet
OUTLINE = (0, 160, 60)
# Frames of patches, from the finest µm/px on.
FRAMES = ((20, 90, 220), (230, 120, 0), (150, 0, 160), (0, 150, 170), (190, 150, 0))


def draw(
    thumbnail: np.ndarray,
    mask: np.ndarray,
    places: Places,
    dimensions: tuple[int, int],
    resolution: Resolution,
    px: int,
) -> Image.Image:
    """The thumbnail, what is no tissue made pale, with outline and frames.

    Args:
      thumbnail: (height, width, 3) uint8 of the whole slide.
      mask: (height, width) bool.
      places: chosen patches.
      dimensions: (width, height) of level 0.
      resolution: µm/px of level 0.
      px: side of the patches.
    """
    scale = min(SIDE / max(thumbnail.shape[:2]), 4.0)
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    image = Image.fromarray(thumbnail).resize(size, Image.Resampling.BICUBIC)
    tissue = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    pixels = np.asarray(image).copy()
    pixels[~tissue] = pixels[~tissue] // 2 + 127
    pixels[ndimage.binary_dilation(tissue, iterations=2) & ~tissue] = OUTLINE
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    per_x, per_y = size[0] / dimensions[0], size[1] / dimensions[1]
    finest_first = sorted(set(places.mpp.tolist()))
    for x, y, mpp in zip(places.x, places.y, places.mpp.tolist(), strict=True):
        wide, tall = px * mpp / resolution.x, px * mpp / resolution.y
        left, top = float(x * per_x), float(y * per_y)
        right, bottom = left + wide * per_x - 1, top + tall * per_y - 1
        color = FRAMES[finest_first.index(mpp) % len(FRAMES)]
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=color)
    return image


def write_sheets(folder: Path, cells: Sequence[tuple[Path, str, str]]) -> list[Path]:
    """Contact sheets 001.jpg, 002.jpg, …: one cell a slide, in the order given.

    Args:
      folder: where they go; made.
      cells: picture of each slide (which may be missing) and the two lines below it.
    """
    folder.mkdir()
    pages = []
    per_page = COLUMNS * ROWS
    for start in range(0, len(cells), per_page):
        part = cells[start : start + per_page]
        rows = -(-len(part) // COLUMNS)
        sheet = Image.new("RGB", (min(len(part), COLUMNS) * CELL, rows * (CELL + TEXT)), "white")
        pen = ImageDraw.Draw(sheet)
        for number, (path, *lines) in enumerate(part):
            left, top = number % COLUMNS * CELL, number // COLUMNS * (CELL + TEXT)
            if path.is_file():
                with Image.open(path) as picture:
                    picture.thumbnail((CELL - 4, CELL - 4))
                    sheet.paste(picture, (left + 2, top + 2))
            text = "\n".join(line[:36] for line in lines)
            pen.multiline_text((left + 3, top + CELL), text, fill="black", font_size=10)
        page = folder / f"{start // per_page + 1:03d}.jpg"
        sheet.save(page, quality=85)
        pages.append(page)
    return pages
