"""Marks every text that a person reads for translation; catalogues may follow without a change of code."""

from __future__ import annotations

import gettext
import unicodedata

_ = gettext.translation("vidbench", fallback=True).gettext


def printable(text: str) -> str:
    """Return untrusted text without control characters, so that no object can drive the reader's terminal."""
    return "".join(letter if unicodedata.category(letter)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for letter in text)
