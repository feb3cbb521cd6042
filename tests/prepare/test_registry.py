import csv

import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import registry


@pytest.fixture
def altered(tmp_path):
    """Writes the registry with one field changed; returns its path."""

    def write(line: int, column: str, value: str):
        with registry.REGISTRY.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        rows[line - 1][rows[0].index(column)] = value
        return _write(tmp_path, rows)

    return write


def _write(folder, rows):
    path = folder / "datasets.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def _rows():
    with registry.REGISTRY.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_registry_holds_the_57_cohorts_by_family():
    cohorts = registry.load()
    names = [cohort.name for cohort in cohorts]
    assert len(set(names)) == 57
    # Counts of the project's fact sheet on the paper, section 2.
    assert sum(name.startswith("TCGA-") for name in names) == 23
    assert sum(name.startswith("CPTAC-") for name in names) == 9
    kinds = [cohort.kind for cohort in cohorts]
    assert {kind: kinds.count(kind) for kind in kinds} == {"wsi": 38, "patch": 17, "both": 2}


def test_what_is_known_of_the_papers_use_is_kept():
    sourced = [cohort.name for cohort in registry.load() if cohort.in_paper == "sourced"]
    assert sourced == [
        "TCGA-UCEC",
        "BACH",
        "Lymph",
        "BreakHis",
        "NCT-CRC-HE-100K",
        "Gleason2019",
        "DigestPath2019",
        "BreastPathQ",
    ]


def test_one_row_field_by_field():
    cohort = {cohort.name: cohort for cohort in registry.load()}["CAMELYON16"]
    assert cohort == registry.Cohort(
        name="CAMELYON16",
        organ=("lymph node",),
        stain=("H&E",),
        mpp_min=0.226,
        mpp_max=0.243,
        magnification=(40.0,),
        kind="wsi",
        task=("classification", "segmentation"),
        url="https://camelyon16.grand-challenge.org/",
        mirror="s3://camelyon-dataset",
        license="CC0-1.0",
        license_note="",
        commercial_use="yes",
        in_paper="reconstructed",
        note="breast cancer metastases",
    )


def test_only_licenses_that_allow_it_are_marked_for_commercial_use():
    allowed = {c.license for c in registry.load() if c.commercial_use == "yes"}
    assert allowed == {"CC0-1.0", "CC-BY-3.0", "CC-BY-4.0"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "two words"),
        ("organ", ""),
        ("mpp_min", "quarter"),
        ("magnification", "20;forty"),
        ("magnification", "400"),
        ("kind", "slide"),
        ("url", "camelyon16.grand-challenge.org"),
        ("url", "https://"),
        ("mirror", "ftp://host/file"),
        ("license", "free"),
        ("commercial_use", "maybe"),
        ("in_paper", ""),
    ],
)
def test_a_bad_field_is_refused_with_line_and_column(altered, column, value):
    path = altered(7, column, value)
    with pytest.raises(InputError, match=f"line 7: column {column}: "):
        registry.load(path)


@pytest.mark.parametrize(("smallest", "largest"), [("0.5", "0.25"), ("", "0.5"), ("0.2;0.3", "")])
def test_mpp_is_a_range_or_nothing(tmp_path, smallest, largest):
    rows = _rows()
    low, high = (rows[0].index(name) for name in ("mpp_min", "mpp_max"))
    rows[4][low], rows[4][high] = smallest, largest
    with pytest.raises(InputError, match="line 5: column mpp_max: no range with mpp_min"):
        registry.load(_write(tmp_path, rows))


@pytest.mark.parametrize("mpp", ["250", "nan", "-0.5"])
def test_mpp_outside_microscopy_is_refused(tmp_path, mpp):
    rows = _rows()
    for name in ("mpp_min", "mpp_max"):
        rows[4][rows[0].index(name)] = mpp
    with pytest.raises(InputError, match=f"line 5: column mpp_min: {mpp} to {mpp} µm/px"):
        registry.load(_write(tmp_path, rows))


def test_a_license_that_forbids_it_contradicts_commercial_use(altered):
    line = next(i for i, row in enumerate(_rows(), 1) if row[0] == "BACH")
    with pytest.raises(InputError, match=f"line {line}: column commercial_use: CC-BY-NC-ND-4.0"):
        registry.load(altered(line, "commercial_use", "yes"))


def test_a_name_given_twice_is_refused_with_both_lines(altered):
    with pytest.raises(InputError, match="line 9: column name: TCGA-ACC stands in line 2 too"):
        registry.load(altered(9, "name", "TCGA-ACC"))


def test_a_missing_row_is_noticed(tmp_path):
    with pytest.raises(InputError, match="56 cohorts, the paper has 57"):
        registry.load(_write(tmp_path, _rows()[:-1]))


def test_a_missing_and_an_unknown_column_are_named(altered):
    with pytest.raises(
        InputError, match=r"missing columns \['organ'\], unknown columns \['site'\]"
    ):
        registry.load(altered(1, "organ", "site"))


def test_a_field_too_many_is_refused(tmp_path):
    rows = _rows()
    rows[4].append("unquoted comma")
    with pytest.raises(InputError, match="line 5: column note: 16 fields, the header has 15"):
        registry.load(_write(tmp_path, rows))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'name,"organ'])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "datasets.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        registry.load(path)
