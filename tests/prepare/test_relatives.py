import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import registry, relatives

PAIRS = relatives.overlaps([("PCam", "CAMELYON16"), ("MoNuSeg", "TCGA-BRCA")])
STRANGERS = relatives.Known({}, PAIRS)


def test_nothing_stands_against_strangers():
    assert relatives.conflicts(["BACH", "CRAG"], ["PCam"], [], STRANGERS) == []


def test_cohort_for_evaluation_is_refused_however_it_is_spelled():
    assert relatives.conflicts(["pcam"], ["PCam"], [], STRANGERS) == ["pcam is for evaluation"]


@pytest.mark.parametrize(
    ("drawn", "evaluated"), [("camelyon16", "PCam"), ("pcam", "CAMELYON16")], ids=["one", "other"]
)
def test_relatives_are_refused_in_either_direction(drawn, evaluated):
    (says,) = relatives.conflicts([drawn, "BACH"], [evaluated], [], STRANGERS)
    assert says == f"{drawn} shares pixels with {evaluated}, which is for evaluation"


def test_relative_of_a_held_out_split_is_refused_but_not_the_set_itself():
    (says,) = relatives.conflicts(["PCam", "CAMELYON16"], [], ["PCam"], STRANGERS)
    assert says == "CAMELYON16 shares pixels with PCam, which has a held-out split"


def test_refusal_names_all_conflicts_and_the_way_out():
    relatives.refuse([])
    with pytest.raises(InputError, match="a is x; b is y; .*--allow-overlap"):
        relatives.refuse(["a is x", "b is y"])


def test_related_cohorts_are_paired_in_their_order():
    drawn = ["TCGA_BRCA", "BACH", "monuseg"]
    assert relatives.related(drawn, STRANGERS) == [["TCGA_BRCA", "monuseg"]]


def test_name_that_is_nowhere_is_refused_with_the_nearest():
    known = relatives.Known({"pcam": registry.load()[0]}, PAIRS)
    relatives.check_names(["PCAM", "own-set"], ["Own set"], known)
    with pytest.raises(InputError, match="--evaluate-on: own-sett is in neither.*did you mean Own"):
        relatives.check_names(["own-sett"], ["Own set"], known)


def test_registry_is_found_by_any_spelling():
    known = relatives.known()
    assert known.cohorts["nctcrche100k"].name == "NCT-CRC-HE-100K"
    assert len(set(known.cohorts.values())) == len(registry.load())
    assert known.cohorts["patchcamelyon"].name == "PCam"  # an alias
    assert frozenset(("pcam", "camelyon16")) in known.overlaps


def test_without_the_registry_mixing_goes_on_with_a_warning(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "datasets.csv")
    assert relatives.known() == ({}, frozenset())
    assert "overlaps between cohorts are not checked" in caplog.text


def test_alias_is_guarded_as_the_cohort_it_names():
    known = relatives.known()
    (says,) = relatives.conflicts(["kather2016", "BACH"], ["Kather-texture-2016"], [], known)
    assert says == "kather2016 is for evaluation, as Kather-texture-2016"
    (says,) = relatives.conflicts(["camelyon16"], ["PatchCamelyon"], [], known)
    assert says == "camelyon16 shares pixels with PatchCamelyon, which is for evaluation"
    drawn = ["PatchCamelyon", "own", "CAMELYON16"]
    assert relatives.related(drawn, known) == [["PatchCamelyon", "CAMELYON16"]]
    assert relatives.unregistered(drawn, known) == ["own"]
