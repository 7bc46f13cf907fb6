"""What a command shows, as a value, and its six formats: a command describes its columns and rows once.

    table = Table(
        columns=(Column("name", "NAME"), Column("latencySeconds", "LATENCY"), Column("node", "NODE", wide=True)),
        rows=((cell("nightly"), cell(1.68, "1.680 s"), cell(None)),),
    )
    write(Page(tables=(table,)), Format.TABLE)

Keys carry the unit. JSON and YAML show `Page.data` (full data) where it is given, else keys and values; CSV shows the first
table's keys and values, all columns; table, wide and Markdown show titles and texts. Escaping is done here: cells hold text as it came.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from .escaping import csv_text, is_unprintable, json_text, markdown_text, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH_OF_A_FILE = 2_000
"""A file or a pipe has no edge at which to cut a figure or fold a message."""

NOT_KNOWN = "-"
Scalar = str | int | float | bool | None


class Format(StrEnum):
    """Values of `--output`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    MARKDOWN = "markdown"

    @property
    def for_people(self) -> bool:
        """Whether a person reads it on a screen: progress and colours belong there only."""
        return self in (Format.TABLE, Format.WIDE)


@dataclass(frozen=True)
class Column:
    """One column: its key in data (camelCase, with the unit), its title, whether only `wide` shows it."""

    key: str
    title: str
    wide: bool = False
    folds: bool = False
    """Whether a narrow terminal may break its texts into lines; figures and names are not broken."""


@dataclass(frozen=True)
class Cell:
    """A value as data, and as people read it. A value of None was not measured or is not known."""

    value: Scalar
    text: str
    style: str = ""


def cell(value: Scalar, text: str | None = None, style: str = "") -> Cell:
    """Return a cell; without a text the value's own, and `-` for None."""
    if text is None:
        text = NOT_KNOWN if value is None else str(value)
    return Cell(value, text, style)


@dataclass(frozen=True)
class Table:
    """Columns and rows; every row has a cell for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row has other cells than the table has columns")

    @property
    def records(self) -> list[dict[str, Scalar]]:
        """Return the rows by key."""
        return [{column.key: entry.value for column, entry in zip(self.columns, row, strict=True)} for row in self.rows]


@dataclass(frozen=True)
class Line:
    """A line of text with a style of rich, such as `bold`, `dim` or `red`."""

    text: str
    style: str = ""


def number_text(value: float) -> str:
    """Return a figure of unknown size for people: four significant digits, and no exponent for a large one."""
    return f"{value:.4g}" if abs(value) < 9_999.5 else f"{value:.0f}"


@dataclass(frozen=True)
class Page:
    """All that a command shows: lines, tables, lines; and the full data behind them."""

    tables: tuple[Table, ...] = ()
    heading: tuple[Line, ...] = ()
    notes: tuple[Line, ...] = ()
    data: Any = None

    def full_data(self) -> Any:
        """Return what JSON and YAML show."""
        if self.data is not None:
            return self.data
        return (
            self.tables[0].records if len(self.tables) == 1 else {table.title: table.records for table in self.tables}
        )


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that reads no mark-up, colours on terminals only (and not with NO_COLOR), and cuts nothing in pipes."""
    from rich.console import Console

    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if console.is_terminal:
        return console
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=WIDTH_OF_A_FILE)


def write(page: Page, output: Format) -> None:
    """Write a page to standard output."""
    if output.for_people:
        print_whole(make_console(), render(page, wide=output is Format.WIDE))
        return
    writers = {Format.JSON: as_json, Format.YAML: as_yaml, Format.CSV: as_csv, Format.MARKDOWN: as_markdown}
    typer.echo(writers[output](page), nl=False)


def print_whole(console: Console, shown: RenderableType) -> None:
    """Print with no figure or name cut: what a terminal is too narrow for, the terminal wraps, as with kubectl."""
    unbounded = console.options.update(max_width=WIDTH_OF_A_FILE)
    console.width = max(console.width, console.measure(shown, options=unbounded).minimum)
    console.print(shown)


def render(page: Page, *, wide: bool = False) -> RenderableType:
    """Return a page for rich: for `write` and for a live display."""
    from rich.console import Group
    from rich.text import Text

    def lines(given: tuple[Line, ...]) -> Iterator[RenderableType]:
        return (Text(printable(line.text), style=line.style) for line in given)

    parts = [*lines(page.heading)]
    for table in page.tables:
        if table.title:
            parts += [Text(""), Text(printable(table.title), style="bold")]
        parts.append(_rich_table(table, wide))
    return Group(*parts, *lines(page.notes))


def _rich_table(table: Table, wide: bool) -> RenderableType:
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = [number for number, column in enumerate(table.columns) if wide or not column.wide]
    drawn = RichTable(box=None, header_style="bold", pad_edge=False)
    for number in shown:
        column = table.columns[number]
        texts = (column.title, *(printable(row[number].text) for row in table.rows))
        widest = None if column.folds else max(map(cell_len, texts))
        drawn.add_column(Text(column.title), no_wrap=not column.folds, overflow="fold", min_width=widest)
    for row in table.rows:
        drawn.add_row(*(Text(printable(row[number].text), style=row[number].style) for number in shown))
    return drawn


def as_json(page: Page) -> str:
    """Return the full data as JSON, indented; nothing in it drives a terminal."""
    return json_text(json.dumps(page.full_data(), indent=2, ensure_ascii=False)) + "\n"


def as_yaml(page: Page) -> str:
    """Return the full data as YAML; with characters that do not print, all but ASCII is escaped."""
    import yaml

    data = page.full_data()
    hostile = any(is_unprintable(letter) for letter in json.dumps(data, ensure_ascii=False))
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=not hostile, width=120)


def as_csv(page: Page) -> str:
    """Return the first table as CSV: keys, then values; None is empty, numbers are numbers, formulas are text."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    for table in page.tables[:1]:
        writer.writerow([column.key for column in table.columns])
        writer.writerows([_csv_value(entry.value) for entry in row] for row in table.rows)
    return sheet.getvalue()


def _csv_value(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return csv_text(value)
    return str(value).lower() if isinstance(value, bool) else value


def as_markdown(page: Page) -> str:
    """Return headings, tables with all columns and notes as GitHub's Markdown."""
    parts = [markdown_text(line.text) for line in page.heading if line.text]
    for table in page.tables:
        if table.title:
            parts.append(f"### {markdown_text(table.title)}")
        parts.append("\n".join(_markdown_lines(table)))
    notes = "\n".join(f"- {markdown_text(line.text)}" for line in page.notes if line.text)
    return "\n\n".join([*parts, *([notes] if notes else [])]) + "\n"


def _markdown_lines(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(markdown_text(column.title) for column in table.columns) + " |"
    yield "|" + " --- |" * len(table.columns)
    for row in table.rows:
        yield "| " + " | ".join(markdown_text(entry.text) for entry in row) + " |"
