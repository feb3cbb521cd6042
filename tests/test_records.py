import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from histo_simclr import records
from histo_simclr.errors import InputError


@pytest.fixture
def tree(tmp_path):
    """Empty manifests: a in two versions, b one folder deeper, an unfinished and a too deep one."""
    for name in ("a/1.9.0", "a/1.10.0", "group/b/1.0.0", ".c.incomplete/1.0.0", "x/y/z/d/1.0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.parquet").touch()
    return tmp_path


def test_folder_of_record_sets_gives_the_newest_of_each(tree):
    found = [path.relative_to(tree).as_posix() for path in records.find_record_sets(tree)]
    assert found == ["a/1.10.0", "group/b/1.0.0"]


def test_version_that_is_named_is_taken(tree):
    assert records.find_record_sets(tree / "a/1.9.0") == [tree / "a/1.9.0"]


def test_record_set_is_found_as_it_is_resolved(tree):
    assert records.find_record_sets(tree / "a") == [records.resolve_record_set(tree / "a")]


def test_folder_without_record_sets_is_refused(tmp_path):
    with pytest.raises(InputError, match="no record set in this folder"):
        records.find_record_sets(tmp_path)
    with pytest.raises(InputError, match="no such record set"):
        records.find_record_sets(tmp_path / "absent")


def test_rows_are_taken_by_number_or_mask_with_all_that_locates_them():
    columns = (np.arange(5) * factor for factor in (1, 10, 100, 1000))
    rows = records.Rows(("a", "b"), *columns, 32)
    taken = rows.take(np.array([4, 1]))
    assert (len(taken), taken.shards, taken.px) == (2, ("a", "b"), 32)
    for factor, values in zip((1, 10, 100, 1000), taken[1:5], strict=True):
        np.testing.assert_array_equal(values, [4 * factor, factor])
    np.testing.assert_array_equal(rows.take(rows.offset < 20).length, [0, 100])


def test_some_rows_of_a_table_are_read_in_the_order_given(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"cohort": list("abcd")}), tmp_path / "x.parquet")
    found = records.read_parquet(tmp_path / "x.parquet", ["cohort"], np.array([3, 1]))
    assert found["cohort"].tolist() == ["d", "b"]
