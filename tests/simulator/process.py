"""One operator process of the simulator: the real reconciler and the real store of children, and a queue in virtual time.

Its watches may lag, lose, repeat and break off; its memory dies with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random

from vidbench_operator.adapters.projections import RunHead
from vidbench_operator.ports import Refused, RunKey, Unavailable
from vidbench_operator.reconciler import Reconciler
from vidbench_operator.shell.children import ChildStore
from vidbench_operator.shell.intake import Intake
from vidbench_operator.shell.mailbox import Mailbox
from vidbench_operator.shell.resync import Resync

from .connection import Connection, CrashError
from .eventloop import SeededLoop
from .server import Change, Kind

KINDS: tuple[Kind, ...] = ("run", "job", "pod", "node")
SPACING_SECONDS = 0.05
RESYNC_SECONDS = 300.0
MANY_PASSES = 8
CIRCLE_SECONDS = 15
"""For so long no run has many passes in every second, whatever happens to it."""
MakeReconciler = Callable[[Connection, ChildStore, Callable[[str], None]], Reconciler]


class Watch:
    """The stream of one kind: in order, each event after a lag."""

    def __init__(self, process: OperatorProcess, kind: Kind) -> None:
        self._process = process
        self.kind = kind
        self._events: deque[tuple[float, Change]] = deque()
        self._latest = 0.0
        self.lag = 0.0
        """Seconds by which it lags beyond what is usual."""

        self.to_lose = 0
        self.to_repeat = 0
        self.broken = False

    def push(self, change: Change) -> None:
        """Take an event from the server."""
        if self.broken:
            return
        if self.to_lose > 0:
            self.to_lose -= 1
            return
        clock = self._process.server.clock
        due = max(self._latest, clock.monotonic + 0.01 + self.lag)
        self._latest = due
        times = 1
        if self.to_repeat > 0:
            self.to_repeat -= 1
            times = 2
        for _ in range(times):
            self._events.append((due, change))
            clock.after(due - clock.monotonic, self._deliver)

    def begin_anew(self) -> None:
        """List, and watch from there: what was deleted meanwhile is never told."""
        self._events.clear()
        self.broken = False
        for change in self._process.server.everything(self.kind):
            self._process.take_in(None, change)

    def _deliver(self) -> None:
        if self._events and self._events[0][0] <= self._process.server.clock.monotonic + 1e-9:
            _, change = self._events.popleft()
            self._process.take_in(change.type, change)


class OperatorProcess:
    """Lives until it crashes. `failed` is told of what a pass raised that none may raise."""

    def __init__(
        self,
        connection: Connection,
        loop: SeededLoop,
        chance: Random,
        make_reconciler: MakeReconciler,
        count_end: Callable[[str], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.connection = connection
        self.server = connection.server
        self._loop = loop
        self._chance = chance
        self._failed = failed
        self.store = ChildStore()
        self.reconciler = make_reconciler(connection, self.store, count_end)
        self._intake = Intake(self.store, self, Mailbox(lambda call: call()), self._ask_for_list)
        self._resync = Resync(
            connection, self.store, self, period_seconds=RESYNC_SECONDS, done=_nothing, restart_watches=_nothing
        )
        self.watches = {kind: Watch(self, kind) for kind in KINDS}
        self._due: dict[RunKey, float] = {}
        self._running: set[RunKey] = set()
        self._failures: dict[RunKey, int] = {}
        self._circles: dict[RunKey, tuple[int, int, int]] = {}
        """Per run: since which second there were many passes in each, the latest second, and the passes in it."""

        self._list_asked = False
        self.passes = 0

    @property
    def alive(self) -> bool:
        """Whether it has not crashed."""
        return not self.connection.dead

    def start(self) -> None:
        """Watch, and list everything."""
        self.server.subscribe(self._on)
        for watch in self.watches.values():
            watch.begin_anew()
        self._list()
        self.server.clock.after(RESYNC_SECONDS, self._list_periodically)

    def stop(self) -> None:
        """End the process."""
        self.connection.dead = True
        if self._on in self.server._listeners:
            self.server.unsubscribe(self._on)

    # What the intake and the resync ask of a queue

    def add(self, key: RunKey) -> None:
        """Ask for a pass soon."""
        self.add_after(key, 0.0)

    def add_after(self, key: RunKey, seconds: float) -> None:
        """Ask for a pass later; an earlier one that is asked for stays."""
        due = self.server.clock.monotonic + max(SPACING_SECONDS, seconds)
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self.server.clock.after(due - self.server.clock.monotonic, lambda: self._look(key, due))

    def take_in(self, kind: str | None, change: Change) -> None:
        """Take an event of a watch, or of the list at its begin (no kind)."""
        if not self.alive:
            return
        intake, value = self._intake, change.value
        if change.kind == "run":
            assert change.key is not None
            assert isinstance(value, RunHead)
            gone = kind == "DELETED"
            intake._wake(
                change.key, changed=self.store.drop_run(change.key) if gone else self.store.put_run(change.key, value)
            )
        elif change.kind == "node":
            intake._node(kind, value)
        elif change.key is not None:
            (intake._job if change.kind == "job" else intake._pod)(kind, change.key, value)

    # Inside

    def _on(self, change: Change) -> None:
        if self.alive:
            self.watches[change.kind].push(change)

    def _ask_for_list(self) -> None:
        if not self._list_asked:
            self._list_asked = True
            self.server.clock.after(1.0, self._list)

    def _list(self) -> None:
        self._list_asked = False
        if self.alive:
            task = self._loop.create_task(self._resync.sweep())
            task.add_done_callback(self._listed)

    def _listed(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if isinstance(error, Unavailable | Refused):
            self.server.clock.after(1.0, self._list)
        elif error is not None and not isinstance(error, CrashError):
            self._failed(error)

    def _list_periodically(self) -> None:
        if self.alive:
            self._list()
            self.server.clock.after(RESYNC_SECONDS, self._list_periodically)

    def _look(self, key: RunKey, due: float) -> None:
        if not self.alive or self._due.get(key) != due:
            return
        del self._due[key]
        if key in self._running:
            self.add_after(key, SPACING_SECONDS)
            return
        self._count_pass(key)
        self._running.add(key)
        task = self._loop.create_task(self.reconciler.reconcile(key))
        task.add_done_callback(lambda done: self._looked(key, done))

    def _looked(self, key: RunKey, task: asyncio.Task[float | None]) -> None:
        self._running.discard(key)
        error = task.exception()
        if error is None:
            self._failures.pop(key, None)
            again = task.result()
            if again is not None:
                self.add_after(key, again)
        elif isinstance(error, Unavailable | Refused):
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(60.0, 0.2 * 2 ** min(failures - 1, 30)) * (0.5 + self._chance.random() / 2)
            self.add_after(key, max(delay, getattr(error, "retry_after", None) or 0.0))
        elif not isinstance(error, CrashError):
            self._failed(error)

    def _count_pass(self, key: RunKey) -> None:
        """A run that is looked at again and again, second after second, is in a circle that nothing ends."""
        self.passes += 1
        second = int(self.server.clock.monotonic)
        since, latest, number = self._circles.get(key, (second, second, 0))
        if second > latest:
            since = since if number >= MANY_PASSES and second == latest + 1 else second
            number = 0
        self._circles[key] = (since, second, number + 1)
        if second - since > CIRCLE_SECONDS:
            self._failed(AssertionError(f"liveness: passes over run {key.name} in a circle for {CIRCLE_SECONDS} s"))


def _nothing() -> None:
    pass
