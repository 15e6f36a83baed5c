"""Reports as one HTML file: typed blocks put together by a template, pictures inside it, nothing from elsewhere.

A page opens offline and from a mail, follows the reader's light or dark setting, and prints with everything unfolded.
Its few lines of JavaScript sort and filter tables and open the details of a row; without it all is shown.
"""

import base64
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

TEMPLATE = "report.html.j2"


class Tone(StrEnum):
    """How a value is meant: the colour of its mark. Words say the same, so that nothing rests on colour alone."""

    PLAIN = "plain"
    GOOD = "good"
    INFO = "info"
    CHECK = "check"
    STOP = "stop"


@dataclass(frozen=True)
class Picture:
    """A PNG in the page; `alt` is for those who cannot see it, `caption` stands below it."""

    png: bytes
    alt: str
    caption: str = ""

    @property
    def data_uri(self) -> str:
        """The PNG as the browser takes it without a file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Tile:
    """A figure of the summary on top: `value` in large letters under its `label`, with a `note` in small ones."""

    label: str
    value: str
    note: str = ""
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Tiles:
    """A row of figures."""

    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    kind: ClassVar[str] = "text"
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table: `numeric` ones stand right; one with `choices` gets a menu of its values to filter by.

    Numbers, choices and what is `unbroken` stay on one line.
    """

    title: str
    hint: str = ""
    numeric: bool = False
    choices: bool = False
    unbroken: bool = False


@dataclass(frozen=True)
class Cell:
    """A value of a table. It sorts by `order` (not a number: last), else by its text; a `tone` makes it a mark."""

    text: str
    order: float | None = None
    tone: Tone = Tone.PLAIN

    @property
    def key(self) -> str:
        """`order` as JavaScript reads it; empty where there is none."""
        if self.order is None:
            return ""
        return repr(float(self.order)).replace("inf", "Infinity").replace("nan", "NaN")


@dataclass(frozen=True)
class Row:
    """A line of a table. Where it has `pictures` or `remarks` it opens at a click and shows them."""

    cells: tuple[Cell, ...]
    remarks: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()

    @property
    def opens(self) -> bool:
        """Whether there is more to see."""
        return bool(self.remarks or self.pictures)


@dataclass(frozen=True)
class Table:
    """Rows in the order given at first; a click on a column's title sorts by it, the field above filters.

    Raises:
        ValueError: a row with more or fewer cells than there are columns.
    """

    kind: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    empty: str = "Nothing."

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"a row of {len(row.cells)} cells in a table of {len(self.columns)} columns")

    def choices(self, column: int) -> tuple[str, ...]:
        """The different values of a column, in the order of their first appearance."""
        return tuple(dict.fromkeys(row.cells[column].text for row in self.rows))


@dataclass(frozen=True)
class Gallery:
    """Pictures one below the other, side by side where the page is wide enough for `columns` of them."""

    kind: ClassVar[str] = "gallery"
    pictures: tuple[Picture, ...]
    columns: int = 1


Block = Tiles | Text | Table | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page under a title; a `folded` one opens at a click on it."""

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A whole report. `lead` is the summary in a sentence or two; `facts` (name, value) stand small under the title."""

    title: str
    lead: str
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...] = ()
    tiles: Tiles = field(default_factory=lambda: Tiles(()))
    footer: str = ""


def render(page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("contour.cases"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(page=page)


def write_page(page: Page, path: Path) -> None:
    """The page as the HTML file `path`, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(render(page))
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
