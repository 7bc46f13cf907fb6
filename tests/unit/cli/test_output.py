"""Every format of the command line, with texts that would rather be something else."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from vidbench_cli.escaping import csv_text, is_unprintable, markdown_text, printable
from vidbench_cli.output import (
    Column,
    Format,
    Line,
    Page,
    Table,
    as_csv,
    as_json,
    as_markdown,
    as_yaml,
    cell,
    number_text,
    render,
    write,
)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.01235"), (12.34567, "12.35"), (9_999.4, "9999"), (9_999.5, "10000"), (5_123_456.7, "5123457")]
)  # fmt: skip
def test_a_large_figure_has_no_exponent(value: float, text: str) -> None:
    assert number_text(value) == text


COLUMNS = (Column("name", "NAME"), Column("latencySeconds", "LATENCY"), Column("node", "NODE", wide=True))
PAGE = Page(
    heading=(Line("two runs", "bold"),),
    tables=(Table(COLUMNS, ((cell("a"), cell(1.5, "1.500 s"), cell(None)), (cell("b"), cell(-2), cell(True)))),),
    notes=(Line("a note"),),
)
HOSTILE_PIECES = st.sampled_from(
    ["\x1b[31m", "\x1b]8;;http://evil\x07", "\x9b2J", "\N{RIGHT-TO-LEFT OVERRIDE}", "[red]", "[/]", "[link=x]", "|", "\n",
     "\r", "\t", "<script>", "</td>", "&lt;", "`", "*", "_", "![x](y)", "[x](y)", "http://evil.example", "www.evil.example",
     "=1+1", "+1", "-1", "@SUM(A1)", "\N{FULLWIDTH EQUALS SIGN}1", '"', "'", ",", ";", ":", "#", "- ", "1. ", "~~", "$x$",
     "\ud800", "\N{ZERO WIDTH SPACE}", "\N{LINE SEPARATOR}", "\\", "日本", "é", "{{ x }}", "%s", ":smile:"]
)  # fmt: skip
HOSTILE = st.one_of(st.text(max_size=30), st.lists(HOSTILE_PIECES, max_size=6).map("".join))


def _screen(page: Page, *, wide: bool = False, width: int = 200) -> str:
    console = Console(file=io.StringIO(), markup=False, highlight=False, emoji=False, width=width)
    console.print(render(page, wide=wide))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _page_of(text: str) -> Page:
    return Page(
        heading=(Line(text, "bold"),), notes=(Line(text),), tables=(Table((Column("t", "T"),), ((cell(text),),), text),)
    )


def test_table_hides_wide_columns() -> None:
    assert "NODE" not in _screen(PAGE)
    shown = _screen(PAGE, wide=True)
    assert [line.split() for line in shown.splitlines()] == [
        ["two", "runs"], ["NAME", "LATENCY", "NODE"], ["a", "1.500", "s", "-"], ["b", "-2", "True"], ["a", "note"],
    ]  # fmt: skip


def test_narrow_terminal_cuts_no_name_and_no_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = (*(Column(f"c{number}", f"TITLE{number}") for number in range(4)), Column("why", "WHY", folds=True))
    figures = [f"figure{number}-{'日' * 12}1.5 s" for number in range(4)]
    row = (*(cell(figure) for figure in figures), cell("few words of a reason"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    write(Page((Table(columns, (row,)),)), Format.TABLE)
    shown = capsys.readouterr().out
    assert all(text in shown for text in (*figures, "TITLE3", "WHY", "reason"))
    write(Page(notes=(Line("word " * 40),)), Format.TABLE)
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) < 90


def test_json_and_yaml_show_values_by_key() -> None:
    records = [{"name": "a", "latencySeconds": 1.5, "node": None}, {"name": "b", "latencySeconds": -2, "node": True}]
    assert json.loads(as_json(PAGE)) == records
    assert yaml.safe_load(as_yaml(PAGE)) == records
    assert json.loads(as_json(Page(PAGE.tables, data={"all": 1}))) == {"all": 1}


def test_csv_has_keys_all_columns_numbers_and_empty_for_what_is_not_known() -> None:
    assert as_csv(PAGE) == "name,latencySeconds,node\na,1.5,\nb,-2,true\n"


def test_markdown_has_all_columns() -> None:
    assert "| NAME | LATENCY | NODE |\n| --- | --- | --- |\n| a | 1.500 s | \\- |" in as_markdown(PAGE)
    assert as_markdown(PAGE).endswith("- a note\n")


def test_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="cells"):
        Table(COLUMNS, ((cell(1),),))


@given(HOSTILE)
def test_terminal_shows_no_control_character(text: str) -> None:
    shown = _screen(_page_of(text))
    assert not [letter for letter in shown if is_unprintable(letter) and letter != "\n"]
    plain = "".join(printable(text).split())
    if plain and unicodedata.is_normalized("NFC", plain) and len(text) < 40:
        assert plain in "".join(shown.split())


@given(HOSTILE)
def test_json_gives_the_text_back_and_drives_no_terminal(text: str) -> None:
    document = as_json(_page_of(text))
    assert json.loads(document) == [{"t": text}]
    assert not [letter for letter in document if is_unprintable(letter) and letter != "\n"]


@given(HOSTILE.filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text)))
def test_yaml_gives_the_text_back_and_drives_no_terminal(text: str) -> None:
    document = as_yaml(_page_of(text))
    assert yaml.safe_load(document) == [{"t": text}]
    assert not [letter for letter in document if is_unprintable(letter) and letter != "\n"]


@given(HOSTILE)
def test_csv_is_one_field_and_no_formula(text: str) -> None:
    [header, row] = list(csv.reader(io.StringIO(as_csv(_page_of(text))))) or [[], []]
    assert header == ["t"]
    [field] = row or [""]
    assert field.removeprefix("'") == printable(text) or field == printable(text)
    assert not field.lstrip().startswith(tuple("=+-@\N{FULLWIDTH EQUALS SIGN}"))


@given(HOSTILE)
def test_markdown_shows_the_letters_and_nothing_else(text: str) -> None:
    reader = MarkdownIt("commonmark").enable("table").enable("strikethrough")
    [table] = [
        token for token in reader.parse(f"| T |\n| --- |\n| {markdown_text(text)} |") if token.type == "tbody_open"
    ]
    assert table
    tokens = reader.parse(f"| T |\n| --- |\n| {markdown_text(text)} |")
    assert sum(token.type == "td_open" for token in tokens) == 1
    cell_token = next(token for token in reversed(tokens) if token.type == "inline")
    kinds = {child.type for child in cell_token.children or []}
    assert kinds <= {"text", "text_special"}
    shown = "".join(child.content for child in cell_token.children or [])
    assert shown.split() == printable(text).split()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<b>", "&lt;b&gt;"),
        ("*a* _b_ `c` ~~d~~", "\\*a\\* \\_b\\_ \\`c\\` \\~\\~d\\~\\~"),
        ("[a](b) | c", "\\[a\\]\\(b\\) \\| c"),
        ("https://evil www.evil", "https&#58;//evil www&#46;evil"),
        ("# x", "\\# x"),
        ("@everyone a@b.c", "&#64;everyone a&#64;b.c"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_markdown_is_escaped_where_a_reader_or_a_link_finder_would_see_more(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


@pytest.mark.parametrize(("text", "escaped"), [("=1+1", "'=1+1"), (" @x", "' @x"), ("a-b", "a-b"), ("-", "'-")])
def test_formulas_become_text(text: str, escaped: str) -> None:
    assert csv_text(text) == escaped


@pytest.mark.parametrize(("name", "for_people"), [("table", True), ("wide", True), ("json", False), ("csv", False)])
def test_only_tables_are_for_people(name: str, for_people: bool) -> None:
    assert Format(name).for_people is for_people


def test_colours_only_on_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table((Column("s", "S"),), ((cell("x" * 500, style="red"),),))
    write(Page((table,)), Format.TABLE)
    assert capsys.readouterr().out == f"{'S':500}\n{'x' * 500}\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "600")
    write(Page((table,)), Format.TABLE)
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    write(Page((table,)), Format.TABLE)
    assert "\x1b[31m" not in capsys.readouterr().out
