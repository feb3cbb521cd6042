import csv
import dataclasses
import random
import re

import pytest

from histo_simclr.errors import InputError
from histo_simclr.prepare import acquire, record_set, registry


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


def _line(name):
    return next(line for line, row in enumerate(_rows(), 1) if row[0] == name)


@pytest.fixture(scope="module")
def cohorts():
    return {cohort.name: cohort for cohort in registry.load()}


def test_the_core_list_holds_the_57_cohorts_by_family(cohorts):
    core = [cohort for cohort in cohorts.values() if cohort.list == "core57"]
    # Counts of the project's fact sheet on the paper, section 2.
    assert len(core) == 57
    assert sum(cohort.name.startswith("TCGA-") for cohort in core) == 23
    assert sum(cohort.name.startswith("CPTAC-") for cohort in core) == 9
    kinds = [cohort.kind for cohort in core]
    assert {kind: kinds.count(kind) for kind in kinds} == {"wsi": 38, "patch": 17, "both": 2}


def test_the_further_cohorts_stand_behind_the_core_list(cohorts):
    # 136 candidates of the fact sheet, of them 8 sourced and 41 from memory.
    assert [cohort.list for cohort in cohorts.values()] == ["core57"] * 57 + ["more"] * 79
    words = [cohort.in_paper for cohort in cohorts.values()]
    assert (words.count("sourced"), words.count("memory")) == (8, 41)


def test_what_is_known_of_the_papers_use_is_kept(cohorts):
    sourced = [cohort.name for cohort in cohorts.values() if cohort.in_paper == "sourced"]
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


def test_one_row_field_by_field(cohorts):
    cohort = dataclasses.asdict(cohorts["CAMELYON16"])
    assert cohort.pop("citation").endswith("JAMA 318 (2017) 2199-2210, doi:10.1001/jama.2017.14585")
    assert cohort == {
        "name": "CAMELYON16",
        "aliases": (),
        "list": "core57",
        "organ": ("lymph node",),
        "stain": ("H&E",),
        "mpp_min": 0.226,
        "mpp_max": 0.243,
        "magnification": (40.0,),
        "kind": "wsi",
        "task": ("classification", "segmentation"),
        "slides": 400,
        "patches": None,
        "url": "https://camelyon16.grand-challenge.org/",
        "mirror": "s3://camelyon-dataset",
        "obtain": "open",
        "download": ("s3://camelyon-dataset/CAMELYON16",),
        "folders": (),
        "form": "",
        "overlaps": ("PCam",),
        "license": "CC0-1.0",
        "license_note": "",
        "commercial_use": "yes",
        "in_paper": "reconstructed",
        "note": "breast cancer metastases; 270 + 130 slides; 399 by Litjens et al. (2018), from "
        "memory: a full copy may count as incomplete",
    }


def test_numbers_of_diagnostic_slides_are_those_of_the_fact_sheet(cohorts):
    # Its section 2; the registry's were counted in another source.
    wanted = {"ACC": 227, "BRCA": 1133, "GBM": 860, "LUAD": 541, "OV": 107, "UCEC": 566}
    assert {name: cohorts[f"TCGA-{name}"].slides for name in wanted} == wanted


def test_overlaps_are_symmetric_and_name_other_cohorts(cohorts):
    for name, cohort in cohorts.items():
        assert name not in cohort.overlaps
        assert len(set(cohort.overlaps)) == len(cohort.overlaps)
        for other in cohort.overlaps:
            assert other == "unknown" or name in cohorts[other].overlaps


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("PCam", {"CAMELYON16"}),
        ("BreastPathQ", {"Post-NAT-BRCA"}),
        ("TUPAC16", {"TCGA-BRCA", "AMIDA13"}),
        ("Kather-MSI", {"TCGA-COAD", "TCGA-READ", "TCGA-STAD"}),
        ("CPTAC-LUAD", set()),
        ("Kather-tumor-detection", {"unknown"}),
    ],
)
def test_well_known_overlaps(cohorts, name, others):
    assert set(cohorts[name].overlaps) == others


