import argparse
import ast
import importlib.util
import json
import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from histo_simclr import cli
from histo_simclr.prepare import acquire, holdings, record_set, registry

COHORTS = registry.load()
DATA, RECORDS = PurePosixPath("my data"), PurePosixPath("rec")


def _named(name):
    return registry.find(name, COHORTS)


def _commands(name):
    return acquire.commands(_named(name), DATA, RECORDS)


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return cli.parser("prepare")


PREPARED = [
    (cohort, line)
    for cohort in COHORTS
    for line in acquire.commands(cohort, DATA, RECORDS)
    if line.startswith("histo-simclr")
]


def test_a_cohort_of_slides_and_patches_has_a_line_for_each(parser):
    lines = [(cohort, parser.parse_args(shlex.split(line)[1:])) for cohort, line in PREPARED]
    for cohort in COHORTS:
        found = [args.slides for each, args in lines if each is cohort]
        assert found == {"wsi": [True], "patch": [False], "both": [False, True]}[cohort.kind]
    known = registry.by_spelling(COHORTS)
    for cohort, args in lines:
        assert registry.identity(args.name, known) == registry.folded(cohort.name)
    assert len({record_set.slug(args.name) for _, args in lines}) == len(lines)


@pytest.mark.parametrize(
    ("cohort", "line"), PREPARED, ids=[f"{each.name}-{i}" for i, (each, _) in enumerate(PREPARED)]
)
def test_the_prepare_line_means_what_the_registry_says(cohort, line, parser):
    program, *arguments = shlex.split(line)
    assert program == "histo-simclr"
    args = parser.parse_args(arguments)
    assert args.out == Path("rec")
    assert args.name == cohort.name + "-slides" * (cohort.kind == "both" and args.slides)
    tfds = {"PCam": "patch_camelyon", "Kather-texture-2016": "colorectal_histology"}
    folder = f"my data/{cohort.name}"
    if cohort.kind == "both":
        folder += "/slides" if args.slides else "/patches"
    folder += "/chosen" * bool(cohort.folders)
    if args.slides:
        assert args.mpp == "0.5"
    powers = cohort.magnification
    is_told = cohort.kind == "patch" and len(powers) == 1
    assert args.magnification == (powers[0] if is_told else 0)
    assert args.source == [f"tfds:{tfds[cohort.name]}" if cohort.name in tfds else folder]
    assert args.stain.split(";") == list(cohort.stain)
    assert args.organ.split(";") == list(cohort.organ)
    assert (args.license, args.commercial_use) == (cohort.license, cohort.commercial_use)
    assert args.url == cohort.url
    assert args.citation == ("" if cohort.citation == "unknown" else cohort.citation)
    if not args.slides and cohort.mpp_min == cohort.mpp_max and cohort.mpp_min:
        assert float(arguments[arguments.index("--mpp") + 1]) == cohort.mpp_min


def test_all_lines_together_are_a_shell_script():
    """Checked by bash itself, which reads without running."""
    lines = [line for each in COHORTS for line in acquire.commands(each, DATA, RECORDS)]
    assert len(lines) > len(COHORTS)
    assert not [line for line in lines if "\n" in line]
    subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, check=True)


def test_tcga_asks_for_the_diagnostic_slides_of_its_project():
    client, make, manifest, download, _ = _commands("TCGA-ACC")
    assert client.startswith("# client: gdc-client")
    assert shlex.split(make) == ["mkdir", "-p", "my data/TCGA-ACC"]
    words = shlex.split(manifest)
    given = next(word for word in words if word.startswith("filters="))
    conditions = json.loads(given.removeprefix("filters="))["content"]
    assert {each["content"]["field"]: each["content"]["value"] for each in conditions} == {
        "cases.project.project_id": "TCGA-ACC",
        "data_type": "Slide Image",
        "experimental_strategy": "Diagnostic Slide",
    }
    written = words[words.index("--output") + 1]
    assert shlex.split(download) == [
        *("gdc-client", "download", "-m", written, "-d", "my data/TCGA-ACC")
    ]


