"""The commands that bring a cohort of the registry onto disk and into a record set.

Written for a POSIX shell, to be read and pasted; nothing here runs them. Lines that begin with "#"
say what no command can do.
"""

import json
import shlex
from pathlib import PurePath

from histo_simclr.prepare.registry_row import Cohort

# Where each client comes from; tfds needs none, prepare reads it.
CLIENTS = {
    "gdc": "gdc-client: https://gdc.cancer.gov/access-data/gdc-data-transfer-tool",
    "idc": "pip install idc-index",
    "zenodo": "pip install zenodo-get",
    "kaggle": "pip install kaggle, and accept the competition's rules",
    "s3": "pip install awscli",
}
PACKED = ("zenodo", "kaggle")  # archives as a rule
# µm/px asked of whole slides: 20x, of which most of the paper's patches are (its repository, #16).
SLIDE_MPP = 0.5


def commands(cohort: Cohort, data: PurePath, records: PurePath) -> list[str]:
    """The lines to run, in order: get access, download, prepare.

    Args:
      cohort: of the registry.
      data: folder of data folders; the cohort's lies in it under its name.
      records: folder of record sets.
    """
    folder = data / cohort.name
    lines = access(cohort)
    for each in cohort.download:
        scheme = each.split(":")[0]
        if scheme in CLIENTS:
            lines += [f"# client: {CLIENTS[scheme]}", *_download(scheme, each, folder)]
        if scheme in PACKED:
            lines.append(f"# unpack what came packed in {folder}")
    if not cohort.download:
        lines.append(f"# download by hand into {folder}, from {cohort.url}")
    if cohort.kind != "wsi" and not _has_one_mpp(cohort):
        lines.append("# its µm/px is not one number here: add --mpp if you know it, or a CSV's mpp")
    if cohort.kind == "both":
        here = shlex.quote(str(folder))
        lines.append(
            f"# move its whole slides into {here}/slides, other images into {here}/patches"
        )
        kinds = [("patch", cohort.name, folder / "patches")]
        kinds += [("wsi", f"{cohort.name}-slides", folder / "slides")]
        return lines + [prepare(cohort, *each, records) for each in kinds]
    if cohort.folders:
        folder /= "chosen"
        lines += _choose(cohort, folder)
    return [*lines, prepare(cohort, cohort.kind, cohort.name, folder, records)]


def access(cohort: Cohort) -> list[str]:
    """What has to be done before anything can be downloaded, as comments."""
    say = {
        "open": [],
        "registration": [f"# first a free account, and terms to accept: {cohort.url}"],
        "request": [f"# first ask for access: {cohort.form}"],
        "unknown": [f"# who may download it is not known here; see {cohort.url}"],
    }
    return say[cohort.obtain]


def prepare(cohort: Cohort, kind: str, name: str, folder: PurePath, records: PurePath) -> str:
    """The `histo-simclr prepare` line with all that the registry knows of the cohort.

    Args:
      cohort: of the registry.
      kind: wsi | patch, of what lies in the folder.
      name: the cohort's, or an alias.
      folder: of its images; not used of a set that TFDS has.
      records: folder of record sets.
    """
    tfds = [each for each in cohort.download if each.startswith("tfds:")]
    words = ["histo-simclr", "prepare", *(tfds or [str(folder)])]
    words += ["--name", name, "--out", str(records)]
    words += ["--pattern", "{split}/{label}/*"] if cohort.folders else []
    if kind == "wsi":
        words += ["--slides", "--mpp", f"{SLIDE_MPP:g}"]
    elif _has_one_mpp(cohort):
        words += ["--mpp", f"{cohort.mpp_min:g}"]
    if cohort.kind == "patch" and len(cohort.magnification) == 1:
        words += ["--magnification", f"{cohort.magnification[0]:g}"]
    words += ["--stain", ";".join(cohort.stain), "--organ", ";".join(cohort.organ)]
    words += ["--license", cohort.license, "--commercial-use", cohort.commercial_use]
    words += ["--url", cohort.url]
    words += ["--citation", cohort.citation] if cohort.citation != "unknown" else []
    return shlex.join(words)


def _choose(cohort: Cohort, folder: PurePath) -> list[str]:
    """Lines that link the folders to prepare, and no others, by the names of their splits."""
    pairs = (each.split("=") for each in cohort.folders)
    links = [shlex.join(["ln", "-s", f"../{name}", str(folder / split)]) for name, split in pairs]
    return [shlex.join(["mkdir", "-p", str(folder)]), *links]


def _has_one_mpp(cohort: Cohort) -> bool:
    return cohort.mpp_min is not None and cohort.mpp_min == cohort.mpp_max


def _download(scheme: str, source: str, folder: PurePath) -> list[str]:
    name = source.removeprefix(f"{scheme}:")
    here = shlex.quote(str(folder))
    make = f"mkdir -p {here}"
    if scheme == "s3":
        return [f"aws s3 sync --no-sign-request {source} {here}"]
    if scheme == "zenodo":
        return [f"zenodo_get --output-dir {here} {name}"]
    if scheme == "kaggle":
        return [make, f"kaggle competitions download -c {name} -p {here}"]
    if scheme == "gdc":
        return [make, _gdc_manifest(name, folder), f"gdc-client download -m {here}.txt -d {here}"]
    # Its command line cannot choose slides among the radiology of a collection.
    query = (
        f"SELECT SeriesInstanceUID FROM index WHERE collection_id = '{name}' AND Modality = 'SM'"
    )
    program = (
        f"from idc_index import IDCClient; client = IDCClient.client(); "
        f'series = client.sql_query("{query}").SeriesInstanceUID.tolist(); '
        f"client.download_from_selection(downloadDir={str(folder)!r}, seriesInstanceUID=series)"
    )
    return [make, shlex.join(["python", "-c", program])]


def _gdc_manifest(project: str, folder: PurePath) -> str:
    # Diagnostic slides only: those of frozen sections have freezing artefacts and thick cuts.
    filters = {
        "op": "and",
        "content": [
            {"op": "=", "content": {"field": field, "value": value}}
            for field, value in (
                ("cases.project.project_id", project),
                ("data_type", "Slide Image"),
                ("experimental_strategy", "Diagnostic Slide"),
            )
        ],
    }
    words = ["curl", "--fail", "--get", "https://api.gdc.cancer.gov/files"]
    words += ["--data-urlencode", f"filters={json.dumps(filters, separators=(',', ':'))}"]
    words += ["--data", "size=100000", "--data", "return_type=manifest"]
    return shlex.join([*words, "--output", f"{folder}.txt"])
