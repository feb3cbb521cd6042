"""What each parser owes for whatever it is given: a result that holds, or an error with its cause.

Each function returns whether the parser took the file; anything but a right result or InputError or
SlideError is raised. `test_parsers.py` and `coverage_guided.py` feed them.
"""

import dataclasses
import math
import re
import urllib.parse
from pathlib import Path

import numpy as np

from histo_simclr.errors import InputError
from histo_simclr.prepare import masks, plan_file, registry, registry_row
from histo_simclr.slides import regions, resolution
from histo_simclr.slides.pyramid import SlideError
from histo_simclr.weights import foreign

SIZE, SHAPE = (400, 300), (15, 20)  # of the slide, width first; of its mask, height first


def plan(path: Path) -> bool:
    """plan.parquet or a CSV."""
    try:
        parts = list(plan_file.read(path))
    except InputError as error:
        return _refused(error, path)
    assert parts
    assert len({part.wsi for part in parts}) == len({part.slide for part in parts}) == len(parts)
    for part in parts:
        assert part.wsi
        assert part.slide
        assert part.px >= 1
        columns = [np.asarray(column) for column in part.places]
        assert {len(column) for column in columns} == {len(set(zip(*columns, strict=True)))}
        assert [column.dtype for column in columns] == ["int64", "int64", "float64", "float32"]
        mpps = [*part.mpp, *part.places.mpp.tolist()]
        assert all(resolution.SMALLEST <= mpp <= resolution.LARGEST for mpp in mpps)
        assert all(0 <= share <= 1 for share in part.places.tissue.tolist())
    return True


def region(path: Path) -> bool:
    """A mask or GeoJSON of a slide of SIZE."""
    try:
        found = regions.read(path, SIZE, SHAPE)
    except SlideError as error:
        return _refused(error, path)
    assert (found.mask.dtype, found.mask.shape) == (bool, SHAPE)
    assert found.warning.isprintable()
    return True


def mpp_table(path: Path) -> bool:
    """The CSV of --mpp-table."""
    try:
        table = resolution.read_table(path)
    except InputError as error:
        return _refused(error, path)
    for name, mpp in table.items():
        assert name == name.strip() != ""
        assert resolution.SMALLEST <= mpp <= resolution.LARGEST
    return True


def registry_file(path: Path) -> bool:
    """The registry's CSV."""
    try:
        cohorts = registry.load(path)
    except InputError as error:
        return _refused(error, path)
    by_name = {cohort.name: cohort for cohort in cohorts}
    spellings = [each for cohort in cohorts for each in (cohort.name, *cohort.aliases)]
    plain = [re.sub("[^a-z0-9]", "", each.lower()) for each in spellings]
    assert len(set(plain)) == len(plain)
    for cohort in cohorts:
        _hold(cohort)
        assert registry.find(cohort.name.lower(), cohorts) is cohort
        assert cohort.name not in cohort.overlaps
        named = set(cohort.overlaps) - {registry_row.UNKNOWN}
        assert all(cohort.name in by_name[other].overlaps for other in named)
        assert named == set(cohort.overlaps) or not named
    assert sum(cohort.list == "core57" for cohort in cohorts) == 57
    return True


def row_of_the_registry(row: dict[str, str]) -> bool:
    """One row, text by column."""
    try:
        _hold(registry_row.parse("here", row))
    except InputError as error:
        return _refused(error, "here")
    for name in ("mpp_min", "mpp_max", "magnification", "slides", "patches"):
        # Digits as in the file's other rows: float() and int() take more.
        assert set(row[name]) <= set("0123456789.;eE+- \t")
    return True


def weights(path: Path) -> bool:
    """A file of torch, safetensors or npz."""
    try:
        found = foreign.tensors_of(path)
        arrays = {
            # What nobody would load: a shape of zero strides can be of any size.
            name: found.tensors[name]
            for name, stored in found.tensors.stored.items()
            if math.prod(stored.shape) < 10**6
        }
    except InputError as error:
        return _refused(error, path)
    for name, array in arrays.items():
        stored = found.tensors.stored[name]
        assert array.shape == stored.shape
        assert array.dtype.name == stored.dtype.replace("bfloat16", "float32")
    return True


PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
LICENSES = ("CC0-1.0", "CC-BY-", "LicenseRef-", "NOASSERTION")
SCHEMES = ("tfds", "gdc", "idc", "zenodo", "kaggle", "s3")


def mask_classes(text: str) -> bool:
    """What --mask-classes is given."""
    try:
        found = masks.parse_classes(text)
    except InputError as error:
        return _refused(error, "--mask-classes")
    assert 2 <= len(set(found.names)) == len(found.names) < masks.IGNORE
    assert all(name == name.strip() != "" and name.isprintable() for name in found.names)
    named = {number for number, _, _ in found.ranges} - {masks.IGNORE}
    assert named == set(range(len(found.names)))
    ordered = sorted((low, high) for _, low, high in found.ranges)
    flat = [value for pair in ordered for value in pair]
    assert flat == sorted(flat)
    assert len({low for low, _ in ordered} | {high for _, high in ordered}) >= len(ordered)
    return True


def _hold(cohort: registry_row.Cohort) -> None:
    for name in (cohort.name, *cohort.aliases):
        assert set(name) <= PLAIN
        assert name[0].isalnum()
    for address in filter(None, (cohort.url, cohort.mirror, cohort.form)):
        parts = urllib.parse.urlsplit(address)
        assert parts.scheme in ("http", "https", "s3")
        assert parts.netloc
        assert not set(address) & set(" \t")
    assert cohort.license.startswith(LICENSES)
    assert set(cohort.license) <= PLAIN - {"_"}
    for each in cohort.download:
        scheme, colon, name = each.partition(":")
        assert scheme in SCHEMES
        assert colon
        assert name
        assert set(name) <= PLAIN | {"/"}  # nothing that a shell would obey
    for name, choices in registry_row.CHOICES.items():
        assert getattr(cohort, name) in choices
    for field in dataclasses.fields(cohort):
        value = getattr(cohort, field.name)
        assert value or field.name not in registry_row.REQUIRED
        texts = value if isinstance(value, tuple) else (value,)
        assert all(text.isprintable() for text in texts if isinstance(text, str))
        assert "" not in texts or not isinstance(value, tuple)
    mpp = (cohort.mpp_min, cohort.mpp_max)
    assert mpp == (None, None) or 0.05 <= mpp[0] <= mpp[1] <= 20
    assert all(math.isfinite(power) and power > 0 for power in cohort.magnification)
    assert all(count is None or 0 < count < 10**9 for count in (cohort.slides, cohort.patches))


def _refused(error: InputError | SlideError, where: object) -> bool:
    """False, for an error of one line that says what is wrong, and of InputErrors where."""
    assert str(error).strip()
    assert str(error).isprintable()
    if isinstance(error, InputError):
        assert error.where.startswith(str(where))
        assert error.what
        assert error.way_out
    return False
