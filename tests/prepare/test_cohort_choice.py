import csv
import hashlib
import json

import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import cohort_choice, relatives

WHERE = {name: name for name in ("cohorts", "without", "cohort_count")}


@pytest.fixture(scope="module")
def registered():
    return relatives.known().cohorts


@pytest.fixture(scope="module")
def rows():
    """The registry as the csv module reads it."""
    with open("data/datasets.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def choose(tmp_path, registered):
    """Chooses among record sets of these cohorts; returns the cohorts chosen, and the choice."""

    def call(held, cohorts, without=(), count=None, *, seed=0, skip_missing=False):
        for name in held:
            (tmp_path / name).mkdir()
            (tmp_path / name / "record_set.json").write_text(json.dumps({"cohort": name}))
        paths, choice = cohort_choice.choose(
            [tmp_path / name for name in held],
            cohorts,
            without,
            count,
            seed=seed,
            skip_missing=skip_missing,
            registered=registered,
            where=WHERE,
        )
        return [path.name for path in paths], choice

    return call


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("list:core57", lambda row: row["list"] == "core57"),
        ("organ:Prostate", lambda row: "prostate" in row["organ"].split(";")),
        ("stain:IHC, list:core57", lambda row: row["list"] == "core57"
                                               and "IHC" in row["stain"].split(";")),
    ],
)  # fmt: skip
def test_selector_names_what_the_file_says(selector, fits, registered, rows):
    expected = [row["name"] for row in rows if fits(row)]
    assert expected
    assert cohort_choice.named([selector], registered, "here") == expected


def test_names_are_spelled_as_the_registry_has_them_and_stand_once(registered):
    given = ["my own", "tcga_acc", "TCGA-ACC", "stain:trichrome", "My-Own"]
    found = cohort_choice.named(given, registered, "here")
    assert found[:2] == ["my own", "TCGA-ACC"]
    assert len(found) == len(set(found))
    assert "KIMIA-Path24" in found


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("list:core75", "here: no cohort of the registry has list 'core75'; did you mean core57"),
        ("organ:protsate", "has organ 'protsate'; did you mean prostate"),
        ("tissue:breast", "no selector 'tissue:breast'"),
        ("organ:", "no selector 'organ:'"),
        ("organ:breast,", "no selector ''"),
        ("organ:eye,stain:IHC", "no cohort of the registry is organ:eye,stain:IHC"),
    ],
)
def test_selector_that_fits_nothing_is_refused(selector, says, registered):
    with pytest.raises(InputError, match=says):
        cohort_choice.named([selector], registered, "here")


def test_fewer_cohorts_are_among_more_whatever_the_seed(registered):
    names = cohort_choice.named(["list:core57"], registered, "here")
    for seed in range(3):
        previous = []
        for count in (1, 5, 10, 20, 40, 57):
            chosen = cohort_choice.some(names, count, seed, "here")
            assert len(chosen) == count
            assert set(previous) < set(chosen)
            assert chosen == [name for name in names if name in chosen]
            previous = chosen
        assert previous == names
    first, other = (cohort_choice.some(names, 10, seed, "here") for seed in (0, 1))
    assert first != other


def test_choice_of_cohorts_stays_what_was_published():
    """By the rule as written down: the smallest SHA-256 of seed/name."""
    names = ["tcga_acc", "bach", "panda", "lyon19"]
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"7/{name}".encode()).hexdigest())
    assert set(cohort_choice.some(names, 2, 7, "here")) == set(ranked[:2])
    spelled = ["TCGA-ACC", "BACH", "PANDA", "LYON19"]
    found = {name.lower().replace("-", "_") for name in cohort_choice.some(spelled, 2, 7, "here")}
    assert found == set(ranked[:2])


def test_another_cohort_displaces_at_most_one():
    names = [f"c{number}" for number in range(30)]
    chosen = set(cohort_choice.some(names, 10, 0, "here"))
    for extra in ("x", "y", "z"):
        assert len(chosen - set(cohort_choice.some([*names, extra], 10, 0, "here"))) <= 1


def test_more_cohorts_than_there_are_is_refused():
    with pytest.raises(InputError, match="here: 3 of 2 cohorts wanted; ask for 1 to 2"):
        cohort_choice.some(["a", "b"], 3, 0, "here")


def test_order_is_that_of_the_names_wherever_the_record_sets_lie(choose):
    found, choice = choose(["panda", "x", "bach"], ["BACH", "PANDA"])
    assert found == ["bach", "panda"]
    assert choice.named == ["BACH", "PANDA"]
    assert choice.not_named == ["x"]


def test_two_record_sets_of_one_cohort_are_both_taken(tmp_path, choose):
    found, _ = choose(["PANDA", "panda", "x"], ["Panda"])
    assert found == ["PANDA", "panda"]


def test_every_missing_cohort_is_named_with_how_to_obtain_it(choose, rows):
    with pytest.raises(InputError) as error:
        choose(["PANDA", "Sample"], ["list:core57", "Sampel"])
    first, *lines = str(error.value).splitlines()
    assert first == (
        "cohorts: 57 of 58 cohorts are in none of the record sets; "
        "obtain and prepare them, or go on without by --skip-missing:"
    )
    core = [row for row in rows if row["list"] == "core57" and row["name"] != "PANDA"]
    for row, line in zip(core, lines, strict=False):
        source = row["download"].replace(";", " ") or row["form"] or row["url"]
        command = f"histo-simclr datasets {row['name']}"
        assert " ".join(line.split()) == f"{row['name']} {row['obtain']} {source} {command}"
    assert lines[len(core) :] == [
        next(line for line in lines if "Sampel" in line and line.endswith("did you mean Sample?"))
    ]


def test_missing_cohorts_are_skipped_when_asked_unless_all_are(choose, tmp_path):
    found, choice = choose(["PANDA"], ["PANDA", "BACH", "CRAG"], skip_missing=True)
    assert found == ["PANDA"]
    assert choice.missing == ["BACH", "CRAG"]
    with pytest.raises(InputError, match=r"2 of 2 cohorts .*obtain and prepare them:\n"):
        choose(["x"], ["BACH", "CRAG"], skip_missing=True)


def test_without_takes_names_and_selectors(choose):
    held = ["BACH", "PANDA", "CRAG", "x"]
    found, choice = choose(held, ["BACH", "PANDA", "CRAG", "x"], ["organ:colon", "X"])
    assert found == ["BACH", "PANDA"]
    assert choice.not_named == ["CRAG", "x"]


def test_without_a_name_that_is_not_there_is_refused(choose):
    with pytest.raises(InputError, match="without: BAHC is not among.*did you mean BACH"):
        choose(["BACH", "x"], ["BACH", "x"], ["BAHC"])


def test_without_all_of_them_nothing_is_left(choose):
    with pytest.raises(InputError, match="no cohort left"):
        choose(["BACH"], ["BACH"], ["bach"])


def test_no_cohorts_named_means_all_that_there_are(choose):
    found, _ = choose(["x", "BACH", "y"], None, ["x"])
    assert found == ["BACH", "y"]
    assert len(choose(["p", "q", "r"], None, count=2)[0]) == 2


def test_choice_precedes_what_happens_to_be_there(choose):
    """n cohorts are chosen among those named, so that two sites choose the same."""
    _, choice = choose(["BACH"], ["BACH", "PANDA", "CRAG"], count=3, skip_missing=True)
    assert choice.named == ["BACH", "PANDA", "CRAG"]
