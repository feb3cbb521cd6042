"""Which places of a slide become patches: numbers and a mask in, coordinates out.

The choice depends on (seed, slide, the slide's mask) alone: not on other slides, nor on the order
in which they come.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from histo_simclr.slides.resolution import Resolution


class Target(NamedTuple):
    """mpp: µm/px of the patches; share: of a slide's patches that are to have it, above 0."""

    mpp: float
    share: float


class Grid(NamedTuple):
    """The places of one µm/px, side by side from the slide's top left corner.

    Fields:
      mpp: µm/px of the patches.
      side: (width, height) of a patch in level-0 px.
      step: (x, y) in whole level-0 px from one place to the next, so that none overlap unless
        they are to.
      tissue: (rows, columns) float32, share of each place that is tissue.
    """

    mpp: float
    side: tuple[float, float]
    step: tuple[int, int]
    tissue: np.ndarray


class Places(NamedTuple):
    """Chosen places, by µm/px, then row by row.

    Fields:
      x, y: (n,) int64, top left corner in level-0 px.
      mpp: (n,) float64.
      tissue: (n,) float32, share that is tissue.
    """

    x: np.ndarray
    y: np.ndarray
    mpp: np.ndarray
    tissue: np.ndarray


NO_PLACES = Places(
    np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.float32)
)


def lay(
    mask: np.ndarray,
    dimensions: tuple[int, int],
    resolution: Resolution,
    mpp: float,
    px: int,
    finest: float = 0.0,
    overlap: int = 0,
) -> Grid:
    """The grid of one µm/px; places that do not lie wholly in the slide are left out.

    Args:
      mask: (height, width) bool over the whole slide.
      dimensions: (width, height) of level 0 in px.
      resolution: µm/px of level 0.
      mpp, px: of the patches.
      finest: the finest µm/px that is laid on this slide. Grids whose µm/px is a whole multiple
        of it fall into step with it, so that a coarse patch covers as few fine places as can be.
        0: this one alone.
      overlap: px of a patch that its neighbor shares with it, below px.
    """
    side = (px * mpp / resolution.x, px * mpp / resolution.y)
    times = mpp / (finest or mpp)
    times = round(times) if abs(times - round(times)) < 1e-6 else 1
    apart = (each * (px - overlap) / px for each in side)
    # Sides a hair above a whole number are that number: 224 · 0.25 / 0.25.
    step = tuple(times * max(1, int(np.ceil(each / times - 1e-6))) for each in apart)
    starts = [
        np.arange(0, full - width + 1e-6, each)
        for full, width, each in zip(dimensions, side, step, strict=True)
    ]
    tissue = _share(mask, dimensions, starts[0], starts[1], side)
    return Grid(mpp, side, (step[0], step[1]), tissue)


def _share(
    mask: np.ndarray,
    dimensions: tuple[int, int],
    lefts: np.ndarray,
    tops: np.ndarray,
    side: tuple[float, float],
) -> np.ndarray:
    """(rows, columns): mean of the mask, constant within its pixels, over each rectangle."""
    height, width = mask.shape
    # The integral from the corner is linear within each pixel, so interpolating it is exact.
    integral = np.zeros((height + 1, width + 1))
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.float64), axis=1, out=integral[1:, 1:])
    scale_x, scale_y = width / dimensions[0], height / dimensions[1]
    rows = _interpolate(integral, (tops + side[1]) * scale_y) - _interpolate(
        integral, tops * scale_y
    )
    areas = _interpolate(rows.T, (lefts + side[0]) * scale_x) - _interpolate(
        rows.T, lefts * scale_x
    )
    share = areas.T / (side[0] * scale_x * side[1] * scale_y)
    return np.clip(np.round(share, 6), 0, 1).astype(np.float32)


