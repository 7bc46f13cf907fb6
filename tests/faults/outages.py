"""Ways in which an API server is away or its watches break, as values, and what is asked of an operator meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass

from faults.rules import EVENT, WATCH, Cut, Drop, EventFault, Fail, Hang, Refuse, Repeat, Rule, Silence, always
from faults.scene import Scene


@dataclass(frozen=True)
class Outage:
    """What happens to the calls from now on, and at once to the watches that are open; for how long."""

    rules: tuple[Rule, ...] = ()
    watches: EventFault | None = None
    which: str = ""
    """The watches that are struck: a pattern of their targets."""

    refused: bool = False
    """Nobody listens."""

    seconds: float = 0.5

    def begin(self, scene: Scene) -> None:
        """Let it come."""
        scene.proxy.obey(*self.rules)
        if self.watches is not None:
            assert scene.proxy.strike_watches(self.watches, self.which) > 0
        if self.refused:
            scene.proxy.refuse_connections()

    def end(self, scene: Scene) -> float:
        """Let it go; returns when that was."""
        if self.refused:
            scene.proxy.accept_connections()
        scene.proxy.obey()
        return time.monotonic()


TABLE: dict[str, Outage] = {
    "error410InStream": Outage(watches=Fail(410)),
    "error500InStream": Outage(watches=Fail(500)),
    "http410ToWatch": Outage((always(Refuse(410, "Expired"), WATCH),), Cut(clean=False), seconds=3),
    "http503ToEverything": Outage((always(Refuse(503, "ServiceUnavailable")),), Cut(clean=False), seconds=8),
    "refusedConnections": Outage(refused=True, seconds=5),
    "resetConnections": Outage((always(Drop()),), Cut(clean=False), seconds=5),
    "lineCutByAbort": Outage(watches=Cut(clean=False)),
    "lineCutAndCleanEnd": Outage(watches=Cut(clean=True)),
    "everyEventThrice": Outage((always(Repeat(2), EVENT),), seconds=3),
    "http429ToEverything": Outage(
        (always(Refuse(429, "TooManyRequests", retry_after=1)),), Cut(clean=False), seconds=4
    ),
    "http500ToEverything": Outage((always(Refuse(500, "InternalError")),), Cut(clean=False), seconds=4),
    "http504ToEverything": Outage((always(Refuse(504, "Timeout")),), Cut(clean=False), seconds=4),
    "halfOpenEverything": Outage((always(Hang()),), Silence(), seconds=8),
    "halfOpenWatches": Outage(watches=Silence()),
    "halfOpenWatchOfRuns": Outage(watches=Silence(), which="/benchmarkruns"),
}
"""The table of `facts/reliability.md` 2.2, and what else brown-outs look like."""

LONG: dict[str, Outage] = {
    "http503ForAMinute": Outage((always(Refuse(503, "ServiceUnavailable")),), Cut(clean=False), seconds=60),
    "refusedForAMinute": Outage(refused=True, seconds=60),
    "halfOpenLongerThanACallMayTake": Outage((always(Hang()),), Silence(), seconds=40),
}
"""Longer than back-offs and time limits of calls."""
