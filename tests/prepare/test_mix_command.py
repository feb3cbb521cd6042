import collections
import csv
import hashlib
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from histo_simclr import cli, records
from histo_simclr.prepare.manifest import SCHEMA

SAMPLE = Path("data/sample")
EMBEDDED = "data/mixes/embedded.yaml"
FAST = ["--stain-patches", "0", "--near-duplicates", "off"]


@pytest.fixture
def mixed(tmp_path):
    """Mixes by the command, reading no pixel; returns (mix.json, rows of the index)."""

    def call(*words, out="m"):
        assert cli.main(["mix", *map(str, words), "--out", str(tmp_path / out), *FAST]) == 0
        return (
            json.loads((tmp_path / out / "mix.json").read_text()),
            records.read_parquet(tmp_path / out / "index.parquet"),
        )

    return call


@pytest.fixture
def synthetic(tmp_path):
    """Makes record sets without pixels: rows by mpp for each cohort; returns their folder."""

    def call(**rows):
        for number, (name, by_mpp) in enumerate(rows.items()):
            folder = tmp_path / "records" / name / "1.0.0"
            folder.mkdir(parents=True)
            mpp = np.repeat(list(by_mpp), list(by_mpp.values()))
            info = {"cohort": name, "px": 32, "license": "CC0-1.0", "commercial_use": "yes"}
            info |= {"citation": "", "url": "", "counts": {"train": len(mpp)}}
            (folder / "record_set.json").write_text(json.dumps(info))
            plain = {pyarrow.string(): "train", pyarrow.float64(): 0.5}
            columns = {each.name: np.full(len(mpp), plain.get(each.type, 1)) for each in SCHEMA}
            columns |= {"mpp": mpp, "cohort": [name] * len(mpp)}
            columns["key"] = [f"{name}/{i}" for i in range(len(mpp))]
            columns["pixels_sha256"] = [
                hashlib.sha256(f"{number}/{i}".encode()).hexdigest() for i in range(len(mpp))
            ]
            table = pyarrow.table(columns).cast(SCHEMA)
            pyarrow.parquet.write_table(table, folder / "manifest.parquet")
        return tmp_path / "records"

    return call


