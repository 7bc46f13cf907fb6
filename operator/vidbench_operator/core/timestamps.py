"""Kubernetes timestamps to seconds since the epoch and back. Reads no clock."""

from __future__ import annotations

from datetime import UTC, datetime

_LAST_SECOND = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


def format_time(seconds: float) -> str:
    """Return RFC 3339 text in UTC, to the second, as Kubernetes writes it; times outside 1970-9999 become its ends.

    Other people's clocks end up here: a nonsense time in a pod must not stop the pass.
    """
    return datetime.fromtimestamp(min(max(0, int(seconds)), _LAST_SECOND), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(seconds: float) -> str:
    """Return RFC 3339 text in UTC with microseconds, as Leases have it."""
    moment = datetime.fromtimestamp(min(max(0.0, seconds), float(_LAST_SECOND)), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str | None) -> float | None:
    """Return seconds since the epoch; None for None and for text that is no timestamp."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
