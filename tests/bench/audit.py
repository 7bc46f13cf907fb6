"""Counts API calls from the API server's audit log. Pure but for reading the file.

The log is written before the answer is sent (`--audit-log-mode=blocking`), so that a mark taken between two phases
parts them exactly. Every attempt counts, also one that the server refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

MUTATING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
ASIDE = frozenset({"events", "leases"})
"""What design section 4 counts apart from the budget of calls."""


@dataclass(frozen=True)
class Call:
    """One finished request."""

    user: str
    verb: str
    resource: str
    """`jobs`, or with a subresource `benchmarkruns/status`; the path for a request about no resource."""

    namespace: str
    name: str
    code: int
    received: datetime
    answered: datetime

    @property
    def mutates(self) -> bool:
        """Whether it asked for a change."""
        return self.verb in MUTATING

    @property
    def is_aside(self) -> bool:
        """Whether it is an Event or a Lease."""
        return self.resource.partition("/")[0] in ASIDE

    @property
    def is_status(self) -> bool:
        """Whether it wrote the status of a run."""
        return self.mutates and self.resource == "benchmarkruns/status"

    @property
    def is_discovery(self) -> bool:
        """Whether it asked which kinds are served, or for health."""
        return self.resource.startswith("/")

    @property
    def kind(self) -> str:
        """Return `verb resource`, the key of the tables."""
        return f"{self.verb} {self.resource}"


class AuditLog:
    """The log file, read from marks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> int:
        """Return where the log ends now."""
        return self._path.stat().st_size

    def calls_since(self, mark: int, user: str) -> list[Call]:
        """Return the finished calls of a user after the mark, in the order of their answers."""
        return self.read(mark, user)[0]

    def read(self, mark: int, user: str) -> tuple[list[Call], int]:
        """Return the finished calls of a user after the mark, and the mark behind them, to read on from."""
        needle = json.dumps(user).encode()
        lines = []
        with self._path.open("rb") as log:
            log.seek(mark)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                mark += len(line)
                if needle in line:
                    lines.append(line)
        return [call for call in parse(lines) if call.user == user], mark


def parse(lines: Iterable[bytes]) -> list[Call]:
    """Parse audit events; those of other stages than the last are left out."""
    events = (json.loads(line) for line in lines)
    return [_call_of(event) for event in events if event.get("stage") == "ResponseComplete"]


def _call_of(event: dict[str, Any]) -> Call:
    reference = event.get("objectRef", {})
    resource = reference.get("resource") or event["requestURI"].partition("?")[0]
    if reference.get("subresource"):
        resource = f"{resource}/{reference['subresource']}"
    return Call(
        user=event["user"]["username"],
        verb=event["verb"],
        resource=resource,
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=int(event.get("responseStatus", {}).get("code", 0)),
        received=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        answered=datetime.fromisoformat(event["stageTimestamp"]),
    )


def seconds_of(calls: Iterable[Call]) -> float:
    """Return the time from the first call's arrival to the last one's answer."""
    calls = tuple(calls)
    return (max(call.answered for call in calls) - min(call.received for call in calls)).total_seconds()


def table(calls: Iterable[Call]) -> dict[str, int]:
    """Return the number of calls by `verb resource`, most frequent first."""
    return dict(Counter(call.kind for call in calls).most_common())
