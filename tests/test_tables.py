"""Aligned text."""

import pytest

from histo_simclr import tables


def test_columns_are_as_wide_as_their_longest_cell():
    rows = [["name", "count", "note"], ["pcam", "2,000", ""], ["osteosarcoma", "8", "one case"]]
    assert tables.aligned(rows, right={1}) == [
        "name          count  note",
        "pcam          2,000",
        "osteosarcoma      8  one case",
    ]
    assert tables.aligned(rows)[2] == "osteosarcoma  8      one case"
    assert tables.aligned([]) == []


def test_a_row_that_lacks_a_cell_is_a_defect():
    with pytest.raises(ValueError, match="argument 2"):
        tables.aligned([["a", "b"], ["c"]])
