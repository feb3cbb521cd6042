"""What a page is made of, and how it becomes one HTML file: knows nothing of encoders or results.

Everything lies in the file itself: pictures as data URIs, no script, no request to anywhere.
"""

import base64
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jinja2

TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Fields:
      text: its content.
      detail: smaller, below it, in lines: an interval.
      mark: a remark, shown as a badge.
      tone: "bad" or "open", the badge's color; never the only carrier of a meaning.
      best: whether it is the best of its column.
      code: whether it is to be typed: its words, with their hyphens, stay whole.
      link: a file beside the page that the text leads to.
    """

    text: str
    detail: str = ""
    mark: str = ""
    tone: str = "open"
    best: bool = False
    code: bool = False
    link: str = ""


@dataclass(frozen=True)
class Row:
    """Cells of one row, as many as the table has columns; tone "floor" or "bad" colors it."""

    cells: tuple[Cell, ...]
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Fields:
      title: its caption.
      columns: heads.
      rows: of len(columns) cells each.
      heads: how many columns on the left name the row.
      note: how to read it, below.
      folded: shown when it is asked for.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    heads: int = 1
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture: `alt` says what it shows to who cannot see it, `caption` how to read it."""

    kind: ClassVar[str] = "figure"
    title: str
    alt: str
    caption: str
    source: str


@dataclass(frozen=True)
class Text:
    """A paragraph; tone "bad", "open" or "good" puts it in a box."""

    kind: ClassVar[str] = "text"
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar[str] = "items"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """The head of a part of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be typed as they stand."""

    kind: ClassVar[str] = "code"
    text: str


Block = Table | Figure | Text | Items | Heading | Code


@dataclass(frozen=True)
class Section:
    """A chapter with an anchor of the same name."""

    title: str
    anchor: str
    blocks: tuple[Block, ...]


def row(*cells: Cell | str, tone: str = "") -> Row:
    """A row of cells and plain texts."""
    return Row(tuple(each if isinstance(each, Cell) else Cell(each) for each in cells), tone)


def drawing(title: str, alt: str, caption: str, svg: bytes) -> Figure:
    """A figure of an SVG file."""
    return Figure(title, alt, caption, data_uri(svg, "image/svg+xml"))


def data_uri(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def media_type(content: bytes) -> str | None:
    """Of PNG and JPEG files, by their first bytes; None of everything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/jpeg" if content.startswith(b"\xff\xd8\xff") else None


def render(title: str, lead: Sequence[Text], sections: Sequence[Section]) -> str:
    """The page as HTML.

    Args:
      title: of the page.
      lead: paragraphs before the list of contents.
      sections: in order; empty ones are not shown.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = importlib.resources.files("histo_simclr.report").joinpath(TEMPLATE)
    template = environment.from_string(source.read_text(encoding="utf-8"))
    shown = [section for section in sections if section.blocks]
    return template.render(title=title, lead=lead, sections=shown) + "\n"
