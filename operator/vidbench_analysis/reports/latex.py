"""A document as LaTeX that pdflatex, xelatex and lualatex take: the same document gives the same bytes.

Every character that TeX could read as more than itself is escaped; letters that the fonts of pdflatex may lack are
written as their code point, `[U+4E2D]`, so that no name keeps a report from being set. No date: the data say when.
"""

from __future__ import annotations

from typing import assert_never

from .document import Block, Bullets, Document, Heading, Paragraph, Table
from .markdown import one_line

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    ",": "{,}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}",
    "\N{LESS-THAN OR EQUAL TO}": r"\ensuremath{\leq}",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ensuremath{\geq}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{EN DASH}": r"\textendash{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{GREEK SMALL LETTER DELTA}": r"\ensuremath{\delta}",
    "\N{GREEK SMALL LETTER ALPHA}": r"\ensuremath{\alpha}",
    "\N{MIDDLE DOT}": r"\ensuremath{\cdot}",
    "\N{MICRO SIGN}": r"\ensuremath{\mu}",
}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .:;()/=+@?!")
_LATIN = frozenset("\N{POUND SIGN}\N{SECTION SIGN}\N{COPYRIGHT SIGN}") | {chr(code) for code in range(0xC0, 0x100)} - {
    "\xd7",
    "\xf7",
}
"""What the T1 fonts of every TeX have beside ASCII."""

_COLUMNS_OF_A_PAGE = 7
"""Of a table with more, letters are smaller."""

_LETTERS_OF_A_LINE = 40
"""Of a cell; a column with longer ones is broken into lines."""

_PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[T1]{fontenc}
  \usepackage[utf8]{inputenc}
\else
  \usepackage{fontspec}
\fi
\usepackage{textcomp}
\usepackage[margin=15mm]{geometry}
\usepackage{booktabs}
\usepackage{longtable}
\usepackage{caption}
\setlength{\LTleft}{0pt}
\setlength{\tabcolsep}{3pt}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
"""


def render_latex(document: Document) -> str:
    """Return a whole LaTeX file, with one line end at its end."""
    parts = [
        _PREAMBLE + f"\\title{{{escape_latex(document.title)}}}\n\\author{{}}\n\\date{{}}",
        "\\begin{document}\n\\maketitle",
        *(_block(block) for block in document.blocks),
        "\\end{document}",
    ]
    return "\n\n".join(parts) + "\n"


def escape_latex(text: str) -> str:
    """Return a text that LaTeX sets as it is, on one line."""
    return "".join(_letter(letter) for letter in one_line(text))


def _letter(letter: str) -> str:
    if letter in _PLAIN or letter in _LATIN:
        return letter
    return _ESCAPED.get(letter) or f"{{[}}U+{ord(letter):04X}{{]}}"


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"\\{'sub' * (block.level - 1)}section*{{{escape_latex(block.text)}}}"
        case Paragraph():
            return escape_latex(block.text)
        case Bullets():
            return _bullets(block)
        case Table():
            return _table(block)
    assert_never(block)


def _bullets(block: Bullets) -> str:
    if not block.entries:
        return ""
    entries = (
        f"\\item \\textbf{{{escape_latex(entry.term)}}}: {escape_latex(entry.text)}"
        if entry.term is not None
        else f"\\item {{}}{escape_latex(entry.text)}"
        for entry in block.entries
    )
    return "\n".join(("\\begin{itemize}", *entries, "\\end{itemize}"))


def _table(table: Table) -> str:
    alignment = "".join(_alignment(table, number) for number in range(len(table.columns)))
    return "\n".join(
        (
            f"{{\\{'footnotesize' if len(table.columns) <= _COLUMNS_OF_A_PAGE else 'scriptsize'}",
            f"\\begin{{longtable}}{{{alignment}}}",
            f"\\caption*{{{escape_latex(table.caption)}}}\\\\",
            "\\toprule",
            _row(tuple(column.heading for column in table.columns)),
            "\\midrule",
            "\\endhead",
            *(_row(row) for row in table.rows),
            "\\bottomrule",
            "\\end{longtable}}",
        )
    )


def _alignment(table: Table, number: int) -> str:
    """Long texts are broken into lines; figures and names are not."""
    longest = max((len(row[number]) for row in table.rows), default=0)
    if longest > _LETTERS_OF_A_LINE:
        return r"p{55mm}"
    return "r" if table.columns[number].numeric else "l"


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
