"""Arrays → PNG files: confusion matrix, curves, views, counts. Draws only, computes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str], path: Path, *, title: str
) -> None:
    """Confusion matrix with counts, shaded by the share of each true class.

    Args:
      matrix: (K, K) counts, rows truth, columns prediction.
      class_names: K names.
      path: PNG to write.
      title: above the picture.
    """
    side = min(3 + 0.7 * len(class_names), 16)
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    draw_confusion(axes, matrix, class_names)
    axes.set_title(title, fontsize=10)
    save(figure, path)


def draw_confusion(axes, matrix: np.ndarray, class_names: Sequence[str]) -> None:
    """The same within a figure.

    Args:
      axes: matplotlib's, empty.
      matrix, class_names: see `confusion_matrix`.
    """
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, vmin=0, vmax=1, cmap="Purples")
    axes.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right")
    axes.set_yticks(range(len(class_names)), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row in range(len(class_names)):
        for column in range(len(class_names)):
            color = "white" if share[row, column] > 0.6 else "black"
            text = f"{matrix[row, column]:.0f}\n{share[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)


def training_curves(
    steps: np.ndarray,
    curves: dict[str, np.ndarray],
    path: Path,
    *,
    chance: dict[str, float],
    untrained: dict[str, float] | None = None,
) -> None:
    """Metrics against the step, one panel each.

    Args:
      steps: (n,) optimizer steps.
      curves: metric → (n,) values; NaN where it was not measured.
      path: PNG to write.
      chance: metric → level of an encoder that learned nothing, drawn as a dashed line.
      untrained: metric → where it was before the first step, drawn likewise.
    """
    across = min(3, len(curves))
    down = -(-len(curves) // across)
    figure = new_figure(4 * across, 2.6 * down)
    for index, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(down, across, index + 1)
        known = np.isfinite(values)
        # Measured now and then: points, so that one of them alone is seen too.
        axes.plot(steps[known], values[known], linewidth=1, marker="" if known.all() else ".")
        for word, level in (("chance", chance), ("untrained", untrained or {})):
            if name in level:
                axes.axhline(level[name], color="gray", linestyle="--", linewidth=0.8)
                edge = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
                axes.text(0.99, level[name], word, fontsize=7, **edge)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        if index >= len(curves) - across:
            axes.set_xlabel("step", fontsize=8)
    save(figure, path)


def against_variable(
    panels: Mapping[str, Mapping[str, Sequence[tuple[Any, float, float, float, float]]]],
    path: Path,
    *,
    variable: str,
    measure: str,
    title: str,
    bold: str,
) -> None:
    """Measured values against a variable, one panel beside the other, one line a name.

    Args:
      panels: title → name → points (value of the variable, measured, low, high, sd); the names
        are those of the first panel. Values are numbers, shares as floats, or words, drawn in
        their order; of a name whose only value is None, a level is drawn. Bars reach from low to
        high, the band is one sd; NaN draws neither.
      path: PNG to write.
      variable, measure: of the axes.
      title: above the panels.
      bold: the name whose line is black and has the band; those after it are dashed.
    """
    figure = new_figure(4.6 * len(panels), 3.9)
    figure.suptitle(title, fontsize=10)
    handles: dict[str, Any] = {}
    for index, (name, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        values = [point[0] for line in lines.values() for point in line if point[0] is not None]
        ticks = list(dict.fromkeys(values))
        is_numeric = all(isinstance(value, int | float) for value in values)
        if is_numeric and max(values) >= 10 * min(values) > 0:
            axes.set_xscale("log")
        styles = _line_styles(list(lines), bold)
        for label, line in lines.items():
            if line[0][0] is None:
                handles[label] = axes.axhline(line[0][1], **styles[label])
                continue
            measured, low, high, sd = np.array([point[1:] for point in line], float).T
            places = [point[0] if is_numeric else ticks.index(point[0]) for point in line]
            bars = np.nan_to_num(np.maximum([measured - low, high - measured], 0))
            marks = {"marker": "o", "markersize": 3, "capsize": 2, **styles[label]}
            handles[label] = axes.errorbar(places, measured, bars, **marks)
            if label == bold and np.isfinite(sd).all():
                axes.fill_between(places, measured - sd, measured + sd, color="black", alpha=0.15)
        places = ticks if is_numeric else range(len(ticks))
        axes.set_xticks(places, [_tick(value) for value in ticks], rotation=30)
        axes.minorticks_off()
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(variable, fontsize=8)
        axes.set_ylabel(measure, fontsize=8)
        axes.tick_params(labelsize=7)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=6, fontsize=7)
    save(figure, path)


def _tick(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0%}" if isinstance(value, float) else f"{value:,}"


def _line_styles(names: Sequence[str], bold: str) -> dict[str, dict[str, Any]]:
    after = names.index(bold) + 1 if bold in names else len(names)
    styles = {name: {"linewidth": 1, "color": f"C{n % 10}"} for n, name in enumerate(names)}
    dashes = ("--", ":", "-.")
    for number, name in enumerate(names[after:]):
        styles[name] |= {"color": "gray", "linestyle": dashes[number % 3]}
    if bold in names:
        styles[bold] = {"linewidth": 2, "color": "black"}
    return styles


def counts(panels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Bars, one panel beside the other, the largest on top.

    Args:
      panels: title → name → count. Beyond 30 names, the rest are summed up as one.
      path: PNG to write.
    """
    shown = {title: _largest(values, 30) for title, values in panels.items()}
    height = 0.8 + 0.16 * max(len(values) for values in shown.values())
    # A picture of bars and few words: it travels with every record set.
    figure = new_figure(2.6 * len(shown), height, dpi=90)
    for index, (title, values) in enumerate(shown.items()):
        axes = figure.add_subplot(1, len(shown), index + 1)
        axes.barh([name or "?" for name in values], list(values.values()), color="tab:purple")
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
    save(figure, path)


