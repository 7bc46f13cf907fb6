"""What was seen of a namespace during a test: values, in the order in which the API server made them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.audit import Call

Body = dict[str, Any]


@dataclass(frozen=True)
class Observation:
    """One version of an object, or its end."""

    at: float
    """When it was heard of, on a monotonic clock."""

    type: str
    """ADDED, MODIFIED or DELETED."""

    body: Body

    @property
    def kind(self) -> str:
        """The object's kind."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.body["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The object's UID."""
        return str(self.body["metadata"]["uid"])

    @property
    def version(self) -> int:
        """The resource version: of all kinds together, they grow as etcd took the writes."""
        return int(self.body["metadata"]["resourceVersion"])

    @property
    def deleted(self) -> bool:
        """Whether the object is gone."""
        return self.type == "DELETED"

    def label(self, name: str) -> str:
        """Return a label; empty if there is none."""
        return str((self.body["metadata"].get("labels") or {}).get(name, ""))

    @property
    def owner(self) -> str:
        """The UID of the object that owns it; empty if none does."""
        owners = self.body["metadata"].get("ownerReferences") or []
        return str(owners[0]["uid"]) if owners else ""


@dataclass(frozen=True)
class Recording:
    """All of it."""

    observations: tuple[Observation, ...]
    calls: tuple[Call, ...] = ()
    """What the operator asked of the API server."""

    quiet: tuple[tuple[datetime, datetime], ...] = ()
    """From when to when nothing was left to do."""

    broken: frozenset[str] = frozenset()
    """Names of runs that no operator can serve."""

    ended_at: float = 0.0
    """Up to when it was listened, on the clock of the observations."""

    @classmethod
    def of(cls, observations: Iterable[Observation], **rest: Any) -> Recording:
        """Return a recording with its observations in order."""
        return cls(tuple(sorted(observations, key=lambda entry: entry.version)), **rest)

    def each(self, kind: str) -> Iterator[Observation]:
        """Yield the observations of a kind, in order."""
        return (entry for entry in self.observations if entry.kind == kind)

    def latest(self, kind: str) -> dict[str, Observation]:
        """Return the last observation of each object of a kind, by UID."""
        return {entry.uid: entry for entry in self.each(kind)}