def _interpolate(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows of `values` at fractional row numbers."""
    low = np.clip(np.floor(at).astype(np.int64), 0, len(values) - 2)
    weight = np.clip(at - low, 0, 1)[:, None]
    return values[low] * (1 - weight) + values[low + 1] * weight


def usable(grid: Grid, least_tissue: float) -> np.ndarray:
    """(rows, columns) bool: places with enough tissue, and with any."""
    return grid.tissue >= max(least_tissue, 1e-6)


def choose(
    grids: list[Grid],
    targets: list[Target],
    *,
    slide: str,
    count: int,
    least_tissue: float,
    may_overlap: bool,
    seed: int,
) -> Places:
    """Draws up to `count` places with tissue, in the targets' shares, without overlap.

    Where the tissue is too small for `count` patches side by side, all shares shrink alike;
    what a µm/px cannot fill goes to the finer ones. The coarsest are placed first, being the
    hardest to place.

    Args:
      grids: of `lay`, one a target that the slide reaches; at least one.
      targets: of the same mpp, in the same order.
      slide: its id; with `seed` it decides the draw.
      count: patches wanted of this slide.
      least_tissue: smallest share of a place that must be tissue, 0 to 1.
      may_overlap: whether patches of one µm/px may cover those of another.
      seed: any integer.
    """
    places_with_tissue = [usable(grid, least_tissue) for grid in grids]
    quotas = _quotas(grids, places_with_tissue, targets, count, may_overlap)
    chosen: list[tuple[Grid, np.ndarray, np.ndarray]] = []
    carried = 0
    for number in sorted(range(len(grids)), key=lambda each: -grids[each].mpp):
        grid, free = grids[number], places_with_tissue[number]
        if not may_overlap:
            for coarser, rows, columns in chosen:
                free &= ~_covered(grid, coarser, rows, columns)
        places = np.flatnonzero(free)
        wanted = min(quotas[number] + carried, len(places))
        carried = quotas[number] + carried - wanted
        generator = np.random.default_rng(_entropy(seed, slide, grid.mpp))
        drawn = np.sort(generator.choice(places, wanted, replace=False)) if wanted else places[:0]
        chosen.append((grid, *np.unravel_index(drawn, free.shape)))
    chosen.sort(key=lambda each: each[0].mpp)
    return Places(
        x=_join([columns * grid.step[0] for grid, _, columns in chosen], np.int64),
        y=_join([rows * grid.step[1] for grid, rows, _ in chosen], np.int64),
        mpp=_join([np.full(len(rows), grid.mpp) for grid, rows, _ in chosen], np.float64),
        tissue=_join([grid.tissue[rows, columns] for grid, rows, columns in chosen], np.float32),
    )


def _quotas(
    grids: list[Grid],
    free: list[np.ndarray],
    targets: list[Target],
    count: int,
    may_overlap: bool,
) -> list[int]:
    """Patches wanted of each µm/px: shares of what fits, whole numbers by largest remainder."""
    shares = np.array([target.share for target in targets])
    shares = shares / shares.sum()
    if not may_overlap:
        areas = np.array([grid.side[0] * grid.side[1] for grid in grids])
        tissue = max(area * each.sum() for area, each in zip(areas, free, strict=True))
        count = min(count, int(tissue / (shares * areas).sum() + 1e-6))
        # However small, tissue that holds a patch gives one.
        count = max(count, int(any(each.any() for each in free)))
    exact = np.round(shares * count, 6)
    quotas = np.floor(exact).astype(np.int64)
    largest = np.argsort(quotas - exact, kind="stable")
    quotas[largest[: count - quotas.sum()]] += 1
    return quotas.tolist()


def _covered(grid: Grid, coarser: Grid, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(rows, columns) bool: places of `grid` that share a level-0 px with a chosen coarser one."""
    covered = np.zeros(grid.tissue.shape, bool)
    spans = []
    for axis, numbers in ((1, rows), (0, columns)):
        start = numbers * coarser.step[axis]
        end = start + coarser.side[axis]
        # Place i covers [i · step, i · step + side): the first that ends behind `start`, and the
        # last that starts before `end`.
        first = np.floor((start - grid.side[axis]) / grid.step[axis] + 1e-9).astype(np.int64) + 1
        last = np.ceil(end / grid.step[axis] - 1e-9).astype(np.int64)
        spans.append((np.maximum(first, 0), last))
    for top, bottom, left, right in zip(*spans[0], *spans[1], strict=True):
        covered[top:bottom, left:right] = True
    return covered


def _entropy(seed: int, slide: str, mpp: float) -> int:
    digest = hashlib.blake2b(f"{seed}\n{slide}\n{mpp:g}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def _join(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.asarray(part, kind) for part in parts])
