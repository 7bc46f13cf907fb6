"""What goes wrong, and when: rules as values, and which of them a call or a watch event meets. Pure.

A rule counts its own matches and strikes at some of them. Several rules may meet one call; the first one that strikes
decides, the others have counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MUTATING = "POST|PUT|PATCH|DELETE"
READING = "GET"
WATCH = "WATCH"
"""The request that opens a watch."""

EVENT = "EVENT"
"""One line of a watch."""

ANY_CALL = f"{READING}|{MUTATING}|{WATCH}"


class Moment(StrEnum):
    """When a fault comes about."""

    BEFORE = "before"
    """The server never hears of the call."""

    AFTER = "after"
    """The server has done what it was asked for; its answer gets lost."""


# Faults of calls


@dataclass(frozen=True)
class Delay:
    """Let it through after so long."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Abort the connection without an answer."""


@dataclass(frozen=True)
class Hang:
    """Keep the connection and never answer: half-open TCP."""


@dataclass(frozen=True)
class Refuse:
    """Answer with an HTTP error, as the API server words it."""

    code: int
    reason: str = ""
    retry_after: int | None = None


@dataclass(frozen=True)
class Outdated:
    """Answer a list as it was when the proxy first saw its collection, if the server still knows; else as it is."""


@dataclass(frozen=True)
class Kill:
    """Tell the proxy's owner, who kills the client, and never answer."""


# Faults of watch events


@dataclass(frozen=True)
class Lose:
    """Leave the event out, as if it had never been sent."""


@dataclass(frozen=True)
class Repeat:
    """Send the event again, so many times."""

    times: int = 1


@dataclass(frozen=True)
class Hold:
    """Send the event, and all that follow on this watch, so much later."""

    seconds: float


@dataclass(frozen=True)
class Postpone:
    """Send the event after the one that follows it, or after a second if none does."""


@dataclass(frozen=True)
class Replay:
    """Send the last events of this watch once more, oldest first, then this one."""

    events: int = 10


@dataclass(frozen=True)
class Cut:
    """Send half of the event's line and end: by a TCP abort, or as if all had been said."""

    clean: bool


@dataclass(frozen=True)
class Fail:
    """Send an ERROR event with this code, and end."""

    code: int


@dataclass(frozen=True)
class Silence:
    """Send nothing any more, and keep the connection open."""


CallFault = Delay | Drop | Hang | Refuse | Outdated | Kill
EventFault = Lose | Repeat | Hold | Postpone | Replay | Cut | Fail | Silence
Fault = CallFault | EventFault


@dataclass(frozen=True)
class Call:
    """What a rule sees of a request or of a watch event."""

    verb: str
    """The HTTP method, or WATCH, or EVENT."""

    target: str
    """Path and query of a request, with `#` and the new object's name if it is a POST.

    For an event the path of the watch, `#`, the object's namespace and name, and the event's type.
    """

    client: str = ""
    """What the client calls itself."""


@dataclass(frozen=True)
class Rule:
    """A fault, and the calls that meet it."""

    fault: Fault
    verb: str = ANY_CALL
    """A regular expression for all of the verb."""

    target: str = ""
    """A regular expression to be found somewhere in the target."""

    client: str = ""
    """A regular expression to be found in what the client calls itself."""

    first: int = 1
    """The match that is struck first."""

    every: int | None = None
    """From there on, each so many-th match is struck too; None: no other one."""

    times: int | None = None
    """How many matches are struck at most; None: no limit."""

    moment: Moment = Moment.BEFORE
    name: str = ""
    """What tests call it."""

    def matches(self, call: Call) -> bool:
        """Whether the rule counts this call."""
        return (
            re.fullmatch(self.verb, call.verb) is not None
            and re.search(self.target, call.target) is not None
            and re.search(self.client, call.client) is not None
        )

    def strikes_at(self, number: int) -> bool:
        """Whether the rule strikes at its so many-th match."""
        if number < self.first:
            return False
        if self.every is None:
            return number == self.first
        step, rest = divmod(number - self.first, self.every)
        return rest == 0 and (self.times is None or step < self.times)


def always(
    fault: Fault, verb: str = ANY_CALL, target: str = "", *, client: str = "", moment: Moment = Moment.BEFORE
) -> Rule:
    """Return a rule that strikes at every match."""
    return Rule(fault, verb, target, client, every=1, moment=moment)


@dataclass(frozen=True)
class Strike:
    """A rule that strikes, and at which of its matches."""

    rule: Rule
    number: int
    call: Call


@dataclass(frozen=True)
class RuleBook:
    """Rules and how often each has matched. A value: meeting a call gives another book."""

    rules: tuple[Rule, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> RuleBook:
        """Return a book in which nothing has matched yet."""
        kept = tuple(rules)
        return cls(kept, (0,) * len(kept))

    def meet(self, call: Call) -> tuple[RuleBook, Strike | None]:
        """Count a call; returns the book after it, and the first rule that strikes."""
        counts = tuple(count + rule.matches(call) for rule, count in zip(self.rules, self.counts, strict=True))
        struck = (
            Strike(rule, count, call)
            for rule, before, count in zip(self.rules, self.counts, counts, strict=True)
            if count > before and rule.strikes_at(count)
        )
        return RuleBook(self.rules, counts), next(struck, None)


def verb_of(method: str, query: str) -> str:
    """Return the verb of a request."""
    return WATCH if method == READING and re.search(r"(^|&)watch=(true|1)(&|$)", query) else method
