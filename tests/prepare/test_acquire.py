import argparse
import ast
import importlib.util
import json
import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from histo_simclr import cli
from histo_simclr.prepare import acquire, registry

COHORTS = registry.load()
DATA, RECORDS = PurePosixPath("my data"), PurePosixPath("rec")


def _named(name):
    return registry.find(name, COHORTS)


def _commands(name):
    return acquire.commands(_named(name), DATA, RECORDS)


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return cli.parser("prepare")


@pytest.mark.parametrize("cohort", COHORTS, ids=lambda cohort: cohort.name)
def test_the_prepare_line_means_what_the_registry_says(cohort, parser):
    program, *arguments = shlex.split(acquire.prepare(cohort, DATA, RECORDS))
    assert program == "histo-simclr"
    args = parser.parse_args(arguments)
    assert (args.name, args.out) == (cohort.name, Path("rec"))
    tfds = {"PCam": "patch_camelyon", "Kather-texture-2016": "colorectal_histology"}
    folder = f"my data/{cohort.name}"
    assert args.source == [f"tfds:{tfds[cohort.name]}" if cohort.name in tfds else folder]
    assert args.stain.split(";") == list(cohort.stain)
    assert args.organ.split(";") == list(cohort.organ)
    assert (args.license, args.commercial_use) == (cohort.license, cohort.commercial_use)
    assert args.url == cohort.url
    assert args.citation == ("" if cohort.citation == "unknown" else cohort.citation)
    if cohort.kind != "wsi" and cohort.mpp_min == cohort.mpp_max and cohort.mpp_min:
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
    assert "--mpp" not in shlex.split(lines[-1])
    assert not any("add --mpp" in line for line in _commands("NCT-CRC-HE-100K"))
