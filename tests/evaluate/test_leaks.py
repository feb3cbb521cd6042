import hashlib

import numpy as np
import pytest

from histo_simclr.errors import InputError
from histo_simclr.evaluate import leaks

OPTIONS = {"where": "the mix", "distance": 4, "overlaps": frozenset()}


@pytest.fixture
def columns():
    """columns(seed, **others): 40 patches of 8 slides, 4 patients, unlike those of other seeds."""

    def make(seed, **others):
        rng = np.random.default_rng(seed)
        number = np.arange(40)
        name = np.char.add(f"p{seed}.", (number // 10).astype(str)).astype(object)
        made = {
            "key": np.char.add(f"k{seed}.", number.astype(str)).astype(object),
            "cohort": np.full(40, "lab", object),
            "slide": np.char.add(f"s{seed}.", (number // 5).astype(str)).astype(object),
            "patient": name,
            "pixels_sha256": np.array(
                [hashlib.sha256(f"{seed} {each}".encode()).hexdigest() for each in number], object
            ),
            "perceptual_hash": rng.integers(1, 2**63, 40, dtype=np.uint64),
        }
        for channel in "rgb":
            made |= {f"mean_{channel}": np.full(40, 0.5), f"square_{channel}": np.full(40, 0.29)}
        return made | others

    return make


def _kinds(report):
    return {leak.kind: (leak.patches, leak.of) for leak in report.leaks}


def _compared(test, other, **options):
    return leaks.compare(leaks.patches_of(test), leaks.patches_of(other), **OPTIONS | options)


def test_strangers_leak_nothing(columns):
    report = _compared(columns(0), columns(1))
    assert report == leaks.Report()
    leaks.refuse(report, where="task", way_out="…")


@pytest.mark.parametrize(("kind", "patches"), [("patient", 20), ("slide", 5)])
def test_a_planted_patient_or_slide_is_found(columns, kind, patches):
    test, other = columns(0), columns(1)
    other[kind][-1] = test[kind][0]
    if kind == "patient":
        other[kind][0] = test[kind][-1]
    report = _compared(test, other)
    assert _kinds(report) == {kind: (patches, 40)}
    assert test[kind][0] in report.leaks[0].examples


def test_equal_names_of_unrelated_cohorts_are_strangers(columns):
    test, other = columns(0), columns(1)
    other |= {"slide": test["slide"], "patient": test["patient"]}
    elsewhere = other | {"cohort": np.full(40, "clinic", object)}
    assert _kinds(_compared(test, other)) == {"patient": (40, 40), "slide": (40, 40)}
    assert _kinds(_compared(test, other | {"cohort": np.full(40, "LAB", object)}))
    assert not _compared(test, elsewhere).leaks
    related = frozenset([frozenset(["lab", "clinic"])])
    assert _kinds(_compared(test, elsewhere, overlaps=related)) == {
        "patient": (40, 40),
        "slide": (40, 40),
    }


def test_each_cohort_is_compared_with_its_own(columns):
    test, other = columns(0), columns(1)
    test["cohort"][:20] = "clinic"
    other["slide"] = test["slide"]
    assert _kinds(_compared(test, other)) == {"slide": (20, 40)}


def test_empty_names_are_nobodys(columns):
    nameless = {"slide": np.full(40, "", object), "patient": np.full(40, None, object)}
    report = _compared(columns(0, **nameless), columns(1, **nameless))
    assert not report.leaks
    assert report.notes == (
        "slides and patients of the test split are unknown: only pixels were compared",
        "slides and patients of the mix are unknown: only pixels were compared",
    )


def test_planted_pixels_are_found_under_any_name(columns):
    test, other = columns(0), columns(1, cohort=np.full(40, "clinic", object))
    other["pixels_sha256"][[3, 30]] = test["pixels_sha256"][[7, 9]]
    # Equal pixels have equal hashes; they count once.
    other["perceptual_hash"][[3, 30]] = test["perceptual_hash"][[7, 9]]
    report = _compared(test, other)
    assert _kinds(report) == {"pixels": (2, 40)}
    assert report.leaks[0].examples == ("k0.7 = k1.3", "k0.9 = k1.30")


@pytest.mark.parametrize(("bits", "is_found"), [(0, True), (4, True), (5, False)])
def test_planted_near_duplicates_are_found(columns, bits, is_found):
    test, other = columns(0), columns(1)
    other["perceptual_hash"][12] = test["perceptual_hash"][5] ^ np.uint64(2**bits - 1)
    report = _compared(test, other)
    assert _kinds(report) == ({"near": (1, 40)} if is_found else {})
    if is_found:
        assert report.leaks[0].examples == (f"k0.5 = k1.12 ({bits} bits)",)


def test_the_nearest_of_several_is_shown(columns):
    test, other = columns(0), columns(1)
    other["perceptual_hash"][[2, 8]] = test["perceptual_hash"][5] ^ np.array([7, 1], np.uint64)
    assert _compared(test, other).leaks[0].examples == ("k0.5 = k1.8 (1 bits)",)


def test_blank_pictures_are_not_near_duplicates(columns):
    test, other = columns(0), columns(1)
    other["perceptual_hash"][:20] = test["perceptual_hash"][:20]
    # Standard deviation 0.2, and 0.02 in the first 15.
    for channel in "rgb":
        test[f"square_{channel}"][:15] = 0.25 + 0.02**2
    # Of other sets the hash alone may be known: flat pictures have 0.
    test["perceptual_hash"][39], other["perceptual_hash"][39] = 3, 0
    assert _kinds(_compared(test, other)) == {"near": (5, 40)}


def test_without_hashes_the_report_says_so(columns):
    other = columns(1)
    del other["perceptual_hash"]
    report = _compared(columns(0), other)
    assert report.notes == ("the mix has no perceptual hashes: only equal pixels were looked for",)


def test_of_names_alone_the_cohort_decides(columns):
    test = leaks.patches_of(
        columns(0, cohort=np.repeat(["Lab_A", "clinic", "other"], [10, 10, 20]).astype(object))
    )
    overlaps = frozenset([frozenset(["clinic", "archive"])])
    report = leaks.by_cohort(test, ["lab a", "archive"], where="the mix", overlaps=overlaps)
    assert _kinds(report) == {"cohort": (20, 40)}
    assert report.leaks[0].examples == ("Lab_A", "clinic (archive)")
    none = leaks.by_cohort(test, ["elsewhere"], where="the mix", overlaps=overlaps)
    assert not none.leaks
    assert none.notes == report.notes


def test_leaks_are_refused_with_all_that_was_found(columns):
    test, other = columns(0), columns(1)
    other["slide"][0], other["pixels_sha256"][0] = test["slide"][0], test["pixels_sha256"][20]
    report = _compared(test, other)
    with pytest.raises(InputError) as error:
        leaks.refuse(report, where="tasks.toy", way_out="set --config.allow_leaks")
    assert str(error.value).splitlines() == [
        "tasks.toy: the test split was seen before (2 kind(s) of leak); leave these patches out, "
        "or set --config.allow_leaks",
        "  5 of 40 test patches of slides that occur in the mix: s0.0",
        "  1 of 40 test patches with the same pixels as patches of the mix: k0.20 = k1.0",
    ]


def test_reports_add_up_and_say_nothing_twice(columns):
    test, other = columns(0), columns(1)
    other["slide"][0] = test["slide"][0]
    one = _compared(test, other)
    noted = leaks.Report((), ("a", "b"))
    assert one + noted + noted == leaks.Report(one.leaks, ("a", "b"))
    assert (one + noted).to_json() == {
        "leaks": [
            {"kind": "slide", "where": "the mix", "patches": 5, "of": 40, "examples": ("s0.0",)}
        ],
        "notes": ["a", "b"],
    }
