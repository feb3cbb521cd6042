"""What a data directory holds of the registry's cohorts, by counts: opens no image.

One folder a cohort, named as the cohort or by an alias (case and punctuation do not count), with
the files as downloaded or with a record set of `prepare`.
"""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet

from histo_simclr import records
from histo_simclr.errors import InputError
from histo_simclr.prepare import beside, registry, slide_list
from histo_simclr.prepare.registry import Cohort
from histo_simclr.prepare.sources import EXTENSIONS

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


class Held(NamedTuple):
    """One folder that belongs to a cohort.

    Fields:
      folder: its path.
      cohort: the cohort's name.
      holds: "files" or "records".
      slides: whole slides counted, for kinds wsi and both; None otherwise.
      patches: other images counted, for kinds patch and both; None otherwise.
      state: complete | incomplete | more than expected | unknown (the registry has no count) |
        damaged.
      detail: why, where there is more to say; may be empty.
    """

    folder: Path
    cohort: str
    holds: str
    slides: int | None
    patches: int | None
    state: str
    detail: str


def check(folder: Path, cohorts: Sequence[Cohort]) -> tuple[list[Held], list[str]]:
    """Looks at each folder in `folder`; masks and annotations beside images are not counted.

    Of a record set, the sources that went in are counted, the rejected ones included: a slide gives
    many patches.

    Returns:
      What belongs to a cohort, and the names of the folders that belong to none; both sorted by
      folder name.

    Raises:
      InputError: no such folder, or it cannot be listed.
    """
    try:
        names = sorted(each.name for each in os.scandir(folder) if each.is_dir())
    except OSError as error:
        raise InputError(
            f"cannot be listed ({error.strerror})",
            where=folder,
            way_out="give a folder with one folder a cohort",
        ) from error
    held, foreign = [], []
    for name in names:
        if name.startswith("."):
            continue
        cohort = _cohort_of(folder / name, cohorts)
        if cohort is None:
            foreign.append(name)
        else:
            held.append(_look(folder / name, cohort))
    return held, foreign


def _cohort_of(folder: Path, cohorts: Sequence[Cohort]) -> Cohort | None:
    try:
        return registry.find(folder.name, cohorts)
    except InputError:
        return None


def _look(folder: Path, cohort: Cohort) -> Held:
    names = ("record_set.json", "*/record_set.json")
    holds = "records" if any(any(folder.glob(name)) for name in names) else "files"
    count = _count_records if holds == "records" else _count_files
    try:
        slides, patches, detail = count(folder, cohort)
    except (OSError, InputError) as error:
        return Held(folder, cohort.name, holds, None, None, "damaged", str(error))
    state = _state((slides, cohort.slides), (patches, cohort.patches))
    return Held(folder, cohort.name, holds, slides, patches, state, detail)


def _state(*counts: tuple[int | None, int | None]) -> str:
    """What pairs of a count found and one wanted say together."""
    known = [(found, wanted) for found, wanted in counts if None not in (found, wanted)]
    if any(found < wanted for found, wanted in known):
        return "incomplete"
    if any(found > wanted for found, wanted in known):
        return "more than expected"
    return "complete" if known else "unknown"


def _count_files(folder: Path, cohort: Cohort) -> tuple[int | None, int | None, str]:
    kind, chosen = cohort.kind, (folder / each.split("=")[0] for each in cohort.folders)
    roots = [each for each in chosen if each.is_dir()] or [folder]
    slides = images = archives = 0
    for _, folders, names in itertools.chain.from_iterable(
        os.walk(root, onerror=_raise) for root in roots
    ):
        folders[:] = [
            name for name in folders if name[0] != "." and not beside.is_beside(f"{name}/")
        ]
        has_dicom = False
        for name in names:
            extension = os.path.splitext(name)[1].lower()
            if name[0] == "." or beside.is_beside(name):
                continue
            slides += extension in slide_list.SLIDES_ONLY
            images += extension in EXTENSIONS
            archives += extension in ARCHIVES
            has_dicom |= extension == ".dcm"
        slides += has_dicom  # a DICOM slide is a folder, a file a level
    detail = f"archives only ({archives}): unpack them" if archives and not slides + images else ""
    if kind == "wsi":
        return slides + images, None, detail
    return (None if kind == "patch" else slides), images, detail


def _count_records(folder: Path, cohort: Cohort) -> tuple[int | None, int | None, str]:
    path = records.resolve_record_set(folder)
    info = records.read_json(path / "record_set.json")
    sources: set[str] = set()
    try:
        rejected, count = int(info["rejected"]), sum(info["counts"].values())
        with pyarrow.parquet.ParquetFile(path / "manifest.parquet") as file:
            for batch in file.iter_batches(columns=["source"]):
                sources.update(batch.column(0).unique().to_pylist())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # pyarrow's errors are ValueErrors and OSErrors, a missing column a KeyError.
        raise InputError(
            f"no whole record set ({error})", where=path, way_out="prepare it again"
        ) from error
    found = len(sources) + rejected
    detail = f"{count:,} patches of {len(sources):,} sources, {rejected:,} rejected"
    is_of_slides = cohort.kind == "wsi" or (
        cohort.kind == "both" and (path / "slides.csv").is_file()
    )
    return (found, None, detail) if is_of_slides else (None, found, detail)


def _raise(error: OSError) -> None:
    raise error
