"""What a report is made of, whatever it is printed as: headings, paragraphs, lists, tables, in their order.

Every text here is plain: a renderer escapes all of it for where it goes, so that no name of a model can become a
command of LaTeX or a link of Markdown. Knows nothing of statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 (a section) or 2."""

    text: str
    level: Literal[1, 2] = 1


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list without an order; an entry may begin with a term."""

    entries: tuple[Bullet, ...]


@dataclass(frozen=True)
class Bullet:
    """An entry of a list: `term` is set apart from what is said of it."""

    text: str
    term: str | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand to the right."""

    heading: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption. Every row has as many cells as there are columns.

    Raises:
        ValueError: a row has another number of cells.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.caption!r}: {len(row)} cells in a row of {len(self.columns)} columns")


Block = Heading | Paragraph | Bullets | Table


@dataclass(frozen=True)
class Document:
    """A report."""

    title: str
    blocks: tuple[Block, ...]
