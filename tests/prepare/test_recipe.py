import csv
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from histo_simclr.errors import InputError
from histo_simclr.prepare import cohort_choice, mix, recipe, registry, relatives
from histo_simclr.prepare.mix_settings import SETTINGS

COMMITTED = sorted(Path("data/mixes").glob("*.yaml"))
# What a family leaves open, as its head comment gives it.
OPEN = {"cohorts": ["TCGA-BRCA"], "cohort_count": 10, "mpp": [0.354, 0.707]}


@pytest.fixture
def written(tmp_path):
    """Writes a recipe and reads it."""

    def call(content):
        path = tmp_path / "r.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return recipe.read(path)

    return call


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_recipe_holds_together_with_the_registry(path):
    found = recipe.read(path)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.file == path.as_posix()
    settings, where = recipe.settle({name: OPEN[name] for name in found.open}, found)
    known = relatives.known().cohorts
    names = cohort_choice.named(settings["cohorts"], known, where["cohorts"])
    with open("data/datasets.csv", newline="", encoding="utf-8") as file:
        core = [row["name"] for row in csv.DictReader(file) if row["list"] == "core57"]
    expected = {
        "embedded": [each.name for each in sorted(Path("data/sample/records").iterdir())],
        "single_cohort": ["TCGA-BRCA"],
    }.get(path.stem, core)
    assert [registry.identity(name, known) for name in names] == [
        registry.identity(name, known) for name in expected
    ]
    if settings["cohort_count"]:
        cohort_choice.some(names, settings["cohort_count"], settings["seed"], "here")


def test_papers_recipes_differ_in_size_alone():
    full, tenth = (recipe.read(Path(f"data/mixes/{name}.yaml")).values
                   for name in ("paper57", "tenpercent"))  # fmt: skip
    assert full | {"size": 400_000} == tenth
    assert full["size"] == 10 * tenth["size"]


def test_families_differ_in_what_they_ask_about_alone():
    names = ("n_cohorts", "single_cohort", "single_resolution")
    families = [recipe.read(Path(f"data/mixes/{name}.yaml")) for name in names]
    assert [each.open for each in families] == [("cohort_count",), ("cohorts",), ("mpp",)]
    sizes = [{**each.values, "cohorts": None} for each in families]
    assert sizes[0] == sizes[1] == sizes[2]


def test_cohorts_that_the_head_comment_keeps_apart_are_in_the_registry():
    text = Path("data/mixes/paper57.yaml").read_text(encoding="utf-8")
    names = re.search(r"--without (.+)", text).group(1).split()
    assert len(names) == 7
    known = relatives.known().cohorts
    assert all(known[registry.folded(name)].list == "core57" for name in names)