def written(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    return tmp_path / "r.yaml"


def test_embedded_recipe_gives_the_embedded_mix(mixed):
    info, rows = mixed(SAMPLE / "records", "--recipe", EMBEDDED)
    committed = json.loads((SAMPLE / "mix/mix.json").read_text())
    assert info["digest"] == committed["digest"]
    assert (
        rows["key"].tolist() == records.read_parquet(SAMPLE / "mix/index.parquet")["key"].tolist()
    )
    # What data/sample/build.sh gave the command before there were recipes.
    flags = ["--size", 3161, "--draw", "proportional"]
    without, _ = mixed(*sorted((SAMPLE / "records").iterdir()), *flags, out="n")
    assert without["digest"] == committed["digest"]
    assert without["recipe"] is None


def test_order_of_the_record_sets_does_not_matter_with_a_recipe(mixed):
    folders = sorted((SAMPLE / "records").iterdir(), reverse=True)
    info, _ = mixed(*folders, "--recipe", EMBEDDED)
    assert info["digest"] == json.loads((SAMPLE / "mix/mix.json").read_text())["digest"]


def test_embedded_mix_records_the_recipe_as_it_is_now():
    """A recipe edited without mixing again would make mix.json lie."""
    recipe = json.loads((SAMPLE / "mix/mix.json").read_text())["recipe"]
    assert recipe["file"] == EMBEDDED
    assert recipe["sha256"] == hashlib.sha256(Path(EMBEDDED).read_bytes()).hexdigest()


def test_papers_mix_without_its_cohorts_says_how_to_obtain_them(tmp_path, capsys):
    words = ["mix", str(SAMPLE / "records"), "--recipe", "data/mixes/paper57.yaml"]
    assert cli.main([*words, "--out", str(tmp_path / "m")]) == 2
    first, *lines = capsys.readouterr().err.strip().splitlines()
    assert (
        "paper57.yaml, line 20: cohorts: 54 of 57 cohorts are in none of the record sets" in first
    )
    with open("data/datasets.csv", newline="", encoding="utf-8") as file:
        core = [row["name"] for row in csv.DictReader(file) if row["list"] == "core57"]
    for name in ("BreCaHAD", "NCT-CRC-HE-100K", "Kather-texture-2016"):
        core.remove(name)  # of which the sample holds some
    assert [line.split()[0] for line in lines] == core
    assert all(f"histo-simclr datasets {name}" in line
               for name, line in zip(core, lines, strict=True))  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_papers_mix_is_drawn_evenly_from_all_57(mixed, synthetic, capsys):
    with open("data/datasets.csv", newline="", encoding="utf-8") as file:
        core = [row["name"] for row in csv.DictReader(file) if row["list"] == "core57"]
    folder = synthetic(**{name: {0.5: 12} for name in core}, PCam={0.5: 12})
    info, _ = mixed(folder, "--recipe", "data/mixes/paper57.yaml", "--px", 32, "--size", 570)
    assert {name: each["rows"] for name, each in info["cohorts"].items()} == dict.fromkeys(core, 10)
    assert info["choice"]["not_named"] == ["PCam"]
    assert info["rules"]["max_per_slide"] == 1000
    # Each gives all it has and none has fewer than another: nothing to be said of the draw.
    mixed(folder, "--recipe", "data/mixes/paper57.yaml", "--px", 32, "--size", 57 * 12, out="n")
    assert "draw: even\n" in capsys.readouterr().out


def test_skipped_cohorts_are_recorded_and_the_size_stays(mixed, synthetic, tmp_path, capsys):
    folder = synthetic(PANDA={0.5: 30}, bach={0.5: 4}, other={0.5: 9})
    recipe = written(tmp_path, "cohorts: [BACH, PANDA, CRAG, GlaS]\nsize: 20\n")
    info, rows = mixed(folder, "--recipe", recipe, "--skip-missing")
    assert collections.Counter(rows["cohort"]) == {"bach": 4, "PANDA": 16}
    assert list(info["cohorts"]) == ["bach", "PANDA"]
    assert info["choice"]["missing"] == ["CRAG", "GlaS"]
    assert info["choice"]["not_named"] == ["other"]
    printed = capsys.readouterr().out
    readme = (tmp_path / "m/README.md").read_text()
    share = "even: 16 of each cohort that has as many; 1 of 2 have fewer and give all"
    assert f"draw: {share}" in printed
    assert "missing: 2 cohorts (CRAG, GlaS)" in printed
    assert "not asked for: 1 cohorts (other)" in printed
    assert f"| draw | {share} |" in readme
    assert "- CRAG: asked for, but in none of the record sets" in readme
    assert "- other: not asked for" in readme
    croissant = json.loads((tmp_path / "m/croissant.json").read_text())
    assert "Without CRAG, GlaS, which were not at hand." in croissant["description"]


def test_single_resolution_draws_patches_of_that_alone(mixed, synthetic):
    folder = synthetic(a={0.25: 5, 0.5: 6, 1.0: 7}, b={0.0: 3, 0.35: 2, 0.354: 1, 0.707: 4})
    words = [folder, "--recipe", "data/mixes/single_resolution.yaml", "--cohorts", "a", "b"]
    words += ["--px", 32, "--mpp", 0.354, 0.707]
    info, rows = mixed(*words, "--size", 7)
    assert sorted(rows["mpp"].tolist()) == [0.354] + [0.5] * 6
    counts = {name: each["other_mpp"] for name, each in info["cohorts"].items()}
    assert counts == {"a": 12, "b": 9}
    assert info["rules"]["mpp"] == [0.354, 0.707]


def test_resolutions_of_the_head_comment_part_the_embedded_patches(mixed):
    """Each octave in turn, and no patch in two of them."""
    committed = records.read_parquet(SAMPLE / "mix/index.parquet")
    for number, (low, high) in enumerate([(0.354, 0.707), (0.707, 1.414)]):
        size = np.sum((committed["mpp"] >= low) & (committed["mpp"] < high))
        words = [SAMPLE / "records", "--recipe", EMBEDDED, "--mpp", low, high, "--size", size]
        _, rows = mixed(*words, out=f"m{number}")
        assert rows["mpp"].min() >= low
        assert rows["mpp"].max() < high


def test_family_that_is_left_open_is_refused(tmp_path, capsys):
    words = ["mix", str(SAMPLE / "records"), "--out", str(tmp_path / "m")]
    assert cli.main([*words, "--recipe", "data/mixes/single_cohort.yaml"]) == 2
    assert "cohorts left open; give --cohorts" in capsys.readouterr().err


def test_single_cohort_and_few_cohorts(mixed, synthetic):
    folder = synthetic(a={0.5: 9}, b={0.5: 9}, c={0.5: 9})
    family = [folder, "--px", 32, "--size", 6, "--recipe"]
    info, _ = mixed(*family, "data/mixes/single_cohort.yaml", "--cohorts", "B")
    assert {name: each["rows"] for name, each in info["cohorts"].items()} == {"b": 6}
    few = ["data/mixes/n_cohorts.yaml", "--cohorts", "a", "b", "c", "--cohort-count"]
    chosen = [
        set(mixed(*family, *few, count, out=f"m{count}")[0]["cohorts"]) for count in (1, 2, 3)
    ]
    assert chosen[0] < chosen[1] < chosen[2]


def test_cohorts_to_evaluate_on_can_be_left_to_the_evaluation(mixed, synthetic):
    folder = synthetic(BACH={0.5: 9}, PANDA={0.5: 9})
    words = [folder, "--size", 5, "--without", "BACH", "--evaluate-on", "BACH"]
    info, _ = mixed(*words)
    assert list(info["cohorts"]) == ["PANDA"]
    assert info["evaluation_overlaps"] == []
    assert info["choice"]["not_named"] == ["BACH"]


@pytest.mark.parametrize(
    ("held", "evaluated"),
    [("TCGABRCA", "TCGA-BRCA"), ("Mo_Nu_Seg", "MoNuSeg"), ("tcga_brca", "TCGABRCA")],
)
def test_guard_of_the_evaluation_knows_every_spelling(synthetic, tmp_path, capsys, held, evaluated):
    words = ["mix", str(synthetic(**{held: {0.5: 9}})), "--size", "5", "--evaluate-on", evaluated]
    assert cli.main([*words, "--out", str(tmp_path / "m")]) == 2
    assert f"{held} is for evaluation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("held", "evaluated"),
    [
        ("kather2016", "Kather-texture-2016"),
        ("crc_val_he_7k", "NCT-CRC-HE-100K"),
        ("osteosarcoma", "Osteosarcoma-Tumor-Assessment"),
        ("dsb2018_tissue", "DSB2018-histology"),
    ],
)
def test_guard_knows_the_embedded_sets_by_their_registered_names(tmp_path, capsys, held, evaluated):
    words = ["mix", str(SAMPLE / "records"), "--size", "100", "--evaluate-on", evaluated]
    assert cli.main([*words, "--out", str(tmp_path / "m")]) == 2
    assert f"{held} is for evaluation, as {evaluated}" in capsys.readouterr().err


