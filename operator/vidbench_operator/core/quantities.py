"""Kubernetes quantities (`500m`, `32Gi`, `1e3`) to numbers."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i))?$")
_FACTORS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip


def parse_quantity(text: str | None) -> float | None:
    """Return the number; None for None and for text that is no quantity of something that can be had."""
    match = _QUANTITY.match(text or "")
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    return float(f"{number}{exponent or ''}") * _FACTORS.get(suffix or "", 1.0)
