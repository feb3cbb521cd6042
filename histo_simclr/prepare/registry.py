"""The cohorts of the paper: reads data/datasets.csv and checks every field. Fetches nothing.

The paper names few of its 57 datasets; `in_paper` says how each row came to be here. Licenses are
as their publishers state them and have to be checked again before any redistribution.
"""

import csv
import re
from dataclasses import dataclass, fields
from pathlib import Path

from histo_simclr.errors import InputError

REGISTRY = Path(__file__).parents[2] / "data" / "datasets.csv"
COHORTS = 57  # arXiv 2011.13971 v2, abstract

CHOICES = {
    "kind": ("wsi", "patch", "both"),
    "commercial_use": ("yes", "no", "unknown"),
    "in_paper": ("sourced", "memory", "reconstructed"),
}
REQUIRED = ("name", "organ", "stain", "task", "url", "license")
# One name on a command line and one folder name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_URL = re.compile(r"(https?|s3)://[\w.-]+(/\S*)?")
# An SPDX identifier of those in use here, an own reference, or SPDX's word for "not stated".
_LICENSE = re.compile(
    r"CC0-1\.0|CC-BY(-NC)?(-SA|-ND)?-[34]\.0|LicenseRef-[A-Za-z0-9.-]+|NOASSERTION"
)
_MPP = (0.05, 20.0)  # µm/px: an oil-immersion scan; a thumbnail


@dataclass(frozen=True)
class Cohort:
    """One row of the registry. In the file, several values in one field are parted by ";".

    Attributes:
      name: unique; letters, digits, ".", "_" and "-".
      organ: organs; "multiple" where the source names no list.
      stain: stains.
      mpp_min: smallest µm/px of the images; None when not stated.
      mpp_max: largest; equal to mpp_min where there is one resolution.
      magnification: objective powers as stated; empty when not stated.
      kind: wsi | patch | both.
      task: what its labels are for, with the number of classes; "none" without labels.
      url: landing page.
      mirror: second place; may be empty.
      license: SPDX identifier, LicenseRef-…, or NOASSERTION when none is stated.
      license_note: the source's own words where they say more than `license`; may be empty.
      commercial_use: yes | no | unknown, of weights trained on it as much as of the images.
      in_paper: sourced (a public source names it as used in the paper) | memory (a member of
        TCGA or CPTAC, which a source names; the member is inferred) | reconstructed (a public
        dataset of that time that fits the paper's description; nobody names it).
      note: anything else; may be empty.
    """

    name: str
    organ: tuple[str, ...]
    stain: tuple[str, ...]
    mpp_min: float | None
    mpp_max: float | None
    magnification: tuple[float, ...]
    kind: str
    task: tuple[str, ...]
    url: str
    mirror: str
    license: str
    license_note: str
    commercial_use: str
    in_paper: str
    note: str


def load(path: str | Path = REGISTRY) -> tuple[Cohort, ...]:
    """Reads and checks a registry.

    Returns:
      The cohorts, in the order of the file.

    Raises:
      InputError: the file is missing or no UTF-8 CSV, its columns are not those of Cohort, a field
        is out of its range, a name stands twice, or there are not 57 rows. Names line and column.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            lines = [(reader.line_num, values) for values in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot be read ({error})",
            where=path,
            way_out="the registry lies in data/datasets.csv of the repository; restore it",
        ) from error
    _check_header(path, header)
    cohorts, line_of = [], {}
    for line, values in lines:
        cohort = _parse(path, line, header, values)
        if cohort.name in line_of:
            raise InputError(
                f"column name: {cohort.name} stands in line {line_of[cohort.name]} too",
                where=f"{path}, line {line}",
                way_out="give each cohort one row",
            )
        line_of[cohort.name] = line
        cohorts.append(cohort)
    if len(cohorts) != COHORTS:
        raise InputError(
            f"{len(cohorts)} cohorts, the paper has {COHORTS}",
            where=path,
            way_out="restore the missing rows, or take out those that are too many",
        )
    return tuple(cohorts)


def _check_header(path: Path, header: list[str]) -> None:
    wanted = [field.name for field in fields(Cohort)]
    if header != wanted:
        absent = [name for name in wanted if name not in header]
        unknown = [name for name in header if name not in wanted]
        found = f"missing columns {absent}, unknown columns {unknown}"
        raise InputError(
            found if absent or unknown else "columns in another order, or twice",
            where=f"{path}, line 1",
            way_out=f"the columns are {','.join(wanted)}",
        )


def _parse(path: Path, line: int, header: list[str], values: list[str]) -> Cohort:
    def refuse(column: str, what: str, way_out: str) -> InputError:
        return InputError(f"column {column}: {what}", where=f"{path}, line {line}", way_out=way_out)

    if len(values) != len(header):
        raise refuse(
            header[min(len(values), len(header) - 1)],
            f"{len(values)} fields, the header has {len(header)}",
            "quote fields with a comma inside",
        )
    row = {name: value.strip() for name, value in zip(header, values, strict=True)}
    for name in REQUIRED:
        if not row[name]:
            raise refuse(name, "empty", "fill it in; what is not known has a word of its own")
    for name, choices in CHOICES.items():
        if row[name] not in choices:
            raise refuse(name, f"{row[name]!r}", f"one of {', '.join(choices)}")
    for name, pattern, way_out in (
        ("name", _NAME, "use letters, digits, '.', '_' and '-'"),
        ("url", _URL, "give an address that begins with https://, http:// or s3://"),
        ("mirror", _URL, "give an address that begins with https://, http:// or s3://, or none"),
        ("license", _LICENSE, "give an SPDX identifier, LicenseRef-NAME or NOASSERTION"),
    ):
        if (row[name] or name in REQUIRED) and not pattern.fullmatch(row[name]):
            raise refuse(name, f"{row[name]!r}", way_out)
    if "-NC-" in row["license"] and row["commercial_use"] != "no":
        raise refuse("commercial_use", f"{row['license']} forbids it", "set no")
    numbers = {}
    for name in ("mpp_min", "mpp_max", "magnification"):
        try:
            numbers[name] = tuple(float(value) for value in _several(row[name]))
        except ValueError:
            raise refuse(name, f"{row[name]!r}: no number", "set one, or leave it empty") from None
    smallest, largest = numbers["mpp_min"], numbers["mpp_max"]
    if not len(smallest) == len(largest) <= 1 or smallest > largest:
        raise refuse("mpp_max", "no range with mpp_min", "set both, the smaller first, or neither")
    if any(not _MPP[0] <= value <= _MPP[1] for value in smallest + largest):
        raise refuse(
            "mpp_min",
            f"{row['mpp_min']} to {row['mpp_max']} µm/px",
            f"set values from {_MPP[0]} to {_MPP[1]}",
        )
    if any(not 1 <= value <= 100 for value in numbers["magnification"]):
        raise refuse("magnification", row["magnification"], "set objective powers from 1 to 100")
    lists = {name: _several(row[name]) for name in ("organ", "stain", "task")}
    mpp = {"mpp_min": smallest[0], "mpp_max": largest[0]} if smallest else None
    return Cohort(**row | numbers | lists | (mpp or {"mpp_min": None, "mpp_max": None}))


def _several(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";")) if text else ()
