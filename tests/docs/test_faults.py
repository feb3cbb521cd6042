"""docs/faults.md: the tests that it names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]
NAMED = re.findall(r"`([\w/]+\.py)(?:::(\w+))?[^`]*`", "\n".join(ROWS))


def test_the_table_is_one_and_names_tests_in_each_row():
    first = PAGE.splitlines().index(ROWS[0])
    assert PAGE.splitlines()[first : first + len(ROWS) + 1][2:] == ROWS[1:]
    assert all(".py" in row for row in ROWS[1:])


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)))
def test_it_names_tests_that_are_there(file, test):
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert not test or f"def {test}(" in text
