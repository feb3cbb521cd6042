"""Pictures of a suite's folder: segmentations, and what `looks` drew and measured of features."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from histo_simclr.report import page, words

# Bytes; larger pictures are embedded as JPEG.
LARGE = 500_000


def segmentations(results: dict[str, Any], workdir: Path) -> list[page.Block]:
    """Worst and best segmentations of each row that has some."""
    return [
        picture(
            workdir,
            file,
            title=f"{row['task']}: {row['encoder']}, {words.protocol(row['protocol'])}",
            caption="Worst and best test images: the image, the truth, and what was predicted.",
        )
        for row in results["rows"]
        for file in row["pictures"] or ()
    ]


def looks(found: Mapping[str, dict[str, Any]], workdir: Path) -> list[page.Block]:
    """Robustness side by side, then each encoder's tables and pictures.

    Args:
      found: encoder → what `looks` wrote, in the order to show.
      workdir: folder that the pictures' names start from.
    """
    blocks: list[page.Block] = _side_by_side(
        {name: look["robustness"]["effects"] for name, look in found.items()}
    )
    for name, look in found.items():
        blocks.append(page.Heading(name))
        blocks += map(_table, look["tables"])
        blocks += [
            picture(
                workdir, each["file"], title=f"{name}: {each['title']}", caption=each["caption"]
            )
            for each in look["pictures"]
        ]
    return blocks


def picture(workdir: Path, file: str, *, title: str, caption: str) -> page.Block:
    """A PNG or JPEG of the folder, or a line that says why it cannot be shown."""
    path = (workdir / file).resolve()
    if not path.is_relative_to(workdir.resolve()):
        return page.Text(f"{title}: {file} is not in the suite's folder.", "open")
    try:
        content = path.read_bytes()
    except OSError as error:
        return page.Text(f"{title}: {file} cannot be read ({error.strerror}).", "open")
    kind = page.media_type(content)
    if kind is None:
        return page.Text(f"{title}: {file} is not a PNG or JPEG file.", "open")
    alt = f"{title}. {caption}".strip()
    if len(content) > LARGE:
        content, kind = _as_jpeg(content), "image/jpeg"
    return page.Figure(title, alt, caption, page.data_uri(content, kind))


def _as_jpeg(content: bytes) -> bytes:
    """Sheets of tissue take a sixth of their size so; the PNG stays beside the report."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").save(file, "JPEG", quality=85, subsampling=0)
    return file.getvalue()


def _table(described: dict[str, Any]) -> page.Block:
    """A look's table; of one without rows, what it says instead."""
    note = described.get("note") or ""
    if not described["rows"]:
        return page.Text(f"{described['title']}: {note or words.NONE}")
    rows = tuple(page.row(*map(_cell, cells)) for cells in described["rows"])
    return page.Table(described["title"], tuple(map(str, described["columns"])), rows, note=note)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else words.plain(value)


def _side_by_side(effects: Mapping[str, list[dict[str, Any]]]) -> list[page.Block]:
    """What features tell of cohort, stain, magnification: encoders beside each other."""
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, found in effects.items():
        for effect in found:
            what = ", ".join(effect["nuisances"])
            for measure, value in _measures(effect):
                key = (str(effect["tasks"]), what, measure)
                lines.setdefault(key, {})[name] = value
    if not lines:
        return []
    rows = [
        page.row(*key, *(_cell(each.get(name)) for name in effects)) for key, each in lines.items()
    ]
    return [
        page.Table(
            "Tissue or its source? Encoders side by side",
            ("patches of", "source", "measure", *effects),
            tuple(rows),
            note="Whether a probe names the source of patients and slides that it has not seen, "
            "against the class of their tissue; whose patches lie next to each other. How to read "
            "each measure, and whether it says anything here, stands with each encoder below.",
            heads=3,
        )
    ]


def _measures(effect: dict[str, Any]) -> list[tuple[str, Any]]:
    nuisance, tissue = effect["nuisance"], effect["tissue"]
    return [
        ("source, balanced accuracy", nuisance["balanced_accuracy"]),
        ("the same by chance", nuisance["chance"]),
        ("tissue, balanced accuracy", tissue["balanced_accuracy"]),
        ("the same by chance, tissue", tissue["chance"]),
        ("neighbors from another source", effect["other"]),
        ("the same if drawn blindly", effect["expected"]),
        ("robustness index", effect["robustness_index"]),
        ("the same index if drawn blindly", effect["robustness_index_if_blind"]),
    ]
