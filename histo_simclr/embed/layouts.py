"""Where files go and what they say, as TRIDENT and CLAM have it: names, types, attributes.

TRIDENT (mahmoodlab/TRIDENT, trident/IO.py, 0.3.1) and CLAM (mahmoodlab/CLAM, utils/file_utils.py,
wsi_core/WholeSlideImage.py). What we know beyond them is added under names that they do not use.
No path of this machine goes into a file.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from histo_simclr.embed.feature_file import Content
from histo_simclr.embed.reading import Found
from histo_simclr.slides.resolution import nominal_magnification

TRIDENT, CLAM = "trident", "clam"
LAYOUTS = (TRIDENT, CLAM)
# How `slides.reader` brings a patch to its µm/px.
INTERPOLATION = "bicubic"


class Places(NamedTuple):
    """The files of a job.

    Fields:
      features, coords, pictures: folders.
      suffix: of the names of files of coordinates.
    """

    features: Path
    coords: Path
    pictures: Path
    suffix: str

    def feature_file(self, slide: str) -> Path:
        """Of a slide's features."""
        return self.features / f"{file_name(slide)}.h5"

    def coords_file(self, slide: str) -> Path:
        """Of a slide's coordinates alone."""
        return self.coords / f"{file_name(slide)}{self.suffix}.h5"

    def picture(self, slide: str) -> Path:
        """Of a slide's picture."""
        return self.pictures / f"{file_name(slide)}.jpg"


class Job(NamedTuple):
    """What all slides of a job have in common.

    Fields:
      layout: of LAYOUTS.
      encoder: name for folders.
      mpp, px, overlap: of the patches; overlap in their px.
      features_attributes: what is said of the encoder.
    """

    layout: str
    encoder: str
    mpp: float
    px: int
    overlap: int
    features_attributes: dict[str, Any]


# What would name another folder, a hidden file or nothing, and the sign of what was replaced.
_NO_FILE_NAME = re.compile(r"[/\\\x00-\x1f\x7f%]|^\.")


def file_name(slide: str) -> str:
    """A slide's id as a file name; of each slide another. Ids as they commonly are stay."""
    return _NO_FILE_NAME.sub(lambda found: f"%{ord(found[0]):02X}", slide)


def magnification(mpp: float) -> int | float:
    """What TRIDENT calls a µm/px: 10 / mpp; a whole number where it is one."""
    value = round(10 / mpp, 4)
    return int(value) if value == int(value) else value


def places(out: Path, job: Job) -> Places:
    """The folders of a job below `out`."""
    if job.layout == CLAM:
        return Places(out / "h5_files", out / "patches", out / "masks", "")
    folder = out / f"{magnification(job.mpp)}x_{job.px}px_{job.overlap}px_overlap"
    features = folder / f"features_{job.encoder}"
    return Places(features, folder / "patches", folder / "visualization", "_patches")


def content(job: Job, found: Found, settings: str) -> tuple[Content, Content]:
    """What the two files of a slide hold: that of its features, that of its coordinates.

    Args:
      job: of the slide.
      found: the slide; places may be none.
      settings: digest of all that decided the places.
    """
    row, places = found.row, found.places
    ours = {
        "mpp_level0_x": row.mpp_x,
        "mpp_level0_y": row.mpp_y,
        "mpp_target": job.mpp,
        "settings": settings,
    }
    coords = np.stack([places.x, places.y], axis=1)
    if job.layout == TRIDENT:
        told = _trident(job, found) | ours
        features = {"name": row.slide, "savetodir": "", "encoder": job.encoder}
        both = Content(coords, places.tissue, told, features | job.features_attributes)
        return both, both
    in_features = Content(coords.astype(np.int32), places.tissue, ours, job.features_attributes)
    return in_features, Content(coords, places.tissue, _clam(job, found) | ours, {})


def _trident(job: Job, found: Found) -> dict[str, Any]:
    row = found.row
    return {
        "patch_size": job.px,
        "patch_size_level0": round(job.px * job.mpp / row.mpp_x),
        "level0_magnification": int(nominal_magnification(row.mpp_x)) or magnification(row.mpp_x),
        "target_magnification": magnification(job.mpp),
        "overlap": job.overlap,
        "name": row.slide,
        "savetodir": "",
        "level0_width": row.width,
        "level0_height": row.height,
    }


def _clam(job: Job, found: Found) -> dict[str, Any]:
    row, level = found.row, found.level
    told = {"name": row.slide, "save_path": ""}
    if level is None:  # nothing is read of it
        return told | {"patch_size": job.px, "patch_level": 0}
    return told | {
        "patch_size": round(job.px * job.mpp / (row.mpp_x * level.downsample)),
        "patch_level": level.number,
        "downsample": np.full(2, level.downsample),
        "downsampled_level_dim": np.array(level.dimensions),
        "level_dim": np.array(level.dimensions),
    }