def test_cohorts_outside_the_registry_are_said_to_be(mixed, synthetic, capsys, tmp_path):
    info, _ = mixed(synthetic(ours={0.5: 9}, BACH={0.5: 9}), "--size", 5)
    assert info["unregistered_cohorts"] == ["ours"]
    says = "not in the registry, overlaps unknown: ours"
    assert f"{says}\n" in capsys.readouterr().out
    assert f"- {says}\n" in (tmp_path / "m/README.md").read_text()


@pytest.mark.parametrize(
    ("one", "other"),
    [("own set", "own-set"), ("kather2016", "Kather-texture-2016")],
    ids=["two spellings", "an alias"],
)
def test_caps_count_a_cohort_once_however_its_sets_are_named(
    mixed, synthetic, capsys, tmp_path, one, other
):
    folder = synthetic(**{one: {0.5: 9}, other: {0.5: 9}})
    paths = [folder / one, folder / other]
    info, rows = mixed(*paths, "--size", 5, "--max-per-cohort", 5)
    assert {name: each["rows"] for name, each in info["cohorts"].items()} == {one: 5}
    assert set(rows["cohort"]) == {one}
    # All rows are of one slide.
    info, _ = mixed(*paths, "--size", 4, "--max-per-slide", 4, out="n")
    assert info["cohorts"][one]["available"] == 4
    words = ["mix", *map(str, paths), "--out", str(tmp_path / "o"), "--size", "6"]
    assert cli.main([*words, "--max-per-cohort", "5"]) == 2
    assert "6 patches wanted, 5 different ones there at 5 a cohort" in capsys.readouterr().err


