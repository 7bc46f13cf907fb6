"""What the quickstart example is expected to end as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.e2e_cluster import RunView

MEASURED_CELLS = ("mid-wan/cpu/short", "mid-wan/cpu/long", "tiny-ltx/cpu/short", "tiny-ltx/cpu/long")
FAILED_CELLS = ("broken/cpu/short", "broken/cpu/long")


@dataclass(frozen=True)
class Quickstart:
    """The ended run of examples/quickstart.yaml."""

    namespace: str
    view: RunView
    operator_log: tuple[dict[str, Any], ...]
    """What every replica logged from the run's start to its end: later tests replace the pods that did."""
