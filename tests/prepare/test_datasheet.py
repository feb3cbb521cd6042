import hashlib
import json
import logging
import shlex
import warnings

import pytest

from histo_simclr import cli, records
from histo_simclr.prepare import mix as mixing
from histo_simclr.prepare import wording


@pytest.fixture
def labelled(tmp_path, images):
    """Folder of 4 train patches of classes a and b, 2 test patches of a, and an empty file."""
    names = ["train/a/1", "train/a/2", "train/b/3", "train/b/4", "test/a/5", "test/a/6"]
    files = {f"{name}.jpg": images.encode(images.pixels(32, 32, int(name[-1]))) for name in names}
    return images.tree(tmp_path / "source", files | {"train/a/0.jpg": b""})


@pytest.fixture
def record_set(prepare, labelled):
    return prepare(labelled, pattern="{split}/{label}/*", max_rejected=0.5)


@pytest.fixture
def mixed(record_set, tmp_path):
    rules = mixing.Rules(near="report", max_per_slide=3)
    given = {"size": 3, "draw": "even", "px": None, "seed": 7}
    return mixing.mix([record_set], out=tmp_path / "m", rules=rules, stain_patches=2, **given)


def croissant(folder):
    """The document as mlcroissant reads it, which fails on errors; and what it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        import mlcroissant

        dataset = mlcroissant.Dataset(folder / "croissant.json")
        return dataset, dataset.metadata.ctx.issues.warnings


@pytest.mark.parametrize("kind", ["record_set", "mixed"])
def test_croissant_is_valid_and_gives_the_rows_back(kind, request, caplog):
    folder = request.getfixturevalue(kind)
    with caplog.at_level(logging.WARNING):
        dataset, complaints = croissant(folder)
    # Left out on purpose: equal data have equal bytes.
    assert all("datePublished" in each for each in complaints), complaints
    assert "context" not in caplog.text
    file = "manifest.parquet" if kind == "record_set" else "index.parquet"
    expected = records.read_parquet(folder / file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = list(dataset.records("patches"))
    assert len(rows) == len(expected["key"])
    for name in ("key", "mpp", "offset", "pixels_sha256"):
        found = [row[f"patches/{name}"] for row in rows]
        found = [each.decode() if isinstance(each, bytes) else each for each in found]
        assert found == expected[name].tolist()


@pytest.mark.parametrize("kind", ["record_set", "mixed"])
def test_croissant_names_every_data_file_with_its_checksum(kind, request):
    folder = request.getfixturevalue(kind)
    content = json.loads((folder / "croissant.json").read_text())
    listed = {each["contentUrl"]: each["sha256"] for each in content["distribution"]}
    others = {"README.md", "LICENSE", "counts.png", "croissant.json", "label.labels.txt"}
    there = {path.name for path in folder.iterdir()} - others
    assert there == listed.keys()
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def collected(folder):
    return json.loads((folder / "croissant.json").read_text())["rai:dataCollection"]


def test_croissant_refers_to_a_citation_only_where_there_is_one(record_set, mixed, tmp_path):
    said = "Patches of published images; see citeAs for how these were collected."
    assert collected(record_set) == collected(mixed) == said
    sets = [{"cohort": "a", "citation": "Doe"}, {"cohort": "b", "citation": ""}]
    assert wording.collection(sets) == f"{said} Of b no publication was named."
    assert wording.collection(sets[1:]) == "Patches of images of which no publication was named."


def test_record_set_says_what_it_holds(record_set):
    text = (record_set / "README.md").read_text()
    columns = records.read_parquet(record_set / "manifest.parquet")
    lines = "".join(
        f"{key}\t{pixels}\n"
        for key, pixels in zip(columns["key"], columns["pixels_sha256"], strict=True)
    )
    assert f"`{hashlib.sha256(lines.encode()).hexdigest()}`" in text
    mean = " ".join(f"{columns[f'mean_{c}'].mean():.4f}" for c in "rgb")
    for line in (
        "# Set A: 6 patches of 32 px",
        "| classes | a, b |",
        "| train, b | 2 |",
        "| licence | CC0-1.0; commercial use: yes |",
        f"| mean, std of R G B | {mean}, ",
        "- 1: zero bytes",
    ):
        assert line in text
    assert (record_set / "counts.png").is_file()


def test_mix_says_what_it_holds_and_what_it_left_out(mixed):
    text = (mixed / "README.md").read_text()
    info = json.loads((mixed / "mix.json").read_text())
    for line in (
        "# m: 3 patches of 32 px",
        f"`{info['digest']}`",
        "commercial use | **yes**: ",
        "| Set A | 3 | 4 | 0 | 0 | colon | H&E | CC0-1.0; commercial use: yes |",
        "- Doe 2020",
    ):
        assert line in text
    assert "## Left out\n\nNothing." in text


def made_by(folder):
    words = shlex.split((folder / "README.md").read_text().split("```")[1])
    assert words[0] == "histo-simclr"
    return words[1:]


def test_command_of_a_record_set_makes_its_bytes_again(record_set, labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(labelled.parent)
    words = [word.replace("RECORDS", "again") for word in made_by(record_set)]
    assert cli.main(words) == 0
    again = tmp_path / "again/set_a/1.0.0"
    for path in record_set.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_command_of_a_mix_makes_its_rows_again(mixed, tmp_path, monkeypatch):
    (tmp_path / "records").rename(tmp_path / "RECORDS")
    mixed.rename(tmp_path / "before")
    monkeypatch.chdir(tmp_path)
    assert cli.main(made_by(tmp_path / "before")) == 0
    for name in ("stain_statistics.json", "near_duplicates.csv", "README.md"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()
    digests = [
        json.loads((tmp_path / name / "mix.json").read_text())["digest"] for name in ("m", "before")
    ]
    assert digests[0] == digests[1]


def test_no_folder_of_this_machine_is_named(record_set, mixed, tmp_path):
    for folder in (record_set, mixed):
        for path in folder.iterdir():
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_set_with_nothing_to_compare_has_no_picture(prepare, tmp_path, images):
    source = images.tree(tmp_path / "s", {"1.jpg": images.encode(images.pixels(32, 32))})
    path = prepare(source)
    assert not (path / "counts.png").exists()
    assert "counts.png" not in (path / "README.md").read_text()


def test_mix_names_each_reason_for_leaving_out():
    info = {
        "rules": {"exclude": "list.csv", "max_per_slide": 5, "mpp": [0.4, 0.6]},
        "choice": {"missing": ["f"], "not_named": ["g"]},
        "cohorts": {
            "a": dict.fromkeys(mixing.selection.COUNTED, 0) | {"over_slide_cap": 1200},
            "b": dict.fromkeys(mixing.selection.COUNTED, 0) | {"excluded": 3, "other_mpp": 7},
        },
        "left_out": [{"cohort": "c", "license": "", "commercial_use": "no"}],
        "unmatched_exclusions": ["slide S9"],
        "evaluation_overlaps": ["d shares pixels with e, which is for evaluation"],
        "related_cohorts": [["a", "b"]],
        "unregistered_cohorts": ["h", "i"],
    }
    text = wording.exclusions(info)
    for line in (
        "- a: 1,200 (more than 5 of one slide)",
        "- b: 3 (named in list.csv, or same pixels as such a patch)",
        "- b: 7 (no µm/px stated, or not from 0.4 to below 0.6)",
        "- f: asked for, but in none of the record sets",
        "- g: not asked for",
        "- c: the whole cohort (no licence stated; commercial use: no)",
        "- not found, so not left out: slide S9",
        "- d shares pixels with e, which is for evaluation",
        "- a and b share pixels",
        "- not in the registry, overlaps unknown: h, i",
    ):
        assert line in text.splitlines()


def test_record_sets_of_one_name_are_told_apart_in_the_command():
    info = {"recipe": None, "choice": None, "size": 1, "draw": "even", "px": 32, "seed": 0}
    info |= {"rules": {"near": "off"}, "name": "m"}
    line = wording.mix_command(["zz", "a", "zz"], info, 0)
    assert line.startswith("histo-simclr mix RECORDS1/zz RECORDS/a RECORDS2/zz --out m ")


def test_command_quotes_and_leaves_out_what_is_not_set():
    flags = {"--a": 0, "--b": None, "--c": "", "--d": False, "--e": True, "--f": ["x", "y z"]}
    line = wording.command("mix", ["R/1"], flags | {"--g": []})
    assert line == "histo-simclr mix R/1 --a 0 --e --f x 'y z'"
