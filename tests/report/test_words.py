import math

import pytest

from histo_simclr.report import words

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (0.73649, {}, "0.736"),
        (-0.0186, {"sign": True}, f"{MINUS}0.019"),
        (0.0031, {"sign": True}, "+0.003"),
        (0.0657, {"scale": 100}, "6.6"),  # the paper's L1
        (None, {"sign": True}, words.NONE),
    ],
)
def test_numbers_are_written_as_in_tables(value, options, text):
    assert words.number(value, **options) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "1.00"), (0.158, "0.16"), (0.0123, "0.012"), (0.00012, "0.00012"), (0.0, "< 0.0001")],
)
def test_p_values_keep_two_digits_however_small(p, text):
    assert words.probability(p) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234, "", "1,234"),
        (48.0, "", "48"),
        (1, "patches", "1 patch"),
        (2, "patch", "2 patches"),
        (1, "patients", "1 patient"),
        (2, "slide", "2 slides"),
        (0, "task", "0 tasks"),
    ],
)
def test_counts_agree_with_their_unit(value, unit, text):
    assert words.count(value, unit) == text


def test_protocols_come_in_the_order_of_the_report_and_unknown_ones_last():
    assert words.ordered(["new", "finetune", "linear", "linear"]) == ["linear", "finetune", "new"]


def test_only_of_errors_is_less_better():
    worse = {name for name, metric in words.METRICS.items() if not metric.is_larger_better}
    assert worse == {"l1"}
    assert words.metric("f_beta").title == "f beta"
    assert words.plainly("l1") == "L1"


def test_json_values_are_written_for_people():
    value = {"C": 1e-5, "units": [0.5, None, True], "none": None}
    assert words.plain(value) == f"C: 1e-05; units: 0.5, {words.NONE}, yes; none: {words.NONE}"
    assert math.isnan(words.real(None))
