import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from histo_simclr import cli
from histo_simclr.errors import InputError
from histo_simclr.prepare import datasets, registry

COHORTS = registry.load()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(capsys):
    """Runs `histo-simclr datasets` and returns its stdout; or its error's one line."""

    def call(*arguments, code=0):
        assert cli.main(["datasets", *map(str, arguments)]) == code
        out, err = capsys.readouterr()
        return err if code else out

    return call


def _select(**given):
    settings = {"organ": None, "stain": None, "commercial": False, "core": False} | given
    return [cohort.name for cohort in datasets.select(COHORTS, **settings)]


def test_without_filters_all_cohorts_are_listed_in_order(run):
    lines = run().splitlines()
    titles, rows = lines[0], lines[1:137]
    assert [row.split()[0] for row in rows] == [cohort.name for cohort in COHORTS]
    assert lines[137] == ""
    assert lines[138].startswith("136 cohorts; ")
    for word in ("list", "organ", "license", "obtain"):  # one column under its title
        column = titles.index(word)
        assert {row[column - 1] for row in rows} == {" "}
        assert " " not in {row[column] for row in rows}


def test_filters_narrow_together(run):
    assert _select(organ="Pancreas") == ["TCGA-PAAD", "CPTAC-PDA"]
    assert _select(organ="pancreas", commercial=True) == ["CPTAC-PDA"]
    assert _select(stain="pas") == ["ANHIR", "AIDPATH", "HuBMAP-kidney"]
    assert _select(stain="pas", core=True) == ["ANHIR"]
    assert len(_select(core=True)) == 57
    lines = run("--stain", "PAS", "--organ", "kidney").splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["ANHIR", "AIDPATH", "HuBMAP-kidney"]


def test_commercial_means_said_so_not_unknown():
    names = set(_select(commercial=True))
    assert {"CAMELYON16", "NCT-CRC-HE-100K", "CPTAC-LUAD"} <= names
    assert not names & {"BACH", "LC25000", "TCGA-ACC", "GTEx"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--organ", "brest"), "--organ: no cohort has 'brest'; there is breast"),
        (("--stain", "HE"), "--stain: no cohort has 'HE'; there is "),
        (("--organ", "testis", "--commercial"), "the filters: no cohort left; "),
        (("camelyon61",), "NAME: no cohort 'camelyon61' in the registry; did you mean CAMELYON1"),
        (("GlaS", "--core"), "--core: a cohort and a filter; give the name or filters"),
        (("--check", "/no/such/folder"), "/no/such/folder: cannot be listed"),
    ],
)
def test_bad_input_is_one_line_with_the_way_out(run, arguments, words):
    error = run(*arguments, code=2)
    assert error.startswith(f"error: {words}")
    assert error.count("\n") == 1


def test_one_cohort_is_shown_with_terms_overlaps_citation_and_commands(run):
    text = run("camelyon16")
    for words in (
        r"license +CC0-1.0\n",
        r"commercial use +yes\n",
        r"µm/px +0.226-0.243\n",
        r"slides +400\n",
        r"overlaps +PCam\n",
        r"citation +Ehteshami Bejnordi et al\., .*doi:10\.1001/jama\.2017\.14585\n",
        r"\naws s3 sync --no-sign-request s3://camelyon-dataset/CAMELYON16 raw/CAMELYON16\n",
        r"\nhisto-simclr prepare raw/CAMELYON16 --name CAMELYON16 --out records .*\n$",
    ):
        assert re.search(words, text), words


def test_overlaps_that_nobody_looked_for_are_not_called_none(run):
    assert re.search(r"overlaps +unknown\n", run("Kather-tumor-detection"))
    assert re.search(r"overlaps +none known\n", run("CPTAC-LUAD"))


def test_json_holds_every_field_and_the_commands(run):
    content = json.loads(run("--json", "--core"))
    assert len(content) == 57
    for row, cohort in zip(content, COHORTS, strict=False):
        row["commands"] = row["commands"][-1].split()[:2]
        lists = {name: list(v) for name, v in vars(cohort).items() if isinstance(v, tuple)}
        assert row == vars(cohort) | lists | {"commands": ["histo-simclr", "prepare"]}


@pytest.fixture
def folder(tmp_path, images):
    """PAIP2019 whole (100 slides), BreCaHAD in part (162 images), PanNuke of unknown size."""
    names = [f"paip2019/{i}.svs" for i in range(100)]
    names += ["BreCaHAD/1.tif", "PanNuke/1.png", "GTEx/1.svs", "mine/1.png"]
    return images.tree(tmp_path, dict.fromkeys(names, b""))


def test_check_says_what_is_there_whole_and_what_is_missing(run, folder):
    text = run("--check", folder, "--core")
    assert re.search(r"\npaip2019 +PAIP2019 +files +complete +100 of 100 ", text)
    assert re.search(r"\nBreCaHAD +BreCaHAD +files +incomplete +- +1 of 162\n", text)
    assert re.search(r"\nPanNuke +PanNuke +files +unknown +- +1 of \?\n", text)
    assert "GTEx" not in text  # in the registry, outside the filter
    assert re.search(r"\nCAMELYON16 +open s3://camelyon-dataset/CAMELYON16 +https://", text)
    assert "not in the registry: mine\n" in text
    assert text.splitlines()[-1] == (
        f"{folder}: 1 complete, 1 incomplete, 1 unknown, 54 of 57 cohorts missing; "
        "how to get one: histo-simclr datasets TCGA-ACC"
    )


def test_check_of_one_cohort_and_of_an_empty_folder(run, folder, tmp_path):
    text = run("PAIP2019", "--check", folder)
    assert text.endswith("1 complete, 0 of 1 cohorts missing\n")
    (tmp_path / "empty").mkdir()
    text = run("PAIP2019", "--check", tmp_path / "empty")
    assert text.endswith("1 of 1 cohorts missing; how to get one: histo-simclr datasets PAIP2019\n")


def test_check_as_json(run, folder):
    report = json.loads(run("--check", folder, "--json"))
    assert [(each["cohort"], each["state"], each["slides"]) for each in report["held"]] == [
        ("BreCaHAD", "incomplete", None),
        ("GTEx", "incomplete", 1),
        ("PanNuke", "unknown", None),
        ("PAIP2019", "complete", 100),  # its folder is paip2019
    ]
    assert report["held"][0]["folder"] == str(folder / "BreCaHAD")
    assert report["foreign"] == ["mine"]
    missing = {each["name"]: each["commands"] for each in report["missing"]}
    assert len(missing) == len(COHORTS) - 4
    assert f" {folder}/CAMELYON16" in missing["CAMELYON16"][1]


def test_a_filter_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="no cohort left"):
        _select(organ="testis", core=True)


def test_a_reader_that_has_enough_is_no_error():
    program = f"{sys.executable} -m histo_simclr datasets --json | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[\n", "", 0)
