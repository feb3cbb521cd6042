"""Arrays → PNG files: confusion matrix, curves, views, counts. Draws only, computes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

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
    classes = len(class_names)
    side = min(3 + 0.7 * classes, 16)
    figure = _figure(side, side)
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(share, vmin=0, vmax=1, cmap="Purples")
    axes.set_xticks(range(classes), class_names, rotation=45, ha="right")
    axes.set_yticks(range(classes), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    for row in range(classes):
        for column in range(classes):
            color = "white" if share[row, column] > 0.6 else "black"
            text = f"{matrix[row, column]:.0f}\n{share[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    _save(figure, path)


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
    figure = _figure(4 * across, 2.6 * down)
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
    _save(figure, path)


def counts(panels: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Bars, one panel beside the other, the largest on top.

    Args:
      panels: title → name → count. Beyond 30 names, the rest are summed up as one.
      path: PNG to write.
    """
    shown = {title: _largest(values, 30) for title, values in panels.items()}
    height = 0.8 + 0.16 * max(len(values) for values in shown.values())
    # A picture of bars and few words: it travels with every record set.
    figure = _figure(2.6 * len(shown), height, dpi=90)
    for index, (title, values) in enumerate(shown.items()):
        axes = figure.add_subplot(1, len(shown), index + 1)
        axes.barh([name or "?" for name in values], list(values.values()), color="tab:purple")
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
    _save(figure, path)


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
    figure = _figure(2.6 * (1 + len(masks)), 2.6 * count * height / width + 0.5)
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
    _save(figure, path)


# Without it matplotlib writes its version: equal results would differ in bytes.
_METADATA = {"Software": None}


def _figure(width: float, height: float, dpi: int = 120):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    # Agg draws without a display, and without pyplot's global state.
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path: Path) -> None:
    partial = _partial(path)
    figure.savefig(partial, format="png", metadata=_METADATA)
    partial.replace(path)


def _partial(path: Path) -> Path:
    return Path(path).with_name(Path(path).name + ".tmp")