def test_values_are_those_that_yaml_says(written, tmp_path):
    text = "size: 1_000\nmpp: [0.4, 1]\ncohorts: BACH\nwithout: [a, b]\ncommercial_ok: true\n"
    found = written(f"\ufeff{text}exclude: lists/no.csv\nseed:\n")
    plain = yaml.safe_load(text)
    assert found.values["size"] == plain["size"] == 1000
    assert found.values["mpp"] == (0.4, 1.0)
    assert found.values["cohorts"] == ("BACH",)
    assert found.values["without"] == tuple(plain["without"])
    assert found.values["commercial_ok"] is True
    assert found.open == ("seed",)
    assert found.values["exclude"] == tmp_path / "lists" / "no.csv"
    assert found.to_json() == {
        "file": "r.yaml",
        "sha256": found.sha256,
        "content": plain | {"cohorts": ["BACH"], "exclude": "no.csv", "seed": None},
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "r.yaml: empty"),
        ("# nothing\n", "r.yaml: empty"),
        ("- size\n- draw\n", "r.yaml: no mapping"),
        ("even\n", "r.yaml: no mapping"),
        ("size: 1\n---\nsize: 2\n", "no YAML"),
        ("size: 1\n\tdraw: even\n", "line 2: no YAML"),
        ("size: [1\n", "no YAML"),
        ("a: *b\n", "line 1: no YAML .*undefined alias"),
        ("size: !!python/name:os.system 1\n", "line 1: no YAML"),
        (b"size: \xff\n", "r.yaml: cannot be read"),
        ("size: \x07\n", "no YAML"),
        ("size: !!timestamp abc\n", "cannot be read"),
        ("size: !!int abc\n", "cannot be read"),
        ("[" * 5000, "r.yaml: "),
        ("size: 1\ndraw: even\nsize: 2\n", "line 3: size stands twice"),
        ("sise: 1\n", "line 1: no setting 'sise'; did you mean size"),
        ("size: 1\nmax-per-slide: 2\n", "line 2: no setting 'max-per-slide'; did you mean max_per"),
        ("out: here\n", "no setting 'out'"),
        ("1: 2\n", "no setting 'int'"),
        ("? [a]\n: 2\n", "no setting 'list'"),
        ("<<: {size: 1}\n", "line 1: no YAML .*merge"),
        ("size: many\n", "line 1: size: 'many'; give a whole number"),
        ("size: 1.5\n", "size: 1.5; give a whole number"),
        ("size: true\n", "size: True; give a whole number"),
        ("size: 0\n", "size: 0; give 1 or more"),
        ("size: 0x" + "f" * 9000 + "\n", "size: too large"),
        ("seed: -1\n", "seed: -1; give 0 or more"),
        ("near_bits: 40\n", "near_bits: 40; give 1 to "),
        ("near_duplicates: keep\n", "no 'keep'; one of off, report, drop"),
        ("draw: 1\n", "draw: 1; give text"),
        ("draw: ''\n", "draw: ''; give text"),
        ("commercial_ok: maybe\n", "'maybe'; give true or false"),
        ("cohorts: []\n", r"cohorts: \[\]; give a list, each text"),
        ("cohorts: [BACH, no]\n", "cohorts: False; give text"),
        ("cohorts: {a: b}\n", "give a list"),
        ("mpp: 0.5\n", "mpp: 0.5; give a list of 2, each a number"),
        ("mpp: [0.5]\n", "give a list of 2"),
        ("mpp: [0.5, x]\n", "mpp: 'x'; give a number"),
        ("mpp: [0.7, 0.5]\n", "0.7 to 0.5; give 0 or more, then a larger number"),
        ("mpp: [-1, 0.5]\n", "give 0 or more"),
        ("mpp: [0.1, .nan]\n", "give 0 or more"),
        ("mpp: [0.1, .inf]\n", "too large"),
    ],
)
def test_bad_recipe_is_one_line_that_names_the_place(written, content, says):
    with pytest.raises(InputError, match=says) as error:
        written(content)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_absent_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match="absent.yaml: cannot be read"):
        recipe.read(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        recipe.read(tmp_path)


def test_damaged_recipe_is_read_or_refused(written):
    """Anything but InputError would be a defect."""
    rng = np.random.default_rng(0)
    pieces = [b"\t", b"\n", b": ", b"- ", b"[", b"{", b"&a ", b"*a", b"!!", b"!!timestamp ", b"~"]
    pieces += [b"'", b'"', b"|", b"? ", b"<<", b"\x00", b"\xc3", b"\xe2\x80\xa8", b"9e999", b"%"]
    pieces += [b"!!bool ", b"!!float ", b"!!set ", b"!!omap ", b"!!binary ", b"2020-99-99", b"0b"]
    refused = 0
    for path in COMMITTED:
        text = b"".join(
            line + b"\n" for line in path.read_bytes().splitlines() if not line.startswith(b"#")
        )
        for _ in range(60):
            content = bytearray(text)
            for _ in range(rng.integers(1, 4)):
                start = int(rng.integers(len(content)))
                end = start + int(rng.integers(4))
                content[start:end] = pieces[rng.integers(len(pieces))]
            try:
                written(bytes(content))
            except InputError:
                refused += 1
    assert refused > 100


def test_command_line_wins_over_recipe_and_recipe_over_default(written):
    found = written("size: 5\ndraw: proportional\nwithout: a\n")
    settings, where = recipe.settle({"size": 7, "mpp": [0.1, 0.2]}, found)
    assert (settings["size"], settings["draw"], settings["seed"]) == (7, "proportional", 0)
    assert settings["mpp"] == (0.1, 0.2)
    assert where["size"] == "--size"
    assert where["draw"].endswith("r.yaml, line 2: draw")
    assert settings.keys() == SETTINGS.keys()


def test_what_a_recipe_leaves_open_has_to_be_given(written):
    found = written("size: 5\ncohorts:\nmpp: ~\n")
    with pytest.raises(InputError, match="line 2: cohorts: cohorts, mpp left open; give --cohorts"):
        recipe.settle({}, found)
    with pytest.raises(InputError, match="line 3: mpp: mpp left open; give --mpp"):
        recipe.settle({"cohorts": ["a"]}, found)
    settings, _ = recipe.settle({"cohorts": ["a"], "mpp": [0.1, 1.0]}, found)
    assert settings["cohorts"] == ("a",)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "--size: not given"),
        ({"size": 0}, "--size: 0; give 1 or more"),
        ({"size": 1, "mpp": [2.0, 1.0]}, "--mpp: 2 to 1"),
        ({"size": 1, "stain_patches": -1}, "--stain-patches: -1; give 0 or more"),
    ],
)
def test_flags_without_a_recipe_are_checked_too(given, says):
    with pytest.raises(InputError, match=says):
        recipe.settle(given, None)


def test_every_rule_of_a_mix_can_be_set():
    names = {"near_duplicates" if name == "near" else name for name in mix.Rules._fields}
    assert names < SETTINGS.keys()
    for name, value in mix.EQUAL_PIXELS_ONLY._asdict().items():
        if name != "near":  # the command reports them unless told otherwise
            assert SETTINGS[name].default == value