def _largest(values: Mapping[str, int], names: int) -> dict[str, int]:
    ordered = sorted(values.items(), key=lambda pair: -pair[1])
    rest = ordered[names:]
    others = {f"{len(rest)} others": sum(count for _, count in rest)} if rest else {}
    return dict(ordered[:names]) | others


def views_grid(patches: np.ndarray, views: Sequence[np.ndarray], path: Path) -> None:
    """Patches beside their views, one row a patch, pixel for pixel.

    Args:
      patches: (n, H, W, 3) uint8.
      views: each (n, px, px, 3), floats in [0, 1] (not normalized); one column each.
      path: PNG to write.
    """
    columns = [patches] + [np.round(view * 255).astype(np.uint8) for view in views]
    gap = 4
    height = max(column.shape[1] for column in columns)
    width = sum(column.shape[2] for column in columns) + gap * (len(columns) - 1)
    sheet = np.full((len(patches) * (height + gap) - gap, width, 3), 255, np.uint8)
    left = 0
    for column in columns:
        for index, picture in enumerate(column):
            top = index * (height + gap)
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        left += column.shape[2] + gap
    from matplotlib import image

    partial = _partial(path)
    image.imsave(partial, sheet, format="png", metadata=_METADATA)
    partial.replace(path)


def segmentations(
    images: np.ndarray,
    masks: Mapping[str, np.ndarray],
    captions: Sequence[str],
    class_names: Sequence[str],
    path: Path,
) -> None:
    """Images beside themselves under their masks, one row an image; class 0 is left bare.

    Args:
      images: (n, H, W, 3) uint8.
      masks: title → (n, H, W) class numbers, e.g. truth and prediction; one column each.
      captions: n, left of the images.
      class_names: K names; numbers from K on are drawn gray.
      path: PNG to write.
    """
    from matplotlib import colors, patches

    count, height, width = images.shape[:3]
    figure = new_figure(2.6 * (1 + len(masks)), 2.6 * count * height / width + 0.5)
    shades = ("tab:cyan", "tab:orange", "tab:green", "tab:red", "tab:blue", "tab:olive")
    shown = {name: shades[n % len(shades)] for n, name in enumerate(class_names[1:])}
    table = np.array([[0, 0, 0, 0], *(colors.to_rgba(c, 0.45) for c in shown.values())])
    table = np.concatenate((table, [[0.5, 0.5, 0.5, 0.8]]))
    grid = figure.subplots(count, 1 + len(masks), squeeze=False)
    for row, (line, image) in enumerate(zip(grid, images, strict=True)):
        line[0].set_ylabel(captions[row], fontsize=7)
        for axes, title in zip(line, ("image", *masks), strict=True):
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(title, fontsize=9)
            if title in masks:
                axes.imshow(table[np.minimum(masks[title][row], len(class_names))])
    handles = [patches.Patch(color=color, label=name) for name, color in shown.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7)
    save(figure, path)


# Without it matplotlib writes its version: equal results would differ in bytes.
_METADATA = {"Software": None}


def new_figure(width: float, height: float, dpi: int = 120):
    """An empty matplotlib figure of so many inches that `save` writes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    # Agg draws without a display, and without pyplot's global state.
    FigureCanvasAgg(figure)
    return figure


def save(figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all; equal figures give equal bytes."""
    partial = _partial(path)
    figure.savefig(partial, format="png", metadata=_METADATA)
    partial.replace(path)


def _partial(path: Path) -> Path:
    return Path(path).with_name(Path(path).name + ".tmp")
