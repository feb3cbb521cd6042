"""Plain values against their form: right ones pass, the first wrong one is named."""

import json

import pytest

from histo_simclr import typed
from histo_simclr.errors import InputError

FORM = {"px": int, "names": [str], "cohorts": {str: {"mpp": [float]}}}
RIGHT = {"px": 3, "names": ["a"], "cohorts": {"b": {"mpp": [0, 0.5]}}, "other": None}


def test_what_fits_passes():
    typed.check(RIGHT, FORM, where="file", way_out="mend it")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([], "file: content is not an object; mend it"),
        ({"px": 3}, "file: cohorts is not there; mend it"),
        (RIGHT | {"px": True}, "px is not a whole number"),
        (RIGHT | {"px": 3.0}, "px is not a whole number"),
        (RIGHT | {"px": 10**30}, "px is not a whole number"),
        (RIGHT | {"names": "a"}, "names is not a list"),
        (RIGHT | {"names": ["a", 1]}, r"names\[1\] is not text"),
        (RIGHT | {"cohorts": {"b": {}}}, r"cohorts\.b\.mpp is not there"),
        (RIGHT | {"cohorts": {"b": {"mpp": ["0.5"]}}}, r"cohorts\.b\.mpp\[0\] is not a number"),
        (RIGHT | json.loads('{"cohorts": {"b": {"mpp": [NaN]}}}'), r"mpp\[0\] is not a number"),
    ],
)
def test_the_first_value_that_does_not_fit_is_named(changed, message):
    with pytest.raises(InputError, match=message):
        typed.check(changed, FORM, where="file", way_out="mend it")