def test_a_family_stands_for_all_its_members(cohorts):
    tcga = {name for name in cohorts if name.startswith("TCGA-")}
    assert len(tcga) == 32
    assert set(cohorts["MoNuSeg"].overlaps) == tcga | {"Kumar"}


@pytest.mark.parametrize("given", ["CAMELYON61", "CAMELYON17", "GTEX-*", "*"])
def test_an_overlap_with_no_other_cohort_is_refused(altered, given):
    line = _line("CAMELYON17")
    with pytest.raises(InputError, match=f"line {line}: column overlaps: '{re.escape(given)}' is"):
        registry.load(altered(line, "overlaps", given))


@pytest.mark.parametrize(
    ("given", "name"),
    [("TCGA-ACC", "TCGA-ACC"), ("tcga_acc", "TCGA-ACC"), ("nct crc he 100k", "NCT-CRC-HE-100K")],
)
def test_a_cohort_is_found_by_its_name_as_a_folder_may_have_it(cohorts, given, name):
    assert registry.find(given, cohorts.values()) == cohorts[name]


def test_an_unknown_name_gets_the_nearest(cohorts):
    with pytest.raises(InputError, match=r"--name: no cohort 'camelyn17' .*did you mean CAMELYON1"):
        registry.find("camelyn17", cohorts.values(), where="--name")
    with pytest.raises(InputError, match="histo-simclr datasets lists them"):
        registry.find("xyz", cohorts.values())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CAMELYN16", "CAMELYON16"),
        ("tcga-brac", "TCGA-BRCA"),
        ("camelyon 16", ""),
        ("our hospital 2024", ""),
        ("C", ""),
        ("", ""),
    ],
)
def test_a_slip_in_a_name_is_told_from_a_name_of_ones_own(cohorts, name, near):
    assert registry.resembling(name, cohorts.values()) == near


def test_names_differ_also_as_folders_of_record_sets(cohorts):
    assert len({record_set.slug(name) for name in cohorts}) == len(cohorts)
    assert len({re.sub("[^a-z0-9]", "", name.lower()) for name in cohorts}) == len(cohorts)


def test_every_scheme_of_a_download_is_one_that_the_commands_know(cohorts):
    schemes = {each.split(":")[0] for cohort in cohorts.values() for each in cohort.download}
    assert schemes == {"tfds", *acquire.CLIENTS}


def test_only_licenses_that_allow_it_are_marked_for_commercial_use():
    allowed = {c.license for c in registry.load() if c.commercial_use == "yes"}
    assert allowed == {"CC0-1.0", "CC-BY-3.0", "CC-BY-4.0"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", "two words"),
        ("aliases", "two words"),
        ("aliases", "a;"),
        ("organ", ""),
        ("organ", ";"),
        ("overlaps", "BACH;"),
        ("overlaps", "unknown;BACH"),
        ("folders", "train"),
        ("folders", "../a=train"),
        ("folders", "a=train;"),
        ("mpp_min", "quarter"),
        ("mpp_min", "0_5"),
        ("magnification", "٢٠"),
        ("magnification", "20;forty"),
        ("magnification", "400"),
        ("kind", "slide"),
        ("url", "camelyon16.grand-challenge.org"),
        ("url", "https://"),
        ("mirror", "ftp://host/file"),
        ("list", "core"),
        ("slides", "0"),
        ("slides", "12,000"),
        ("patches", "many"),
        ("patches", "-3"),
        ("obtain", "download"),
        ("download", "http://host/file"),
        ("download", "s3://bucket; rm -rf /"),
        ("download", "zenodo:$(reboot)"),
        ("form", "write us"),
        ("citation", ""),
        ("note", "\x1b[2J"),
        ("note", "two\nlines"),
        ("license", "free"),
        ("commercial_use", "maybe"),
        ("in_paper", ""),
    ],
)
def test_a_bad_field_is_refused_with_line_and_column(altered, column, value):
    path = altered(7, column, value)
    line = 7 + value.count("\n")
    with pytest.raises(InputError, match=f"line {line}: column {column}: "):
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
    line = _line("BACH")
    with pytest.raises(InputError, match=f"line {line}: column commercial_use: CC-BY-NC-ND-4.0"):
        registry.load(altered(line, "commercial_use", "yes"))


