"""Makes untrusted text (prompts, model names, messages of pods) harmless for where it is shown: one function a place.

Pure. Every writer of `output.py` goes through here; so does whoever writes a format of its own.
"""

from __future__ import annotations

import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")
_FORMULA_STARTS = tuple(
    "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)


def printable(text: str) -> str:
    """Return text on one line, without control and formatting characters, so that no object can drive a terminal.

    Turns of the writing direction go as well: they make a terminal show another text than there is.
    """
    return "".join(_printable(letter) for letter in text)


def _printable(letter: str) -> str:
    if letter.isspace():
        return " "
    return "\N{REPLACEMENT CHARACTER}" if is_unprintable(letter) else letter


def is_unprintable(letter: str) -> bool:
    """Whether a character is of Unicode's category C: control, format, surrogate, private, unassigned."""
    return unicodedata.category(letter)[0] == "C"


def csv_text(text: str) -> str:
    """Return text that a spreadsheet takes for text: what it would compute begins with an apostrophe."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_STARTS) else shown


def markdown_text(text: str) -> str:
    """Return text that Markdown shows letter by letter, in a table too: no mark-up, no HTML, no links."""
    shown = _MARKDOWN.sub(r"\\\1", printable(text))
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Bare addresses would become links, and names mentions: GitHub looks for `://`, `www.` and `@` in the text.
    return shown.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def json_text(document: str) -> str:
    """Return a JSON document in which what is not printable, in strings that is, is escaped as `u` and four digits."""
    return "".join(
        letter if letter == "\n" or not is_unprintable(letter) else _json_escape(letter) for letter in document
    )


def _json_escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
