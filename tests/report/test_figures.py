"""Figures, judged by where their SVG puts markers, lines and shades: by color."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from histo_simclr.report import figures

USE = "{http://www.w3.org/2000/svg}use"
IMAGE = "{http://www.w3.org/2000/svg}image"
LINK = "{http://www.w3.org/1999/xlink}href"
STYLES = figures.styles(["floor", "a", "b"], ["floor"])
BLUE, ORANGE = STYLES["a"].color, STYLES["b"].color


def _markers(svg: bytes, color: str) -> np.ndarray:
    """(n, 2) places x, y (downwards) of markers of a color, from left to right."""
    found = [
        (float(use.get("x")), float(use.get("y")))
        for use in ElementTree.fromstring(svg).iter(USE)
        if f"stroke: {color.lower()}" in (use.get("style") or "")
    ]
    return np.array(sorted(found))


def _curve(*values: float) -> figures.Curve:
    value = np.array(values)
    return figures.Curve(10.0 ** np.arange(len(value)), value, value - 0.1, value + 0.1)


def _forest(*, is_larger_better: bool) -> bytes:
    sign = 1 if is_larger_better else -1
    lines = [
        figures.Difference("a - b", 0.1 * sign, 0.05 * sign, 0.15 * sign, 1),
        figures.Difference("a - c", -0.1 * sign, -0.15 * sign, -0.05 * sign, -1),
    ]
    return figures.forest({"task": lines}, metric="F1", is_larger_better=is_larger_better)


@pytest.mark.parametrize("is_larger_better", [True, False])
def test_the_better_encoder_is_on_the_right_whatever_the_metric(is_larger_better):
    svg = _forest(is_larger_better=is_larger_better)
    better, worse = _markers(svg, "#0072B2"), _markers(svg, "#D55E00")
    assert len(better) == len(worse) == 1
    assert better[0, 0] > worse[0, 0]
    assert better[0, 1] < worse[0, 1]  # first listed, first shown


def test_a_difference_without_an_interval_is_drawn_as_not_shown():
    nan = float("nan")
    line = figures.Difference("a - b", 0.1, nan, nan, 0)
    svg = figures.forest({"task": [line]}, metric="F1", is_larger_better=True)
    assert len(_markers(svg, "#777777")) == 1


def test_the_best_rank_is_at_the_top_on_the_left():
    svg = figures.ranks({"a": 2.0, "b": 1.0}, critical_difference=0.5, drawn_as=STYLES)
    # Caps of the bars are markers too: the middle one of three is the rank.
    worse, better = _markers(svg, BLUE)[1], _markers(svg, ORANGE)[1]
    assert better[0] < worse[0]
    assert better[1] < worse[1]


@pytest.mark.parametrize(("critical", "meet"), [(0.9, False), (1.1, True)])
def test_bars_of_ranks_meet_unless_they_differ_by_the_critical_difference(critical, meet):
    svg = figures.ranks({"a": 2.0, "b": 1.0}, critical_difference=critical, drawn_as=STYLES)
    first, second = _markers(svg, BLUE)[:, 0], _markers(svg, ORANGE)[:, 0]
    assert (first.min() < second.max()) == meet


def test_curves_rise_to_the_right_and_what_is_undefined_is_a_gap():
    curves = {"a": _curve(0.5, 0.6, 0.7), "b": _curve(0.5, np.nan, 0.7)}
    svg = figures.learning_curves({"labels": curves}, metric="F1", drawn_as=STYLES)
    drawn, gap = _markers(svg, BLUE), _markers(svg, ORANGE)
    x, y = drawn[:, 0], drawn[:, 1]
    curve = drawn[y < y.max()] if len(drawn) > 3 else drawn  # the legend has one, below
    assert (np.diff(curve[:, 1]) < 0).all()
    assert len(x) == 4
    assert len(gap) == 3


def test_confusions_are_dark_where_predictions_are():
    svg = figures.confusions({"a": np.array([[9, 1], [10, 0]])}, ["x", "y"])
    (picture,) = ElementTree.fromstring(svg).iter(IMAGE)
    with Image.open(io.BytesIO(base64.b64decode(picture.get(LINK).split(",")[1]))) as file:
        red = np.asarray(file.convert("RGB"))[..., 0].astype(float)
    # SVG lays matplotlib's pictures the right way up by a flip, if it has to.
    if "scale(1 -1)" in (picture.get("transform") or ""):
        red = red[::-1]
    half = len(red) // 2
    assert red[:half, :half].mean() < red[:half, half:].mean()
    assert red[half:, :half].mean() < red[:half, :half].mean()


def test_empty_bins_have_no_point_and_overconfidence_lies_below_the_diagonal():
    nan = np.nan
    bins = figures.Bins(
        np.array([0, 0.5, 1]), np.array([0, 8]), np.array([nan, 0.9]), np.array([nan, 0.4])
    )
    right = bins._replace(accuracy=np.array([nan, 0.9]))
    (low,), (on,) = (_markers(figures.reliability({"a": each}), BLUE) for each in (bins, right))
    assert low[1] > on[1]
    assert low[0] == pytest.approx(on[0])


def test_equal_numbers_give_equal_bytes_and_no_date():
    first, second = (_forest(is_larger_better=True) for _ in range(2))
    assert first == second
    assert not re.search(rb"<dc:date>|matplotlib.org", first.split(b"<defs>")[0])


def test_names_are_no_formulas():
    name = r"$\frac{$ <b> & c"
    styles = figures.styles([name, "b"], [])
    svg = figures.ranks({name: 1.0, "b": 2.0}, critical_difference=1, drawn_as=styles)
    ElementTree.fromstring(svg)


def test_encoders_are_told_apart_and_floors_are_dashed():
    names = [f"encoder {number}" for number in range(7)]
    styles = figures.styles([*names, "floor"], ["floor"])
    assert len({style.color for style in styles.values()}) == 8
    assert {name for name, style in styles.items() if style.line == "--"} == {"floor"}
