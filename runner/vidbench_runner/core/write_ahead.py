"""When the termination message is written ahead: at once where a new place is reached, else as seldom as its cost asks for. Pure.

A place is a stage and a phase. Memory mostly runs out in a place that is reached for the first time, and it may take all
processes along, so that the message has to say so before. After that a message only says more exactly what an older one
said already; while samples are taken, writing it may take a share of the time and, once, a small sum beside it, so that the
first samples are written when each is done, however short they are.
"""

from __future__ import annotations

from vidbench_api.verdict import Stage, Verdict

Place = tuple[Stage, str | None]
"""A stage and, where known, a phase."""


class WriteAhead:
    """Remembers what was written, and says when to write again. Times are seconds of one clock."""

    def __init__(self, phase_seconds: float, share: float, burst: float) -> None:
        """Write because of a known place alone at most every `phase_seconds`; sampling, spend `share` of the time and `burst`."""
        self._phase_seconds = phase_seconds
        self._share = share
        self._burst = self._credit = burst
        self._credited_at = 0.0
        self._verdict: Verdict | None = None
        self._place: Place | None = None
        self._places: set[Place] = set()
        self._at = 0.0

    def due(self, verdict: Verdict, place: Place, now: float) -> bool:
        """Return whether to write this now."""
        if place not in self._places:
            return True
        if place[0] is Stage.SAMPLING and self._credit_at(now) <= 0:
            return False
        if verdict is not self._verdict:
            return True
        return place != self._place and now - self._at >= self._phase_seconds

    def written(self, verdict: Verdict, place: Place, now: float, cost: float) -> None:
        """Hear that this was written, which took `cost` seconds of a processor."""
        self._credit, self._credited_at = self._credit_at(now), now
        if place in self._places and place[0] is Stage.SAMPLING:
            self._credit -= cost
        self._verdict, self._place, self._at = verdict, place, now
        self._places.add(place)

    def _credit_at(self, now: float) -> float:
        return min(self._burst, self._credit + self._share * (now - self._credited_at))
