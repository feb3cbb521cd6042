"""The patches of all slides that neighbors and clusters are taken from: all, or an even sample."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.evaluate import neighbors
from histo_simclr.maps import feature_files
from histo_simclr.maps.feature_files import SlideFeatures


class Gallery(NamedTuple):
    """n patches of all slides.

    Fields:
      slides: ids, in the order of the files.
      counts: patches that each slide has.
      slide: (n,) int64, index into slides.
      row: (n,) int64, which patch of its slide.
      coords: (n, 2) int64, level-0 px.
      side: (n,) level-0 px.
      unit: (n, D) float32 features of unit length.
      encoder, model: what the files say, see `SlideFeatures`.
    """

    slides: list[str]
    counts: list[int]
    slide: np.ndarray
    row: np.ndarray
    coords: np.ndarray
    side: np.ndarray
    unit: np.ndarray
    encoder: str
    model: str

    def groups(self) -> np.ndarray:
        """(n,) int64: patches of one group are no neighbors: of a slide, or each its own."""
        return self.slide if len(self.slides) > 1 else self.row

    def groups_of(self, slide: int, rows: np.ndarray) -> np.ndarray:
        """The same of patches of a slide, in the gallery or not."""
        return np.full(len(rows), slide) if len(self.slides) > 1 else rows


def collect(files: Sequence[Path], *, most: int, seed: int) -> Gallery:
    """Reads all files once, and keeps at most `most` patches, as many of each slide as can be.

    Raises:
      InputError: no patches at all, or files of several encoders.
    """
    counts = [feature_files.count(file) for file in files]
    quota = _quota(counts, most)
    parts, known = [], None
    for number, file in enumerate(files):
        found = feature_files.read(file)
        known = _same_encoder(known, found, file)
        rows = sample(len(found.features), quota, seed=seed + number)
        parts.append(
            (
                np.full(len(rows), number),
                rows,
                found.coords[rows],
                np.full(len(rows), found.side),
                neighbors.unit_length(found.features[rows]),
            )
        )
    columns = [np.concatenate(each) for each in zip(*parts, strict=True)]
    if not len(columns[0]):
        raise InputError(
            "the slides have no patches",
            where=files[0].parent,
            way_out="embed slides with tissue",
        )
    slides = [file.stem for file in files]
    return Gallery(slides, counts, *columns, known.encoder, known.model)


def sample(count: int, most: int, *, seed: int) -> np.ndarray:
    """At most so many of count rows, ascending; all when they are no more."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _quota(counts: Sequence[int], most: int) -> int:
    """The largest number of patches a slide by which all give no more than `most`; at least 1."""
    low, high = 1, max(counts)
    while low < high:
        middle = (low + high + 1) // 2
        fits = sum(min(count, middle) for count in counts) <= most
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _same_encoder(known: SlideFeatures | None, found: SlideFeatures, file: Path) -> SlideFeatures:
    """What the first file said; an empty slide's words count as well."""
    if known is None:
        return found
    what = ""
    if found.features.shape[1] != known.features.shape[1]:
        what = f"{found.features.shape[1]} features a patch, {known.slide} has "
        what += f"{known.features.shape[1]}"
    elif found.model != known.model:
        what = f"features of the encoder {found.model[:12] or 'unknown'}, {known.slide} has those "
        what += f"of {known.model[:12] or 'unknown'}"
    elif found.encoder and known.encoder and found.encoder != known.encoder:
        what = f"features of {found.encoder}, {known.slide} has those of {known.encoder}"
    if what:
        raise InputError(
            what, where=file, way_out="keep features of different encoders in different folders"
        )
    return known
