"""Operators that share a Lease, with slow and lost answers, frozen processes and clocks that start anywhere.

The Lease is one record that is written only by who saw its latest version. Each operator takes one step at a time:
it sends a call, the server applies it some time later or never, the answer comes back some time later or never.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vidbench_operator.core.leadership import (
    Follow,
    Lead,
    LeaseRecord,
    Limits,
    Seen,
    claim,
    confirm,
    may_act,
    next_step,
    notice,
    release,
)

LIMITS = Limits(duration=12, renew_deadline=8, renew_period=2, watch_period=1)
NAMES = ("a", "b", "c")
STEPS = st.sampled_from([0.0, 0.1, 1.0, 2.0, 4.0, 8.0, 12.0, 12.5])


@dataclass
class Server:
    """One Lease, written by compare and swap."""

    record: LeaseRecord | None = None
    version: int = 0

    def write(self, record: LeaseRecord, version: int) -> bool:
        """Store a record if nobody else has since."""
        if version != self.version:
            return False
        self.record, self.version = record, self.version + 1
        return True


@dataclass
class Call:
    """A call that was sent."""

    sent: float
    record: LeaseRecord | None = None
    """What it writes; None: it reads."""

    version: int = 0
    applied: bool = False
    answer: LeaseRecord | None = None
    answer_version: int = 0
    success: bool = False


@dataclass
class Candidate:
    """One operator; `offset` is where its monotonic clock started."""

    name: str
    offset: float
    seen: Seen = field(default_factory=Seen)
    version: int = 0
    call: Call | None = None
    writes: int = 0
    has_read: bool = False


class SharedLease(RuleBasedStateMachine):
    """Any order of steps of three operators, one server and time."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.server = Server()
        self.candidates: dict[str, Candidate] = {}

    @initialize(offsets=st.tuples(*(st.floats(0, 1e6) for _ in NAMES)))
    def begin(self, offsets: tuple[float, ...]) -> None:
        self.candidates = {name: Candidate(name, offset) for name, offset in zip(NAMES, offsets, strict=True)}

    @rule(name=st.sampled_from(NAMES), seconds=STEPS)
    def live(self, name: str, seconds: float) -> None:
        """Go on without a fault: what is under way arrives, the next call is answered at once, then time passes."""
        for _ in range(2):
            self.send(name)
            self.apply(name)
            self.receive(name)
        self.time += seconds

    @rule(names=st.sets(st.sampled_from(NAMES)), seconds=STEPS)
    def freeze(self, names: set[str], seconds: float) -> None:
        """Let time pass; some look at the Lease meanwhile, the others are frozen."""
        for name in sorted(names):
            self.live(name, seconds / 2 / len(names))
        self.time += seconds / 2

    @rule(name=st.sampled_from(NAMES), others=st.sets(st.sampled_from(NAMES)), seconds=STEPS)
    def answer_late(self, name: str, others: set[str], seconds: float) -> None:
        """Let time pass between what the server did and when its answer is read."""
        self.send(name)
        self.apply(name)
        for other in sorted(others - {name}):
            self.live(other, 0.0)
        self.time += seconds
        for other in sorted(others - {name}):
            self.live(other, 0.0)
        self.receive(name)

    @rule(name=st.sampled_from(NAMES))
    def send(self, name: str) -> None:
        """Do what is due: nothing, a read, or a write."""
        candidate = self.candidates[name]
        if candidate.call is not None:
            return
        now = self.time + candidate.offset
        step = next_step(candidate.seen, name, now, LIMITS)
        if not candidate.has_read or isinstance(step, Follow):
            candidate.call = Call(now)
        elif not isinstance(step, Lead):
            candidate.writes += 1
            record = claim(candidate.seen.record, name, f"{name}-{candidate.writes}", LIMITS)
            candidate.call = Call(now, record, candidate.version)

    @rule(name=st.sampled_from(NAMES))
    def apply(self, name: str) -> None:
        """Let the server take in the call."""
        call = self.candidates[name].call
        if call is None or call.applied:
            return
        call.applied = True
        call.success = call.record is None or self.server.write(call.record, call.version)
        call.answer, call.answer_version = self.server.record, self.server.version

    @rule(name=st.sampled_from(NAMES))
    def receive(self, name: str) -> None:
        """Let the answer arrive."""
        candidate = self.candidates[name]
        call = candidate.call
        if call is None or not call.applied:
            return
        candidate.call = None
        if call.record is None:
            candidate.seen = notice(candidate.seen, call.answer, name, self.time + candidate.offset)
            candidate.version, candidate.has_read = call.answer_version, True
        elif call.success:
            candidate.seen, candidate.version = confirm(call.record, call.sent), call.answer_version
        else:
            candidate.has_read = False

    @rule(name=st.sampled_from(NAMES))
    def lose(self, name: str) -> None:
        """Lose the call or its answer: nobody but the server knows whether it was applied."""
        candidate = self.candidates[name]
        if candidate.call is not None and candidate.call.record is not None:
            candidate.has_read = False
        candidate.call = None

    @rule(name=st.sampled_from(NAMES))
    def crash(self, name: str) -> None:
        """End a process; another one of a new name would be the same to the rest, as it has confirmed nothing."""
        self.candidates[name] = Candidate(name, self.candidates[name].offset, writes=self.candidates[name].writes)

    @rule(name=st.sampled_from(NAMES))
    def shut_down(self, name: str) -> None:
        """Release a Lease that is held, as a graceful end does."""
        candidate = self.candidates[name]
        if candidate.call is None and candidate.seen.confirmed_at is not None and candidate.seen.record is not None:
            self.server.write(release(candidate.seen.record), candidate.version)
            self.crash(name)

    @invariant()
    def at_most_one_acts(self) -> None:
        acting = [
            candidate.name
            for candidate in self.candidates.values()
            if may_act(candidate.seen, self.time + candidate.offset, LIMITS)
        ]
        assert len(acting) <= 1, acting

    def teardown(self) -> None:
        """After all faults, one that runs on its own leads within the longest wait."""
        if not self.candidates:
            return
        survivor = self.candidates["a"]
        survivor.call, survivor.has_read = None, False
        deadline = self.time + LIMITS.duration + 2 * LIMITS.watch_period
        while not may_act(survivor.seen, self.time + survivor.offset, LIMITS):
            assert self.time <= deadline, "nobody leads"
            self.send("a")
            self.apply("a")
            self.receive("a")
            step = next_step(survivor.seen, "a", self.time + survivor.offset, LIMITS)
            self.time += step.seconds if isinstance(step, Follow) else 0.0


TestSharedLease = SharedLease.TestCase
TestSharedLease.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
