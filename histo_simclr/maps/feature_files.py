"""Features of slides in H5 files, as TRIDENT and CLAM lay them out: found, checked, read."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from histo_simclr.errors import InputError

_WANTED = "give a folder of H5 files that hold `features` (N, D) and `coords` (N, 2), as "
_WANTED += "histo-simclr embed, TRIDENT and CLAM write them"


class SlideFeatures(NamedTuple):
    """The features of one slide's patches.

    Fields:
      slide: its id, the file's name without extension.
      features: (N, D) float32.
      coords: (N, 2) int64, x and y of the patches' top left corners in level-0 px.
      side: of a patch in level-0 px; 0 when N is 0.
      size: (width, height) of level 0; (0, 0) when the file does not say.
      mpp: µm per level-0 px; 0 when the file does not say.
      encoder: what the file calls it; empty when it does not say.
      model: sha256 of its weights; empty when the file does not say.
      tissue: (N,) float32, share of tissue in each patch; None when the file does not say.
    """

    slide: str
    features: np.ndarray
    coords: np.ndarray
    side: float
    size: tuple[int, int]
    mpp: float
    encoder: str
    model: str
    tissue: np.ndarray | None


def find(place: str | Path) -> list[Path]:
    """The files of patches' features in a folder and those below it, by name; or the one file.

    Files of coordinates alone, and of one feature a slide, lie in the same trees: passed over.

    Raises:
      InputError: no such folder, none in it, those of several encoders or grids, or a file that
        cannot be read.
    """
    place = Path(place)
    if place.is_file():
        if not _holds_features(place):
            raise InputError("no features of patches in it", where=place, way_out=_WANTED)
        return [place]
    if not place.is_dir():
        raise InputError("no such folder", where=place, way_out=_WANTED)
    # By their names alone first: a tree of features holds at least as many files of coordinates.
    files = [
        file
        for file in sorted(place.rglob("*.h5"))
        if not any(part.startswith(".") for part in file.relative_to(place).parts)
    ]
    found = [file for file in files if _holds_features(file)]
    if not found:
        others = f"{len(files)} H5 files, none with features of patches" if files else "no H5 file"
        raise InputError(others, where=place, way_out=_WANTED)
    folders = sorted({str(file.parent.relative_to(place)) for file in found})
    if len(folders) > 1:
        raise InputError(
            f"features in {len(folders)} folders: {', '.join(folders[:5])}",
            where=place,
            way_out="give one of them: each is of another encoder or another grid",
        )
    return found


# What h5py raises for changed bytes: kinds that it has no type for, names that lead elsewhere.
_DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError)


def count(path: Path) -> int:
    """How many patches a file has.

    Raises:
      InputError: not readable.
    """
    try:
        with h5py.File(path, "r") as file:
            return len(file["features"])
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def read(path: Path) -> SlideFeatures:
    """One slide.

    The side of a patch is what the file says (`patch_size_level0`), else what CLAM's file of
    coordinates says (patches/SLIDE.h5 beside the features or above), else the usual step from one
    patch to the next.

    Raises:
      InputError: not readable, arrays that do not fit each other, features that are not finite, or
        a side that cannot be told.
    """
    try:
        with h5py.File(path, "r") as file:
            if file["features"].dtype.kind not in "fiu":
                raise ValueError(f"features are {file['features'].dtype}, no numbers")
            features = np.asarray(file["features"][:], np.float32)
            coords = np.asarray(file["coords"][:])
            tissue = file["tissue_fraction"][:] if "tissue_fraction" in file else None
            about = dict(file["features"].attrs) | dict(file["coords"].attrs)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    _check(path, features, coords)
    coords = coords.astype(np.int64)
    side = _number(about.get("patch_size_level0"))
    if len(coords) and not side > 0:
        side = _side_by_clam(path) or _usual_step(coords)
        if not side:
            raise InputError(
                "the side of its patches is not known",
                where=path,
                way_out="put CLAM's patches/SLIDE.h5 beside its folder, or embed the slide again",
            )
    return SlideFeatures(
        slide=path.stem,
        features=features,
        coords=coords,
        side=side,
        size=(int(_number(about.get("level0_width"))), int(_number(about.get("level0_height")))),
        mpp=_number(about.get("mpp_level0_x")),
        encoder=_text(about.get("encoder")),
        model=_text(about.get("model_sha256")),
        tissue=tissue if _is_share(tissue, len(coords)) else None,
    )


def _holds_features(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            both = all(isinstance(file.get(name), h5py.Dataset) for name in ("features", "coords"))
            return both and file["features"].ndim == 2
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _is_share(values: np.ndarray | None, count: int) -> bool:
    """Whether these are a finite number for each patch."""
    is_one_each = values is not None and values.shape == (count,) and values.dtype.kind in "fiu"
    return is_one_each and bool(np.isfinite(values).all())


def _check(path: Path, features: np.ndarray, coords: np.ndarray) -> None:
    what = ""
    if features.ndim != 2 or coords.shape != (len(features), 2):
        what = f"features {features.shape} do not go with coordinates {coords.shape}"
    elif coords.dtype.kind not in "iu":
        what = f"coordinates are {coords.dtype}, not whole level-0 px"
    elif not np.isfinite(features).all():
        what = f"{int((~np.isfinite(features)).any(1).sum())} patches have features with NaN or inf"
    if what:
        raise InputError(what, where=path, way_out="embed the slide again")


def _side_by_clam(path: Path) -> float:
    """By the file of coordinates of the same slide; 0 where there is none, or it does not say."""
    for folder in (path.parent, *path.parents[1:4]):
        file = folder / "patches" / path.name
        if not file.is_file():
            continue
        try:
            with h5py.File(file, "r") as opened:
                about = dict(opened["coords"].attrs)
        except (OSError, KeyError) as error:
            raise _unreadable(file, error) from error
        downsample = np.ravel(about.get("downsample", 1.0))
        return _number(about.get("patch_size")) * _number(downsample[0])
    return 0.0


def _usual_step(coords: np.ndarray) -> float:
    """The most frequent distance to the next patch of a row or column; 0 where there is none."""
    steps: Counter[int] = Counter()
    for along, across in ((0, 1), (1, 0)):
        ordered = coords[np.lexsort((coords[:, along], coords[:, across]))]
        same = ordered[1:, across] == ordered[:-1, across]
        gaps = (ordered[1:, along] - ordered[:-1, along])[same]
        steps.update(gaps[gaps > 0].tolist())
    # Of equally frequent ones the least: patches that are missing make steps longer.
    return float(min(steps, key=lambda step: (-steps[step], step), default=0))


def _number(value: object) -> float:
    """A number of whatever the writers leave; 0 of None, of its name, and of what is none."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return number if np.isfinite(number) else 0.0


def _text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return "" if text == "None" else text


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"cannot be read ({str(error).splitlines()[0]})",
        where=path,
        way_out="embed the slide again, or move the file away",
    )
