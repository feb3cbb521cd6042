"""One row of the registry: what its fields mean, and whether they hold what they may."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from histo_simclr.errors import InputError

CHOICES = {
    "list": ("core57", "more"),
    "kind": ("wsi", "patch", "both"),
    "obtain": ("open", "registration", "request", "unknown"),
    "commercial_use": ("yes", "no", "unknown"),
    "in_paper": ("sourced", "memory", "reconstructed"),
}
REQUIRED = ("name", "organ", "stain", "task", "url", "license", "citation")
LISTS = ("aliases", "organ", "stain", "task", "download", "folders", "overlaps")
UNKNOWN = "unknown"  # in `overlaps`: nobody looked for them
# One name on a command line and one folder name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_URL = re.compile(r"(https?|s3)://[\w.-]+(/\S*)?")
# An SPDX identifier of those in use here, an own reference, or SPDX's word for "not stated".
_LICENSE = re.compile(
    r"CC0-1\.0|CC-BY(-NC)?(-SA|-ND)?-[34]\.0|LicenseRef-[A-Za-z0-9.-]+|NOASSERTION"
)
# Each scheme has its client in acquire.py.
_DOWNLOAD = re.compile(
    r"tfds:\w+|gdc:[A-Z0-9-]+|idc:\w+|zenodo:\d+|kaggle:[a-z0-9-]+|s3://[\w.-]+(/[\w./-]*)?"
)
# A folder and the split that its images belong to.
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*=[a-z]+")
_MPP = (0.05, 20.0)  # µm/px: an oil-immersion scan; a thumbnail
_ADDRESS = "give an address that begins with https://, http:// or s3://"
_PATTERNS = {
    "name": (_NAME, "use letters, digits, '.', '_' and '-'"),
    "url": (_URL, _ADDRESS),
    "mirror": (_URL, f"{_ADDRESS}, or none"),
    "form": (_URL, f"{_ADDRESS}, or none"),
    "license": (_LICENSE, "give an SPDX identifier, LicenseRef-NAME or NOASSERTION"),
}
Refuse = Callable[[str, str, str], InputError]


@dataclass(frozen=True)
class Cohort:
    """One row of the registry. In the file, several values in one field are parted by ";".

    Attributes:
      name: unique; letters, digits, ".", "_" and "-".
      aliases: other names that it, or a part of it, goes by: its publisher's, TFDS's, those of the
        embedded record sets; no name and no alias stands twice, but for case and punctuation.
      list: core57 (our reconstruction of the paper's 57) | more (further public cohorts).
      organ: organs; "multiple" where the source names no list.
      stain: stains.
      mpp_min: smallest µm/px of the images; None when not stated.
      mpp_max: largest; equal to mpp_min where there is one resolution.
      magnification: objective powers as stated; empty when not stated.
      kind: wsi | patch | both.
      task: what its labels are for, with the number of classes; "none" without labels.
      slides: how many whole slides its source counts; None when not known.
      patches: how many images that are no whole slides; None when not known.
      url: landing page.
      mirror: second place; may be empty.
      obtain: open (no account) | registration (a free account, terms to accept) | request (someone
        has to grant it) | unknown.
      download: what a client fetches, as SCHEME:NAME of tfds, gdc (NCI's Genomic Data Commons),
        idc (its Imaging Data Commons), zenodo, kaggle or s3; empty: by hand, from `url`.
      folders: of the unpacked download those to prepare, as FOLDER=SPLIT, each with a folder a
        class; empty: all of it, as it is.
      form: where the request is made; empty where none is needed.
      overlaps: cohorts that share slides or pixels with this one, in the order of the file. There,
        one of the two rows names the other, or PREFIX* for all names that begin so; here both do.
        UNKNOWN alone where nobody looked; empty where none is known.
      license: SPDX identifier, LicenseRef-…, or NOASSERTION when none is stated.
      license_note: the source's own words where they say more than `license`; may be empty.
      commercial_use: yes | no | unknown, of weights trained on it as much as of the images.
      citation: whom to credit; "unknown" when not known.
      in_paper: sourced (a public source names it as used in the paper) | memory (a member of
        TCGA or CPTAC, which a source names; the member is inferred) | reconstructed (a public
        dataset of that time that fits the paper's description; nobody names it).
      note: anything else; may be empty.
    """

    name: str
    aliases: tuple[str, ...]
    list: str
    organ: tuple[str, ...]
    stain: tuple[str, ...]
    mpp_min: float | None
    mpp_max: float | None
    magnification: tuple[float, ...]
    kind: str
    task: tuple[str, ...]
    slides: int | None
    patches: int | None
    url: str
    mirror: str
    obtain: str
    download: tuple[str, ...]
    folders: tuple[str, ...]
    form: str
    overlaps: tuple[str, ...]
    license: str
    license_note: str
    commercial_use: str
    citation: str
    in_paper: str
    note: str


def parse(where: str, row: dict[str, str]) -> Cohort:
    """A checked row; `overlaps` stays as it stands in the file.

    Args:
      where: file and line, for the error.
      row: text by column name, all columns of Cohort.

    Raises:
      InputError: a field is out of its range. Names the column.
    """

    def refuse(column: str, what: str, way_out: str) -> InputError:
        return InputError(f"column {column}: {what}", where=where, way_out=way_out)

    _check_words(row, refuse)
    _check_terms(row, refuse)
    lists = {name: _several(row[name]) for name in LISTS}
    for name, parts in lists.items():
        if "" in parts:
            raise refuse(name, f"{row[name]!r}: an empty part", "delete the ';' too many")
    for each in lists["aliases"]:
        if not _NAME.fullmatch(each):
            raise refuse("aliases", f"{each!r}", _PATTERNS["name"][1])
    for each in lists["download"]:
        if not _DOWNLOAD.fullmatch(each):
            raise refuse("download", f"{each!r}", "give tfds:, gdc:, idc:, zenodo:, kaggle:, s3://")
    counts = {name: _count(name, row[name], refuse) for name in ("slides", "patches")}
    for each in lists["folders"]:
        if not _FOLDER.fullmatch(each):
            raise refuse("folders", f"{each!r}", "give FOLDER=SPLIT, parted by ';'")
    if UNKNOWN in lists["overlaps"] and len(lists["overlaps"]) > 1:
        raise refuse("overlaps", row["overlaps"], f"give names, or {UNKNOWN} alone")
    return Cohort(**row | lists | counts | _numbers(row, refuse))


def _check_words(row: dict[str, str], refuse: Refuse) -> None:
    for name, text in row.items():
        # A terminal would obey them; a line break in a field hides what follows.
        if not text.isprintable():
            raise refuse(name, "unprintable characters", "write plain text in one line")
    for name in REQUIRED:
        if not row[name]:
            raise refuse(name, "empty", "fill it in; what is not known has a word of its own")
    for name, choices in CHOICES.items():
        if row[name] not in choices:
            raise refuse(name, f"{row[name]!r}", f"one of {', '.join(choices)}")
    for name, (pattern, way_out) in _PATTERNS.items():
        if (row[name] or name in REQUIRED) and not pattern.fullmatch(row[name]):
            raise refuse(name, f"{row[name]!r}", way_out)


def _check_terms(row: dict[str, str], refuse: Refuse) -> None:
    if "-NC-" in row["license"] and row["commercial_use"] != "no":
        raise refuse("commercial_use", f"{row['license']} forbids it", "set no")
    if row["license"] == "NOASSERTION" and row["commercial_use"] == "yes":
        raise refuse("commercial_use", "no license says so", "set unknown")
    if row["obtain"] == "request" and not row["form"]:
        raise refuse("form", "empty", "say where the request is made")


def _numbers(row: dict[str, str], refuse: Refuse) -> dict[str, Any]:
    numbers = {}
    for name in ("mpp_min", "mpp_max", "magnification"):
        try:
            numbers[name] = tuple(_decimal(value) for value in _several(row[name]))
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
    mpp = {"mpp_min": smallest[0], "mpp_max": largest[0]} if smallest else None
    return numbers | (mpp or {"mpp_min": None, "mpp_max": None})


def _decimal(text: str) -> float:
    # float() takes 0_5 for 5, and other scripts' digits.
    if "_" in text or not text.isascii():
        raise ValueError
    return float(text)


def _count(name: str, text: str, refuse: Refuse) -> int | None:
    if not text:
        return None
    # ASCII: int() takes other digits, and signs, too.
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise refuse(name, f"{text!r}: no count", "set 1 or more, or leave it empty")
    return int(text)


def _several(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";")) if text else ()
