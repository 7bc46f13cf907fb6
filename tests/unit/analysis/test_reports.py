"""A report's text says what its document says, whatever the names in it try to be; the same document, the same bytes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_analysis.reports.document import Bullet, Bullets, Column, Document, Heading, Paragraph, Table
from vidbench_analysis.reports.latex import escape_latex, render_latex
from vidbench_analysis.reports.markdown import escape_markdown, render_markdown

HOSTILE = (
    r"\input{/etc/passwd}",
    r"\write18{rm -rf /}",
    "100% & more_of $this^2 ~ #1 {x",
    "| a | b |\n| --- | --- |",
    "[click](javascript:alert(1)) ![x](http://evil)",
    "<script>alert(1)</script> &lt;",
    "<!-- hidden",
    "```\ncode",
    "*bold* _it_ ~~gone~~",
    "https://evil.example www.evil.example me@evil.example",
    "\x1b[31mred\x07",
    "\N{RIGHT-TO-LEFT OVERRIDE}txt.exe",
    "# not a heading",
    "- not a list",
    "1. not a list",
    "=== not a rule",
    "*",
    "[1ex]",
    "\N{CJK UNIFIED IDEOGRAPH-4E2D}\N{CJK UNIFIED IDEOGRAPH-6587} \N{GRINNING FACE} \N{LATIN SMALL LETTER E WITH ACUTE}",
    "",
    " ",
)


def document(*texts: str) -> Document:
    """A document that has every text in every place."""
    blocks = tuple(
        block
        for text in texts
        for block in (
            Heading(text),
            Heading(text, 2),
            Paragraph(text),
            Bullets((Bullet(text, term=text), Bullet(text))),
            Table(text, (Column(text), Column(text, numeric=True)), ((text, text), (text, "1.5"))),
        )
    )
    return Document("A report", blocks)


def test_the_same_document_gives_the_same_bytes() -> None:
    assert render_markdown(document(*HOSTILE)) == render_markdown(document(*HOSTILE))
    assert render_latex(document(*HOSTILE)) == render_latex(document(*HOSTILE))


def test_markdown_of_a_plain_document() -> None:
    plain = Document(
        "Report",
        (
            Heading("Methods"),
            Paragraph("Two cells."),
            Bullets((Bullet("by t", term="intervals"), Bullet("done"))),
            Table("Latency", (Column("cell"), Column("s", numeric=True)), (("wan", "1.25"),)),
        ),
    )
    assert render_markdown(plain) == (
        "# Report\n\n## Methods\n\nTwo cells.\n\n- **intervals**: by t\n- done\n\n**Latency**\n\n"
        "| cell | s |\n|---|---:|\n| wan | 1.25 |\n"
    )


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="3 cells in a row of 2 columns"):
        Table("t", (Column("a"), Column("b")), (("1", "2", "3"),))


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_has_nothing_of_a_hostile_text_but_its_letters(text: str) -> None:
    shown = escape_markdown(text)
    bare = re.sub(r"\\[^a-zA-Z0-9\s]|&#?\w+;", "", shown)
    assert not set(bare) & set("\\`*_{}[]()#+!|~$^<>&@\n\r\x1b\x07"), bare
    assert not re.search(r"(?i)(https?|ftp|mailto):|www\.", shown)
    assert not re.match(r"[-=+*]|\d+[.)]\s", shown)
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in shown


def test_markdown_tables_keep_their_columns() -> None:
    for line in render_markdown(document(*HOSTILE)).splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3, line


COMMANDS = re.compile(r"\\(text[a-z]+|ldots|ensuremath)\{(\\[a-z]+|-)?\}|\\[{}$&#%_]|\{[-\[\]*,]\}")
"""What the escaping itself writes: a command with its argument, an escaped sign, or a sign in braces."""


def test_latex_of_plain_signs_is_readable() -> None:
    assert escape_latex("a_b & c: 5 % (±0.1)") == r"a\_b \& c: 5 \% (\ensuremath{\pm}0.1)"


@given(st.text() | st.sampled_from(HOSTILE))
def test_latex_has_nothing_of_a_text_but_its_letters(text: str) -> None:
    bare = COMMANDS.sub("", escape_latex(text))
    assert not set(bare) & set("\\{}$&#%_^~<>|\"'`-[]*,\n\r"), bare
    assert all(ord(letter) < 0x100 for letter in bare)


@given(st.text())
def test_latex_is_balanced(text: str) -> None:
    rendered = re.sub(r"\\[{}]", "", render_latex(document(text)))
    depth = 0
    for letter in rendered:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    begun, ended = (sorted(re.findall(rf"\\{word}\{{(\w+)\}}", rendered)) for word in ("begin", "end"))
    assert begun == ended
    assert len(begun) == 3


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_pdflatex_sets_hostile_texts(tmp_path: Path) -> None:
    (tmp_path / "report.tex").write_text(render_latex(document(*HOSTILE)), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-no-shell-escape", "-interaction=nonstopmode", "report.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
