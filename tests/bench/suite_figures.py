"""Collects what suites of tests find beside passing; printed, and written to `build/bench/NAME.json`."""

from __future__ import annotations

import os
from typing import Any

from bench import report


class Figures:
    """Figures by suite. Nothing here decides whether a test passes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._load = os.getloadavg()[0]
        self._found: dict[str, dict[str, Any]] = {}

    def put(self, suite: str, **figures: Any) -> None:
        """Note figures of a suite."""
        self._found.setdefault(suite, {}).update(figures)

    def publish(self) -> None:
        """Print and write all of them."""
        if not self._found:
            return
        path = report.write(self._name, {**report.provenance(self._load), self._name: self._found})
        print(f"\n{report.render(self._found)}\n  written to {path.relative_to(report.ROOT)}")