def test_no_stated_license_is_no_permission(altered):
    line = _line("LC25000")
    with pytest.raises(InputError, match=f"line {line}: column commercial_use: no license says so"):
        registry.load(altered(line, "commercial_use", "yes"))


def test_a_request_needs_a_place_to_make_it(altered):
    line = _line("ADP")
    with pytest.raises(InputError, match=f"line {line}: column form: empty"):
        registry.load(altered(line, "form", ""))


def test_a_name_given_twice_is_refused_with_both_lines(altered):
    with pytest.raises(InputError, match="line 9: column name: TCGA-ACC stands in line 2 too"):
        registry.load(altered(9, "name", "TCGA-ACC"))


def test_names_that_users_could_not_tell_apart_are_refused(altered):
    """A cohort is found whatever the case and punctuation of its name."""
    with pytest.raises(InputError, match="line 9: column name: tcga_acc stands in line 2 too"):
        registry.load(altered(9, "name", "tcga_acc"))


@pytest.mark.parametrize("alias", ["tcga_acc", "x;X", "PATCHCAMELYON", "TCGA-LGG"])
def test_an_alias_is_of_one_cohort_alone(altered, alias):
    with pytest.raises(InputError, match="column (name|aliases): .* stands in line"):
        registry.load(altered(_line("TCGA-LGG"), "aliases", alias))


def test_a_cohort_is_found_by_its_alias(cohorts):
    assert registry.find("crc_val_he_7k", cohorts.values()).name == "NCT-CRC-HE-100K"
    assert registry.resembling("patch-camelyon", cohorts.values()) == ""
    assert registry.resembling("patchcamelyn", cohorts.values()) == "PCam"


def test_a_missing_row_is_noticed(tmp_path):
    rows = _rows()
    with pytest.raises(InputError, match="56 cohorts in list core57, the paper has 57"):
        registry.load(_write(tmp_path, rows[:5] + rows[6:]))
    assert len(registry.load(_write(tmp_path, rows[:-1]))) == 135  # further ones may come and go


def test_a_58th_of_the_core_list_is_refused(altered):
    with pytest.raises(InputError, match="58 cohorts in list core57"):
        registry.load(altered(_line("GTEx"), "list", "core57"))


def test_a_missing_and_an_unknown_column_are_named(altered):
    with pytest.raises(
        InputError, match=r"missing columns \['organ'\], unknown columns \['site'\]"
    ):
        registry.load(altered(1, "organ", "site"))


def test_a_field_too_many_is_refused(tmp_path):
    rows = _rows()
    rows[4].append("unquoted comma")
    with pytest.raises(InputError, match="line 5: column note: 26 fields, the header has 25"):
        registry.load(_write(tmp_path, rows))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'name,"organ'])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "datasets.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        registry.load(path)


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    """Bytes changed, cut out, doubled: never another exception, never a line break in the error."""
    intact = registry.REGISTRY.read_bytes()
    generator = random.Random(0)
    errors = []
    for trial in range(300):
        damaged = bytearray(intact)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(damaged))
            length = generator.choice((1, 1, 3, 200))
            piece = damaged[at : at + length]
            damaged[at : at + length] = generator.choice(
                (b"", piece + piece, generator.randbytes(length), generator.choice(SPECIAL))
            )
        path = tmp_path / f"{trial % 2}.csv"
        path.write_bytes(damaged)
        try:
            registry.load(path)
        except InputError as error:
            errors.append(str(error))
    assert 100 < len(errors) < 300  # both ways out were taken
    assert all(error.isprintable() for error in errors)


SPECIAL = (b'"', b",", b";", b"\n", b"\r", b"\0", b"*", b"\xc2\xb2", b"1e999", b"nan", b"-1")
