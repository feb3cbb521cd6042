"""Yes, no or unknown: every name that could have been seen must be at hand for a no."""

import pyarrow
import pyarrow.parquet
import pytest

from histo_simclr.errors import InputError
from histo_simclr.inspecting import was_seen

SLIDE = "TCGA-A1-A0SB-01Z-00-DX1.B34C0C"


def cohort(name, patches=10):
    return {"name": name, "patches": patches}


def index(folder, rows):
    """index.parquet of (cohort, slide, patient) rows, of a mix or record set."""
    names = ("cohort", "slide", "patient")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "index.parquet")
    return str(folder / "index.parquet")


@pytest.fixture
def brca(tmp_path):
    rows = [("TCGA-BRCA", SLIDE, ""), ("TCGA-BRCA", SLIDE, ""), ("ours", "S1", "P1")]
    cohorts = [cohort("TCGA-BRCA", 2), cohort("ours", 1)]
    return {"name": "the mix", "cohorts": cohorts, "index": index(tmp_path, rows)}


@pytest.mark.parametrize(
    ("name", "seen", "because"),
    [
        ("TCGA-BRCA", "yes", "2 patches of TCGA-BRCA in the mix"),
        ("tcga_brca", "yes", "2 patches of TCGA-BRCA in the mix"),
        ("TCGA", "yes", "2 patches of TCGA-BRCA in the mix"),
        ("OURS", "yes", "1 patches of ours in the mix"),
        (SLIDE, "yes", f"2 patches of slide {SLIDE} in the mix"),
        (f"{SLIDE}.svs", "yes", f"2 patches of slide {SLIDE}.svs in the mix"),
        ("TCGA-A1-A0SB", "yes", "2 patches of patient TCGA-A1-A0SB in the mix"),
        ("P1", "yes", "1 patches of patient P1 in the mix"),
        ("p1", "yes", "1 patches of patient p1 in the mix"),
        (SLIDE.split(".")[0], "yes", f"2 patches of slide {SLIDE.split('.')[0]} in the mix"),
        (SLIDE.lower(), "yes", "2 patches of slide"),
        ("tcga-a1-a0sb", "yes", "2 patches of patient tcga-a1-a0sb in the mix"),
        ("TCGA-A1-A0SC", "no", "no cohort, slide or patient of that name"),
        ("S", "no", "no cohort, slide or patient of that name"),
    ],
)
def test_with_every_name_at_hand_the_answer_is_yes_or_no(brca, name, seen, because):
    answer = was_seen.answer(name, [brca])
    assert answer.seen == seen
    assert answer.because[0].startswith(because)


def test_aliases_of_the_registry_are_the_same_cohort(tmp_path):
    stage = {"name": "the mix", "cohorts": [cohort("patch_camelyon")], "index": None}
    assert was_seen.answer("PCam", [stage]).seen == "yes"


def test_a_cohort_that_shares_pixels_leaves_it_unknown():
    stage = {"name": "the mix", "cohorts": [cohort("pcam")], "index": None}
    answer = was_seen.answer("CAMELYON16", [stage])
    assert answer.seen == "unknown"
    assert answer.because == ("pcam in the mix shares pixels with it: some may have been seen",)


@pytest.mark.parametrize(
    ("cohorts", "name", "seen", "because"),
    [
        (["TCGA-BRCA"], "TCGA-UCEC", "no", "no cohort of that name, nor one known to share pixels"),
        (["TCGA-BRCA", "ours"], "TCGA-UCEC", "unknown", "ours in the mix is not in the registry"),
        (["TCGA"], "TCGA-UCEC", "unknown", "TCGA in the mix shares pixels with it"),
        (["ours"], "TCGA", "unknown", "ours in the mix is not in the registry"),
        (["Kather-tumor-detection"], "TCGA-UCEC", "unknown", "Kather-tumor-detection in the mix"),
    ],
)
def test_no_needs_cohorts_whose_overlaps_are_known(cohorts, name, seen, because):
    stage = {"name": "the mix", "cohorts": [cohort(each) for each in cohorts], "index": None}
    answer = was_seen.answer(name, [stage])
    assert (answer.seen, answer.because[0].startswith(because)) == (seen, True), answer


def test_without_the_mix_slides_are_unknown_and_cohorts_are_not(brca):
    brca["index"] = None
    assert was_seen.answer("TCGA-BRCA", [brca]).seen == "yes"
    answer = was_seen.answer("S2", [brca])
    assert answer.seen == "unknown"
    assert "--mix DIR" in answer.because[0]


def test_a_cohort_that_names_no_slides_leaves_a_slide_unknown(brca, tmp_path):
    brca["index"] = index(tmp_path, [("ours", "S1", "P1"), ("bare", "", "")])
    assert was_seen.answer("S1", [brca]).seen == "yes"
    answer = was_seen.answer("S2", [brca])
    assert answer == ("unknown", ("bare in the mix: not every slide has a name",))


@pytest.mark.parametrize("name", ["TCGA-UCEC", "S2"])
def test_of_weights_that_saw_the_unknown_nothing_is_excluded(brca, name):
    unknown = {"name": "the weights it started from", "cohorts": None, "index": None}
    answer = was_seen.answer(name, [brca, unknown])
    assert answer.seen == "unknown"
    assert "what the weights it started from saw is unknown" in answer.because
    assert was_seen.answer("TCGA-BRCA", [unknown, brca]).seen == "yes"


def test_a_slip_for_a_cohort_is_no_no(brca):
    with pytest.raises(InputError, match="did you mean TCGA-UCEC"):
        was_seen.answer("TCGA-UCEX", [brca])


def test_a_torn_index_is_one_line(brca, tmp_path):
    (tmp_path / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="index.parquet: cannot be read"):
        was_seen.answer("S2", [brca])
