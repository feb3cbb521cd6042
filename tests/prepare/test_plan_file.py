import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import plan_file
from histo_simclr.prepare.slide_table import Row
from histo_simclr.slides.grid import Places


def places(count, start=0):
    x = np.arange(start, start + count)
    return Places(x, 2 * x, np.full(count, 0.5), np.full(count, 0.75, np.float32))


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan of three slides of 3, 10 and 1 places, in row groups of about 4."""
    monkeypatch.setattr(plan_file, "ROW_GROUP", 4)
    writer = plan_file.PlanWriter(tmp_path / "plan.parquet", 224)
    for number, count in enumerate((3, 10, 1)):
        row = Row(f"f/{number}.svs", str(number), mpp_x=0.25, mpp_y=0.26, quickhash=f"q{number}")
        writer.write(row, places(count, number))
    writer.close()
    return tmp_path / "plan.parquet"


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_slides_come_back_whole_and_in_order(plan, tmp_path, kind):
    if kind == "csv":
        pyarrow.csv.write_csv(pyarrow.parquet.read_table(plan), tmp_path / "plan.csv")
        plan = tmp_path / "plan.csv"
    found = list(plan_file.read(plan))
    assert [part.wsi for part in found] == ["f/0.svs", "f/1.svs", "f/2.svs"]
    for number, (part, count) in enumerate(zip(found, (3, 10, 1), strict=True)):
        assert part[1:2] + part[3:] == (str(number), 224, (0.25, 0.26), f"q{number}")
        for a, b in zip(part.places, places(count, number), strict=True):
            np.testing.assert_array_equal(a, b)


def test_columns_are_what_other_tools_read(plan):
    table = pyarrow.parquet.read_table(plan)
    assert table.column_names[:6] == ["wsi", "slide", "x", "y", "mpp", "px"]
    assert len(table) == 14


def changed(plan, column, values):
    table = pyarrow.parquet.read_table(plan)
    index = table.column_names.index(column)
    rows = table[column].to_pylist()
    new = [values.get(number, value) for number, value in enumerate(rows)]
    pyarrow.parquet.write_table(table.set_column(index, column, pyarrow.array(new)), plan)
    return plan


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("mpp", {1: 0.0}, "f/0.svs: mpp outside 0.05 to 20"),
        ("mpp_x", {1: 1e6}, "several mpp_x"),
        ("mpp_y", dict.fromkeys(range(3), float("nan")), "several mpp_y|mpp_y outside"),
        ("px", {5: 96}, "f/1.svs: several px"),
        ("wsi", {13: "f/0.svs"}, "f/0.svs: its rows are not together"),
        ("wsi", {13: ""}, "empty cells in wsi"),
        ("slide", {13: "0"}, "f/2.svs: a second slide '0'"),
        ("px", {13: 0}, "f/2.svs: px outside 1 to 65536"),
        ("tissue", {13: 1.5}, "f/2.svs: tissue outside 0 to 1"),
        ("tissue", {13: float("nan")}, "f/2.svs: tissue outside 0 to 1"),
        ("x", {0: 2, 1: 2, 2: None}, "empty cells in x"),
        ("x", {3: 2.5}, "no readable plan"),
    ],
)
def test_numbers_that_cannot_be_right_are_refused(plan, column, values, says):
    with pytest.raises(InputError, match=says):
        list(plan_file.read(changed(plan, column, values)))


def test_a_place_twice_is_refused(plan):
    twice = changed(changed(plan, "x", {1: 0}), "y", {1: 0})
    with pytest.raises(InputError, match="f/0.svs: a place twice"):
        list(plan_file.read(twice))


def test_places_far_out_are_told_apart(plan):
    """As floats, these two are one number."""
    far = changed(changed(plan, "x", {0: 2**53, 1: 2**53 + 1}), "y", {0: 0, 1: 0})
    assert next(plan_file.read(far)).places.x.tolist() == [2**53, 2**53 + 1, 2]


def test_bytes_that_are_no_text_are_refused(plan):
    """As other tools may write them: Parquet's text need not be UTF-8."""
    table = pyarrow.parquet.read_table(plan)
    raw = pyarrow.array([b"f/\xff.svs"] * len(table), pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), len(raw), raw.buffers())
    pyarrow.parquet.write_table(table.set_column(0, "wsi", text), plan)
    with pytest.raises(InputError, match="no readable plan .*UTF8"):
        list(plan_file.read(plan))


def test_rows_in_one_group_are_read_a_few_at_a_time(plan, monkeypatch):
    """As pandas writes them. The tables held are counted: 14 rows by at most 4."""
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(plan), plan)
    sizes = []
    conformed = plan_file._conformed
    monkeypatch.setattr(
        plan_file,
        "_conformed",
        lambda table, path: sizes.append(len(table)) or conformed(table, path),
    )
    assert [len(part.places.x) for part in plan_file.read(plan)] == [3, 10, 1]
    assert (sum(sizes), max(sizes)) == (14, 4)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("plan.csv", b"\x80wsi,slide\na.svs,a\n", "no readable plan"),
        (
            "plan.csv",
            b"wsi,wsi,slide,x,y,mpp,px,mpp_x,mpp_y\na,a,a,1,1,1,9,1,1\n",
            "column wsi twice",
        ),
        ("plan.parquet", b"", "no readable plan"),
        ("plan.parquet", b"PAR1 torn", "no readable plan"),
        ("plan.csv", b"", "no readable plan"),
        ("plan.csv", b"wsi,slide,x,y,mpp,px,mpp_x,mpp_y\n", "no rows"),
        ("plan.csv", b"wsi,x,y\na.svs,1,2\n", "no column slide, mpp, px, mpp_x, mpp_y"),
        ("plan.csv", b"wsi,x\na.svs,left\n", "no readable plan"),
        ("gone.parquet", None, "no readable plan"),
    ],
)
def test_files_that_are_no_plan_are_refused(tmp_path, name, data, says):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says):
        list(plan_file.read(tmp_path / name))


def test_a_torn_plan_is_refused(plan):
    plan.write_bytes(plan.read_bytes()[:-20])
    with pytest.raises(InputError, match="no readable plan"):
        list(plan_file.read(plan))
