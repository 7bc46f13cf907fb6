"""Compares what was started, what ended, what the ledger holds and what the statuses say, attempt by attempt. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_JOB_NAME = re.compile(r"^(?P<run>.+)-(?P<cell>[0-9a-f]{8})-(?P<shard>[0-9]+)-(?P<attempt>[0-9]+)$")


class Attempt(NamedTuple):
    """One try at one shard."""

    run: str
    cell: str
    shard: int
    attempt: int

    @property
    def of_shard(self) -> tuple[str, str, int]:
        """Return which shard it is of."""
        return self.run, self.cell, self.shard


def attempt_of_job(name: str) -> Attempt:
    """Return the attempt that a Job's name names; raises ValueError."""
    match = _JOB_NAME.match(name)
    if match is None:
        raise ValueError(f"{name!r} is not the name of an attempt's Job")
    return Attempt(match["run"], match["cell"], int(match["shard"]), int(match["attempt"]))


def attempts_of_results(results: Iterable[Mapping[str, Any]]) -> list[Attempt]:
    """Return the attempts whose results are in the ledger."""
    specs = (result["spec"] for result in results)
    return [
        Attempt(spec["run"]["name"], spec["cell"]["id"], spec["shard"], spec["origin"]["attempt"]) for spec in specs
    ]


def attempts_of_statuses(runs: Iterable[Mapping[str, Any]]) -> list[Attempt]:
    """Return the attempts that the statuses call succeeded."""
    return [
        Attempt(run["metadata"]["name"], row["id"], shard["index"], shard["attempt"])
        for run in runs
        for row in run.get("status", {}).get("rows", ())
        for shard in row["shards"]
        if shard["phase"] == "Finished" and shard.get("outcome") == "Succeeded"
    ]


def continuity_figures(
    *,
    expected: int,
    created: Sequence[Attempt],
    ended: Sequence[Attempt],
    recorded: Sequence[Attempt],
    reported: Sequence[Attempt],
) -> dict[str, int]:
    """Return how many shards and attempts there were, and how many of them went astray.

    `created`: Jobs that the API server made, by its audit log. `ended`: verdicts that pods left. `recorded`: results.
    `reported`: shards that a status calls succeeded.
    """
    shards = {attempt.of_shard for attempt in reported}
    return {
        "expected": expected,
        "created": len(created),
        "ended": len(ended),
        "recorded": len(recorded),
        "reported": len(reported),
        "lost": len(set(ended) - set(recorded)) + len(set(ended) - set(reported)),
        "duplicate": sum(_surplus(attempts) for attempts in (created, recorded, reported)),
        "stuck": expected - len(shards),
        "unexplained": len((set(recorded) | set(reported)) - set(ended)) + len(set(ended) - set(created)),
    }


def _surplus(attempts: Sequence[Attempt]) -> int:
    """Count what came beside the first of each shard: nothing failed here, so there is no reason for a second."""
    return sum(number - 1 for number in Counter(attempt.of_shard for attempt in attempts).values())
