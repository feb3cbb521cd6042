"""Numbers → pictures for a report, as SVG: sharp at every size. Draws only, computes nothing."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from histo_simclr import pictures

# Told apart by people who see colors otherwise (Okabe, Ito, "Color universal design", 2008), and
# by their markers in print.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_FLOORS = ("#888888", "#444444")
_BETTER, _WORSE, _OPEN = "#0072B2", "#D55E00", "#777777"
# Salted ids and no date: equal numbers give equal bytes. Names are no formulas.
_SETTINGS = {"svg.hashsalt": "histo_simclr", "svg.fonttype": "path", "text.parse_math": False}


class Style(NamedTuple):
    """How one encoder is drawn in every figure."""

    color: str
    marker: str
    line: str


class Difference(NamedTuple):
    """One line of a forest plot; `direction` is 1 better, -1 worse, 0 not shown."""

    label: str
    value: float
    low: float
    high: float
    direction: int


class Curve(NamedTuple):
    """Values with intervals at n places: (n,) each; NaN leaves a gap."""

    place: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Bins(NamedTuple):
    """Predictions by confidence: see `calibration.Reliability`."""

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def styles(names: Sequence[str], floors: Sequence[str]) -> dict[str, Style]:
    """A style for each encoder; floors are gray and dashed."""
    found = {}
    for name in names:
        number = sum((each in floors) == (name in floors) for each in found)
        marker = _MARKERS[number % len(_MARKERS)]
        if name in floors:
            found[name] = Style(_FLOORS[number % len(_FLOORS)], marker, "--")
        else:
            found[name] = Style(_COLORS[number % len(_COLORS)], marker, "-")
    return found


def _svg(draw: Callable) -> Callable[..., bytes]:
    """Makes of a function that draws a figure one that returns it as a file."""

    @functools.wraps(draw)
    def drawn(*arguments, **options) -> bytes:
        import matplotlib

        with matplotlib.rc_context(_SETTINGS):
            figure = draw(*arguments, **options)
            file = io.BytesIO()
            about = {"Date": None, "Creator": None}
            # Tight: the layout leaves out labels of axes that are kept square.
            figure.savefig(file, format="svg", metadata=about, bbox_inches="tight", pad_inches=0.05)
        return file.getvalue()

    return drawn


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@_svg
def forest(
    groups: Mapping[str, Sequence[Difference]], *, metric: str, is_larger_better: bool
) -> bytes:
    """Differences with intervals about zero; on the right of it the first encoder is better.

    Args:
      groups: heading (a task) → its differences.
      metric: what differs.
      is_larger_better: False turns the axis round.
    """
    lines = [line for heading, differences in groups.items() for line in (heading, *differences)]
    figure = _figure(7, 0.9 + 0.24 * len(lines))
    axes = figure.add_subplot()
    axes.axvline(0, color="black", linewidth=0.8)
    for place, line in enumerate(lines):
        if isinstance(line, str):
            continue
        color = {1: _BETTER, -1: _WORSE, 0: _OPEN}[line.direction]
        axes.plot([line.low, line.high], [place, place], color=color, linewidth=1.6)
        axes.plot(
            line.value,
            place,
            marker={1: ">", -1: "<", 0: "o"}[line.direction],
            color=color,
            markerfacecolor=color if line.direction else "white",
        )
    labels = [line if isinstance(line, str) else line.label for line in lines]
    axes.set_yticks(range(len(lines)), labels, fontsize=8)
    for tick, line in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if isinstance(line, str) else "normal")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    if not is_larger_better:
        axes.invert_xaxis()
    axes.set_xlabel(f"difference in {metric}; right of 0: the first is better", fontsize=9)
    _bare(axes, "left")
    return figure


@_svg
def ranks(
    means: Mapping[str, float], *, critical_difference: float, drawn_as: Mapping[str, Style]
) -> bytes:
    """Mean ranks with half the critical difference to each side: bars apart differ.

    Args:
      means: encoder → mean rank, 1 is best.
      critical_difference: Nemenyi's; NaN draws no bars.
      drawn_as: encoder → style.
    """
    names = sorted(means, key=lambda name: means[name])
    figure = _figure(7, 1.1 + 0.32 * len(names))
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        style, half = drawn_as[name], critical_difference / 2
        axes.errorbar(
            means[name], place, xerr=half, color=style.color, marker=style.marker, capsize=3
        )
    axes.set_xticks(range(1, len(names) + 1))
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("mean rank over the tasks; 1 is best", fontsize=9)
    _bare(axes, "left")
    return figure


@_svg
def learning_curves(
    panels: Mapping[str, Mapping[str, Curve]], *, metric: str, drawn_as: Mapping[str, Style]
) -> bytes:
    """A metric against the number of labels, one line an encoder, intervals shaded.

    Args:
      panels: what is on the axis → encoder → curve; places > 0, drawn by their logarithm.
      metric: what is on the other axis.
      drawn_as: encoder → style.
    """
    figure = _figure(4.2 * len(panels), 3.6)
    shown = {}
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, curves) in zip(row, panels.items(), strict=True):
        for name, curve in curves.items():
            style = drawn_as[name]
            look = {"color": style.color, "marker": style.marker, "linestyle": style.line}
            (shown[name],) = axes.plot(curve.place, curve.value, markersize=5, **look)
            axes.fill_between(
                curve.place, curve.low, curve.high, color=style.color, alpha=0.12, linewidth=0
            )
        places = np.unique(np.concatenate([curve.place for curve in curves.values()]))
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
        axes.set_xlabel(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(color="#eeeeee")
        _bare(axes)
    row[0].set_ylabel(metric, fontsize=9)
    figure.legend(
        shown.values(), shown, loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    return figure


@_svg
def confusions(matrices: Mapping[str, np.ndarray], class_names: Sequence[str]) -> bytes:
    """Confusion matrices side by side.

    Args:
      matrices: title → (K, K) counts, rows truth, columns prediction.
      class_names: K names.
    """
    side = min(2.2 + 0.55 * len(class_names), 6)
    figure, axes = _grid(len(matrices), 2, side, side)
    for place, (title, matrix) in zip(axes, matrices.items(), strict=False):
        pictures.draw_confusion(place, matrix, class_names)
        place.set_title(title, fontsize=9)
        place.tick_params(labelsize=8)
        for axis in (place.xaxis, place.yaxis):
            axis.label.set_size(8)
    return figure


@_svg
def reliability(bins: Mapping[str, Bins]) -> bytes:
    """Accuracy against confidence; bars say how many of the predictions lie there.

    Args:
      bins: title → bins.
    """
    figure, axes = _grid(len(bins), 3, 2.6, 2.7)
    for number, (place, (title, each)) in enumerate(zip(axes, bins.items(), strict=False)):
        share = each.count / max(each.count.sum(), 1)
        place.bar(
            each.edges[:-1], share, np.diff(each.edges), align="edge", color="#d9d9d9", linewidth=0
        )
        place.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
        there = each.count > 0
        place.plot(
            each.confidence[there], each.accuracy[there], color=_BETTER, marker="o", markersize=4
        )
        place.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
        place.set_title(title, fontsize=9)
        place.set_xlabel("confidence", fontsize=8)
        if number % 3 == 0:
            place.set_ylabel("share that is right", fontsize=8)
        place.tick_params(labelsize=7)
        _bare(place)
    return figure


def _grid(count: int, across: int, width: float, height: float):
    """A figure and `count` axes or more, the surplus hidden."""
    across = min(across, count)
    down = -(-count // across)
    figure = _figure(width * across, height * down)
    figure.get_layout_engine().set(h_pad=0.12)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for surplus in axes[count:]:
        surplus.set_visible(False)
    return figure, axes


def _bare(axes, *sides: str) -> None:
    for side in ("top", "right", *sides):
        axes.spines[side].set_visible(False)