def test_slide_in_two_record_sets_of_a_cohort_is_one_slide(mixed, synthetic):
    folder = synthetic(Own={0.5: 8}, own_={0.5: 8})
    for name, slides in (("Own", "pq"), ("own_", "qr")):
        manifest = folder / name / "1.0.0/manifest.parquet"
        table = pyarrow.parquet.read_table(manifest)
        column = pyarrow.array(list(slides) * 4)
        at = table.column_names.index("slide")
        pyarrow.parquet.write_table(table.set_column(at, "slide", column), manifest)
    _, rows = mixed(folder / "Own", folder / "own_", "--size", 6, "--max-per-slide", 2)
    assert collections.Counter(rows["slide"]) == {"p": 2, "q": 2, "r": 2}


def test_terms_of_a_record_set_that_gives_no_row_do_not_bind(mixed, synthetic):
    folder = synthetic(MoNuSeg={0.5: 1}, BreCaHAD={0.5: 99})
    info, _ = mixed(folder, "--size", 1, "--draw", "proportional")
    assert [each["rows"] for each in info["cohorts"].values()] == [1, 0]
    assert info["commercial_use"] == "yes"
    info, _ = mixed(folder, "--size", 100, "--draw", "proportional", out="n")
    assert info["commercial_use"] == "no"


def test_relatives_without_a_held_out_split_may_be_drawn_together(mixed, synthetic):
    info, _ = mixed(synthetic(CAMELYON16={0.5: 9}, PCam={0.5: 9}), "--size", 5)
    assert info["evaluation_overlaps"] == []
    assert info["related_cohorts"] == [["CAMELYON16", "PCam"]]


def test_terms_of_the_registry_hold_for_every_spelling(mixed, synthetic):
    info, _ = mixed(synthetic(Mo_Nu_Seg={0.5: 9}), "--size", 5)
    assert info["commercial_use"] == "no"  # the record set says yes


def test_command_of_a_mix_by_recipe_makes_it_again(mixed, synthetic, tmp_path, monkeypatch):
    synthetic(PANDA={0.5: 30}, bach={0.5: 20, 0.25: 9}, other={0.5: 9})
    text = "cohorts: [BACH, PANDA, CRAG]\nsize: 20\nmpp: [0.4, 0.6]\nskip_missing: true\n"
    recipe = written(tmp_path, f"{text}commercial_ok: true\n")
    info, _ = mixed(
        tmp_path / "records", "--recipe", recipe, "--seed", 3, "--size", 9, "--no-commercial-ok"
    )
    line = (tmp_path / "m/README.md").read_text().split("```")[1]
    flags = shlex.split(line)[5:]
    assert flags[:2] == ["--recipe", "r.yaml"]
    assert flags[flags.index("--size") :][:2] == ["--size", "9"]
    assert "--no-commercial-ok" in flags
    assert "--mpp" not in flags  # the recipe says so
    (tmp_path / "records").rename(tmp_path / "RECORDS")
    shutil.move(tmp_path / "m", tmp_path / "before")
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(line)[1:]) == 0
    for name in ("README.md", "mix.json"):
        before = (tmp_path / "before" / name).read_text().replace("records/", "RECORDS/")
        assert (tmp_path / "m" / name).read_text() == before
    assert str(tmp_path) not in json.dumps(info)


def test_command_of_a_mix_chosen_by_flags_makes_it_again(mixed, synthetic, tmp_path, monkeypatch):
    synthetic(a={0.5: 9}, b={0.5: 9}, c={0.5: 9})
    mixed(tmp_path / "records", "--size", 5, "--without", "c", "--cohort-count", 1)
    line = (tmp_path / "m/README.md").read_text().split("```")[1]
    (tmp_path / "records").rename(tmp_path / "RECORDS")
    shutil.move(tmp_path / "m", tmp_path / "before")
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(line)[1:]) == 0
    before = (tmp_path / "before/README.md").read_text()
    assert (tmp_path / "m/README.md").read_text() == before
