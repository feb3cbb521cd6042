import hashlib

import pyarrow
import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import exclusion, relatives

ROWS = pyarrow.table({"slide": ["S1", "S1", "S2", ""], "patient": ["P1", "P1", "P2", "P2"]})


@pytest.fixture
def listed(tmp_path):
    """Writes a CSV and reads it."""

    def call(text):
        (tmp_path / "list.csv").write_text(text, encoding="utf-8")
        return exclusion.read(tmp_path / "list.csv")

    return call


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("slide,S1", [1, 1, 0, 0]),
        ("patient,P2", [0, 0, 1, 1]),
        ("cohort,tcga_brca", [1, 1, 1, 1]),  # as the folder is called
        ("cohort,TCGA-LUAD", [0, 0, 0, 0]),
        ("slide,S2,TCGA-BRCA", [0, 0, 1, 0]),
        ("slide,S2,TCGA-LUAD", [0, 0, 0, 0]),
        ("slide,P1", [0, 0, 0, 0]),  # a patient's name is no slide's
    ],
)
def test_rows_named_by_a_line_are_marked(listed, line, expected):
    marked = listed(f"kind,name,cohort\n{line}\n").mark(ROWS, "TCGA-BRCA")
    assert marked.astype(int).tolist() == expected


def test_a_cohort_is_excluded_by_its_registered_name_too(listed, tmp_path):
    listed("kind,name\ncohort,Kather-texture-2016\n")
    read = exclusion.read(tmp_path / "list.csv", relatives.known().identity)
    assert read.mark(ROWS, "kather2016").all()
    assert not read.unmet()


def test_other_columns_are_passed_over_and_a_byte_order_mark_too(listed):
    read = listed("\ufeffname,reason,kind\nS1,torn,slide\n")
    assert read.mark(ROWS, "a").sum() == 2
    assert [str(each) for each in read.entries] == ["slide S1"]


def test_file_is_identified_by_its_bytes(listed, tmp_path):
    read = listed("kind,name\nslide,S1\n")
    assert read.sha256 == hashlib.sha256((tmp_path / "list.csv").read_bytes()).hexdigest()


def test_entries_that_are_nowhere_are_refused_with_the_nearest_name(listed):
    read = listed("kind,name,cohort\nslide,S1,\nslide,S1,b\npatient,P11,\n")
    read.mark(ROWS, "a")
    assert read.unmet() == ["slide S1 of b", "patient P11"]
    read.mark(ROWS, "b")
    assert read.unmet() == ["patient P11"]
    says = "list.csv: 1 of 3 entries are in none.*patient P11; did you mean P1.*allow-unmatched"
    with pytest.raises(InputError, match=says):
        read.refuse_unmet()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column kind, name"),
        ("name\nS1\n", "no column kind"),
        ("kind,name\n", "no rows"),
        ("kind,name\nslides,S1\n", "list.csv:2: kind 'slides'; one of cohort, patient, slide"),
        ("kind,name\nslide,S1\nslide,\n", "list.csv:3: slide without a name"),
        ('kind,name\nslide,"S1\n', "not a readable CSV"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(listed, text, says):
    with pytest.raises(InputError, match=says):
        listed(text)


def test_list_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(InputError, match="gone.csv: not a readable CSV"):
        exclusion.read(tmp_path / "gone.csv")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="x.csv: not a readable CSV"):
        exclusion.read(tmp_path / "x.csv")