def test_cptac_asks_for_the_slides_among_its_radiology():
    line = _commands("CPTAC-LUAD")[-2]
    python, flag, program = shlex.split(line)
    assert (python, flag) == ("python", "-c")
    strings = [
        node.value for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Constant)
    ]
    assert "my data/CPTAC-LUAD" in strings
    query = next(text for text in strings if text.startswith("SELECT"))
    assert query.endswith("WHERE collection_id = 'cptac_luad' AND Modality = 'SM'")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "CAMELYON16",
            "aws s3 sync --no-sign-request s3://camelyon-dataset/CAMELYON16 'my data/CAMELYON16'",
        ),
        ("BACH", "zenodo_get --output-dir 'my data/BACH' 3632035"),
        (
            "PANDA",
            "kaggle competitions download -c prostate-cancer-grade-assessment -p 'my data/PANDA'",
        ),
    ],
)
def test_other_clients_get_name_and_folder(name, words):
    assert words in _commands(name)


def test_several_downloads_of_one_cohort_all_come():
    lines = "\n".join(_commands("Kather-MSI"))
    assert " 2530835\n" in lines
    assert " 2532612\n" in lines


@pytest.mark.parametrize("name", ["PCam", "Kather-texture-2016"])
def test_a_tfds_set_is_one_that_tfds_has(name):
    commands = _commands(name)
    assert len(commands) == 1  # prepare downloads it
    source = shlex.split(commands[0])[2].removeprefix("tfds:")
    # Found, not imported: that takes seconds.
    folder = Path(importlib.util.find_spec("tensorflow_datasets").origin).parent
    assert [*folder.glob(f"*/{source}"), *folder.glob(f"*/{source}.py")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PAIP2019", "# first ask for access: https://paip2019.grand-challenge.org/"),
        ("ANHIR", "# first a free account, and terms to accept: https://anhir.grand-challenge"),
        ("GlaS", "# who may download it is not known here; see https://warwick.ac.uk/"),
    ],
)
def test_what_no_command_can_do_is_said_first(name, words):
    assert _commands(name)[0].startswith(words)


def test_a_resolution_that_is_no_single_number_is_left_to_the_user(parser):
    lines = _commands("BACH")
    assert any("add --mpp" in line for line in lines)
    assert "--mpp" not in shlex.split(lines[-2])
    assert not any("add --mpp" in line for line in _commands("NCT-CRC-HE-100K"))


def test_folders_of_the_registry_are_prepared_and_no_others(tmp_path, images, monkeypatch, capsys):
    """The download of NCT-CRC-HE-100K holds the same tissue once more, not normalized."""
    folders = ("NCT-CRC-HE-100K", "NCT-CRC-HE-100K-NONORM", "CRC-VAL-HE-7K")
    names = [
        f"raw/NCT-CRC-HE-100K/{each}/{c}/{c}-1.tif" for each in folders for c in ("ADI", "TUM")
    ]
    tiff = {name: images.encode(images.pixels(32, 32, i), "TIFF") for i, name in enumerate(names)}
    monkeypatch.chdir(images.tree(tmp_path, tiff))
    cohort = _named("NCT-CRC-HE-100K")
    *lines, prepare = acquire.commands(cohort, PurePosixPath("raw"), PurePosixPath("records"))
    links = "\n".join(line for line in lines if not line.startswith("zenodo_get"))
    subprocess.run(["bash", "-e"], input=links, text=True, check=True)
    assert cli.main([*shlex.split(prepare)[1:], "--px", "32", "--workers", "1"]) == 0
    path = Path("records/nct_crc_he_100k/1.0.0")
    info = json.loads((path / "record_set.json").read_text())
    assert (info["counts"], info["rejected"]) == ({"test": 2, "train": 2}, 0)
    assert info["class_names"] == ["ADI", "TUM"]
    (held,), _ = holdings.check(Path("raw"), COHORTS)
    assert held.patches == 4
