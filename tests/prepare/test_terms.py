import dataclasses

import pytest

from histo_simclr.prepare import registry, terms

BACH = next(each for each in registry.load() if each.name == "BACH")


def a_set(cohort, license, use):
    return {"cohort": cohort, "license": license, "commercial_use": use}


@pytest.mark.parametrize(
    ("told", "registered", "expected"),
    [
        ("yes", None, "yes"),
        ("unknown", None, "unknown"),
        ("unknown", "no", "no"),
        ("unknown", "yes", "yes"),
        ("yes", "unknown", "yes"),
        ("yes", "no", "no"),
        ("no", "yes", "no"),
    ],
)
def test_registry_fills_in_and_the_stricter_word_holds(told, registered, expected):
    row = registered and dataclasses.replace(BACH, commercial_use=registered)
    assert terms.settle(a_set("BACH", "x", told), row)["commercial_use"] == expected


def test_licence_that_was_not_given_is_the_registrys():
    assert terms.settle(a_set("BACH", "", "unknown"), BACH)["license"] == "CC-BY-NC-ND-4.0"
    assert terms.settle(a_set("BACH", "own", "unknown"), BACH)["license"] == "own"


@pytest.mark.parametrize(
    "license",
    [
        *("CC BY-NC 4.0", "CC-BY-NC-SA-4.0", "cc-by-nc-4.0", "cc_by_nc_4.0", "BY-NC"),
        "Creative Commons Attribution-NonCommercial 4.0 International",
        *("non-commercial use only", "Non commercial", "free for noncommercial research"),
    ],
)
def test_licence_that_says_non_commercial_forbids_it_whatever_was_told(license):
    for told in ("yes", "unknown", "no"):
        assert terms.settle(a_set("own", license, told), None)["commercial_use"] == "no"


@pytest.mark.parametrize("license", ["NCSA", "UNC", "commercial", "CC BY 4.0", "licence"])
def test_letters_within_a_word_forbid_nothing(license):
    assert terms.settle(a_set("own", license, "yes"), None)["commercial_use"] == "yes"


def test_roll_up_names_those_who_forbid():
    sets = [a_set("a", "CC0-1.0", "yes"), a_set("b", "CC-BY-NC-4.0", "no"), a_set("c", "", "no")]
    sets += [a_set("d", "x", "unknown")]
    found = terms.roll_up(sets)
    assert found["commercial_use"] == "no"
    assert found["commercial_use_because"] == (
        "this mix may not be used commercially because of b (CC-BY-NC-4.0), c (no licence stated)"
    )


def test_roll_up_says_when_nobody_knows_and_when_all_allow():
    unknown = terms.roll_up([a_set("a", "CC0-1.0", "yes"), a_set("d", "x", "unknown")])
    assert "not known" in unknown["commercial_use_because"]
    assert unknown["commercial_use_because"].endswith("because of d (x)")
    assert terms.roll_up([a_set("a", "CC0-1.0", "yes")])["commercial_use"] == "yes"
