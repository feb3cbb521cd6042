"""Features of slides in HDF5, ours or of another tool: how many, of what, by which encoder."""

from pathlib import Path
from typing import Any

from histo_simclr.errors import InputError

# Folders between the one that is given and the files: TRIDENT's job, resolution, features_….
DEPTH = 4
# Attributes of `features` and `coords` that say how they were made (TRIDENT's and ours).
FROM_FEATURES = ("encoder", "model_sha256", "mean", "std", "input_size", "histo_simclr_version")
FROM_COORDS = ("patch_size", "patch_size_level0", "target_magnification", "mpp_target", "overlap")


def files_of(path: Path) -> list[Path]:
    """The feature files at or below a path; by name. Files of coordinates alone are none."""
    if path.is_file():
        return [path] if path.suffix == ".h5" else []
    found = (each for depth in range(DEPTH) for each in path.glob("*/" * depth + "*.h5"))
    return sorted(each for each in found if each.parent.name != "patches")


def of_files(files: list[Path]) -> dict[str, Any]:
    """Of one or many slides; reads shapes and attributes, no features.

    Raises:
      InputError: a file that is no HDF5, or holds no features.
    """
    slides = [{"slide": file.stem, **_of_file(file)} for file in files]
    made = {name: sorted({str(each[name]) for each in slides if name in each}) for name in
            (*FROM_FEATURES, *FROM_COORDS, "dtype", "dimensions")}  # fmt: skip
    return {
        "kind": "features of slides",
        "stages": [],
        "slides": slides,
        "patches": sum(each["patches"] for each in slides),
        "made": {name: values for name, values in made.items() if values},
    }


def _of_file(file: Path) -> dict[str, Any]:
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            features, coords = opened["features"], opened.get("coords")
            found = {"patches": features.shape[0], "dimensions": features.shape[-1]}
            found["dtype"] = str(features.dtype)
            for names, dataset in ((FROM_FEATURES, features), (FROM_COORDS, coords)):
                attributes = {} if dataset is None else dataset.attrs
                found |= {name: _plain(attributes[name]) for name in names if name in attributes}
    except (OSError, KeyError, AttributeError, IndexError) as error:
        raise InputError(
            f"holds no features ({error})", where=file, way_out="give what `embed` wrote"
        ) from error
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
