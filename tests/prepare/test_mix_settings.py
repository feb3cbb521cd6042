import argparse

import pytest

from histo_simclr.prepare import mix_settings
from histo_simclr.prepare.mix_settings import SETTINGS

# Of each setting a value as a recipe has it.
VALUES = {
    "size": 3,
    "draw": "tempered:0.5",
    "px": 32,
    "seed": 1,
    "stain_patches": 0,
    "cohorts": ["a", "list:core57"],
    "without": ["b"],
    "cohort_count": 2,
    "skip_missing": True,
    "mpp": [0.4, 1],
    "max_per_slide": 5,
    "max_per_cohort": 6,
    "exclude": "no.csv",
    "allow_unmatched": True,
    "evaluate_on": ["c", "d"],
    "allow_overlap": False,
    "commercial_ok": True,
    "near_duplicates": "drop",
    "near_bits": 3,
}


@pytest.fixture
def parser():
    made = argparse.ArgumentParser()
    mix_settings.add_flags(made)
    return made


@pytest.mark.parametrize("name", SETTINGS)
def test_flag_and_recipe_give_the_same(parser, name):
    value = VALUES[name]
    word = mix_settings.flag(name)
    if isinstance(value, bool):
        words = [word if value else word.replace("--", "--no-", 1)]
    else:
        words = [word, *map(str, value if isinstance(value, list) else [value])]
    parsed = vars(parser.parse_args(words))
    typed = mix_settings.typed(name, value, "here")
    assert parsed == {name: list(typed) if isinstance(typed, tuple) else typed}
    assert type(parsed[name]) is (list if isinstance(value, list) else type(typed))


def test_flag_that_is_not_given_leaves_no_trace(parser):
    assert vars(parser.parse_args([])) == {}
