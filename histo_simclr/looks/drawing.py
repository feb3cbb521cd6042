"""Arrays → PNG: neighbors, montages, projections, drift. Draws only, computes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from histo_simclr import pictures

# Okabe and Ito's colors, told apart by color-blind eyes too; then the same with other marks.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#000000")
_MARKS = "os^Dv<>P"
# Border and mark of a neighbor by whether its class is that of the query.
_VERDICTS = {
    "query": ("#000000", ""),
    "same": ("#009E73", "✓"),
    "other": ("#D55E00", "✗"),
    "": ("#777777", "–"),
}
# Inches of a patch in sheets; in units of its side: from patch to patch, free about it, for the
# caption below it, for the words beside a row.
_INCH, _STEP, _GAP, _CAPTION, _WORDS = 0.8, 1.1, 0.1, 0.33, 2.5


def entry(folder: Path, file: str, title: str, caption: str) -> dict[str, str]:
    """A picture as a report lists it; its file relative to the folder that holds all looks."""
    return {
        "title": title,
        "caption": caption,
        "file": f"{folder.parent.name}/{folder.name}/{file}",
    }


def neighbor_panels(
    images: np.ndarray, captions: Sequence[Sequence[str]], verdicts: np.ndarray, path: Path
) -> None:
    """Queries at the left, each with its neighbors, nearest first.

    Args:
      images: (Q, 1 + k, S, S, 3) uint8, queries first.
      captions: Q of 1 + k each, of up to two lines; empty where there is no neighbor.
      verdicts: (Q, k) "same", "other", or "" where classes do not compare: borders and marks.
      path: PNG to write.
    """
    # Neighbors stand a little away from their query, so that the first of them is not taken for it.
    width = images.shape[1] * _STEP + _GAP
    figure, axes = _sheet(width, len(images) * (_STEP + _CAPTION))
    for row, (line, words) in enumerate(zip(images, captions, strict=True)):
        for column, (image, caption) in enumerate(zip(line, words, strict=True)):
            if not caption:
                continue
            verdict = str(verdicts[row, column - 1]) if column else "query"
            color, mark = _VERDICTS[verdict]
            left, top = column * _STEP + (_GAP if column else 0), row * (_STEP + _CAPTION)
            _patch(axes, image, left, top, border=color)
            said = f"{mark} {caption}".strip()
            axes.text(left, top + 1.05, said, va="top", fontsize=6, color=color, linespacing=1.1)
    _save_sheet(figure, axes, path)


def montage(images: Sequence[np.ndarray], captions: Sequence[str], path: Path) -> None:
    """One row of patches a cluster, its caption at the left.

    Args:
      images: k of (m, S, S, 3) uint8.
      captions: k, of up to six short lines.
      path: PNG to write.
    """
    wide = max(len(each) for each in images)
    figure, axes = _sheet(_WORDS + wide * _STEP, len(images) * _STEP)
    for row, (line, caption) in enumerate(zip(images, captions, strict=True)):
        axes.text(0, row * _STEP + 0.5, caption, va="center", fontsize=6.5, linespacing=1.25)
        for column, image in enumerate(line):
            _patch(axes, image, _WORDS + column * _STEP, row * _STEP)
    _save_sheet(figure, axes, path)


def scatter_panels(points: np.ndarray, panels: Mapping[str, np.ndarray], path: Path) -> None:
    """The same points, colored by other labels in each panel.

    Args:
      points: (n, 2).
      panels: title → (n,) labels; points of the empty label are gray, below the others.
      path: PNG to write.
    """
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = pictures.new_figure(4.2 * across, 4.4 * down)
    # Drawn in a random order, lest the last label hide the others.
    order = np.random.default_rng(0).permutation(len(points))
    for index, (title, labels) in enumerate(panels.items()):
        axes = figure.add_subplot(down, across, index + 1)
        unknown = points[labels == ""]
        axes.scatter(*unknown.T, s=4, color="#DDDDDD", linewidths=0)
        names = [name for name in np.unique(labels).tolist() if name]
        for mark in range(-(-len(names) // len(_COLORS))):
            shown = names[mark * len(_COLORS) : (mark + 1) * len(_COLORS)]
            color = dict(zip(shown, _COLORS, strict=False))
            mine = order[np.isin(labels[order], shown)]
            chosen = [color[name] for name in labels[mine].tolist()]
            kind = _MARKS[mark % len(_MARKS)]
            axes.scatter(*points[mine].T, s=9, c=chosen, marker=kind, linewidths=0, alpha=0.75)
            for name in shown:
                axes.scatter([], [], s=20, color=color[name], marker=kind, label=name)
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.set_title(title, fontsize=9)
        if names:
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.01),
                ncols=3,
                fontsize=6.5,
                frameon=False,
            )
    pictures.save(figure, path)


def drift_curves(
    magnification: np.ndarray,
    distances: Mapping[str, np.ndarray],
    moved: Mapping[str, np.ndarray],
    spreads: Mapping[str, np.ndarray],
    path: Path,
) -> None:
    """Distance to the whole patch against the magnification, and as part of what places differ by.

    Args:
      magnification: (M,) relative, ascending from 1.
      distances, moved, spreads: task → (M,) mean cosine distances: to the whole patch (solid),
        between crops enlarged alike (dashed), between different places (dotted).
      path: PNG to write.
    """
    figure = pictures.new_figure(8.4, 3.2)
    absolute, relative = figure.subplots(1, 2)
    for index, (task, distance) in enumerate(distances.items()):
        style = {"color": _COLORS[index % len(_COLORS)], "marker": _MARKS[index % len(_MARKS)]}
        absolute.plot(magnification, distance, markersize=4, linewidth=1, label=task, **style)
        thin = {"linewidth": 1, "color": style["color"]}
        absolute.plot(magnification, moved[task], linestyle="--", **thin)
        absolute.plot(magnification, spreads[task], linestyle=":", **thin)
        scale = np.where(spreads[task] > 0, spreads[task], np.nan)
        relative.plot(magnification, distance / scale, markersize=4, linewidth=1, **style)
        relative.plot(magnification, moved[task] / scale, linestyle="--", **thin)
    absolute.plot([], [], color="gray", linestyle="--", label="center to corner, enlarged alike")
    absolute.plot([], [], color="gray", linestyle=":", label="between different places")
    absolute.set_ylabel("cosine distance", fontsize=8)
    absolute.set_title("to the whole patch", fontsize=9)
    relative.axhline(1, color="gray", linestyle=":", linewidth=1)
    relative.text(magnification[0], 1, "as far as another place", va="bottom", fontsize=7)
    relative.set_title("as part of the distance between different places", fontsize=9)
    relative.set_ylim(0, max(1.12, relative.get_ylim()[1]))
    for axes in (absolute, relative):
        axes.set_xlabel("relative magnification", fontsize=8)
        axes.set_xticks(magnification, [f"{value:.2f}" for value in magnification])
        axes.tick_params(labelsize=7)
    absolute.set_ylim(0, None)
    figure.legend(loc="outside lower center", ncols=5, fontsize=7)
    pictures.save(figure, path)


def _sheet(width: float, height: float):
    """A figure and its only axes, in units of a patch's side from the top left."""
    figure = pictures.new_figure(_INCH * (width + _GAP), _INCH * (height + _GAP))
    figure.set_layout_engine("none")
    return figure, figure.add_axes((0, 0, 1, 1))


def _patch(axes, image: np.ndarray, left: float, top: float, *, border: str = "none") -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(image, extent=(left, left + 1, top + 1, top))
    axes.add_patch(Rectangle((left, top), 1, 1, fill=False, edgecolor=border, linewidth=2.2))


def _save_sheet(figure, axes, path: Path) -> None:
    # After the drawing: imshow sets limits of its own.
    width, height = figure.get_size_inches() / _INCH
    axes.set(xlim=(-_GAP, width - _GAP), ylim=(height - _GAP, -_GAP))
    axes.axis("off")
    pictures.save(figure, path)
