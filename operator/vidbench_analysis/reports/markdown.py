"""A document as Markdown (GitHub's tables): the same document gives the same bytes.

Every character that Markdown or HTML could read as more than itself is escaped. Control characters and those that
turn the direction of text become the replacement character; line ends become spaces.
"""

from __future__ import annotations

import unicodedata
from typing import assert_never

from .document import Block, Bullets, Column, Document, Heading, Paragraph, Table

_SPECIAL = frozenset("\\`*_{}[]()#+!|~$^")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_WORDS_OF_LINKS = ("http:", "https:", "ftp:", "www.", "mailto:")


def render_markdown(document: Document) -> str:
    """Return the text of a Markdown file, with one line end at its end."""
    parts = [f"# {escape_markdown(document.title)}", *(_block(block) for block in document.blocks)]
    return "\n\n".join(parts) + "\n"


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    plain = one_line(text)
    shown = "".join(_ENTITIES.get(letter) or (f"\\{letter}" if letter in _SPECIAL else letter) for letter in plain)
    for word in _WORDS_OF_LINKS:
        # GitHub makes links of bare addresses; a zero-width word of HTML keeps the text and breaks the link.
        shown = _break_links(shown, word)
    return _escape_beginning(shown.replace("@", "&#64;"))


def one_line(text: str) -> str:
    """Return a text without line ends and without characters that are not seen; sequences of spaces become one."""
    seen = (
        " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter)[0] == "C" else letter
        for letter in text
    )
    return " ".join("".join(seen).split())


def _break_links(text: str, word: str) -> str:
    cut = len(word) - 1
    position = text.lower().find(word)
    while position >= 0:
        mark = text[position + cut]
        entity = f"&#{ord(mark)};"
        text = text[: position + cut] + entity + text[position + cut + 1 :]
        position = text.lower().find(word, position + len(entity))
    return text


def _escape_beginning(text: str) -> str:
    """Escape what would begin a list or a rule: `-`, `=`, or a number with a full stop and a space."""
    if text.startswith(("-", "=")):
        return "\\" + text
    digits = len(text) - len(text.lstrip("0123456789"))
    if digits and (text[digits:] == "." or text[digits:].startswith(". ")):
        return f"{text[:digits]}\\{text[digits:]}"
    return text


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * (block.level + 1)} {escape_markdown(block.text)}"
        case Paragraph():
            return escape_markdown(block.text)
        case Bullets():
            return "\n".join(
                f"- **{escape_markdown(entry.term)}**: {escape_markdown(entry.text)}"
                if entry.term is not None
                else f"- {escape_markdown(entry.text)}"
                for entry in block.entries
            )
        case Table():
            return f"**{escape_markdown(block.caption)}**\n\n{markdown_table(block.columns, block.rows)}"
    assert_never(block)


def markdown_table(columns: tuple[Column, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    """Return a table of GitHub's Markdown."""
    lines = [
        _row(tuple(column.heading for column in columns)),
        "|" + "|".join("---:" if column.numeric else "---" for column in columns) + "|",
        *(_row(row) for row in rows),
    ]
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"
