"""Meets one fault at each place of a run's life: many runs side by side, the n-th of them struck at its own n-th match."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from faults.rules import EVENT, Fault, Moment, Rule, Strike
from faults.scene import Scene
from integration.live_runs import Manifest

BATCH = 12
SHARDS = 3


@dataclass(frozen=True)
class Wave:
    """What became of it."""

    strikes: tuple[Strike, ...]
    runs: tuple[Manifest, ...]
    slowest_seconds: float
    """From when the runs of a batch were applied until the last one had ended."""

    def figures(self) -> dict[str, Any]:
        """Return what is printed of it."""
        return {
            "struck": len(self.strikes),
            "latestNumber": max((strike.rule.first for strike in self.strikes), default=0),
            "struckAt": dict(Counter(describe(strike) for strike in self.strikes)),
            "slowestBatchSeconds": round(self.slowest_seconds, 1),
        }


def roll(scene: Scene, fault: Fault, verb: str, name: str, moment: Moment = Moment.BEFORE) -> Wave:
    """Strike runs at their 1st, 2nd, 3rd ... match, until there is none left to strike; all of them come to their end."""
    strikes: list[Strike] = []
    runs: list[Manifest] = []
    slowest = 0.0
    first = 1
    while True:
        numbers = range(first, first + BATCH)
        scene.proxy.obey(*(rule_for(scene, fault, verb, f"{name}-{number}", number, moment) for number in numbers))
        batch = [scene.run(f"{name}-{number}", SHARDS) for number in numbers]
        for run in batch:
            seconds = scene.wait_for(lambda run=run: scene.has_ended(run), f"{run['metadata']['name']} ends")
            slowest = max(slowest, seconds)
        # What follows the end of a run is struck, too.
        scene.settle()
        struck = scene.proxy.strikes
        strikes += struck
        runs += batch
        first += BATCH
        if len(struck) < BATCH:
            scene.proxy.obey()
            return Wave(tuple(strikes), tuple(runs), slowest)


def rule_for(scene: Scene, fault: Fault, verb: str, run: str, number: int, moment: Moment) -> Rule:
    """Return the rule that strikes a run at its so many-th match."""
    pattern = rf"#{scene.namespace}/{run}(-\S*)? " if verb == EVENT else rf"{scene.namespace}.*[/#=]{run}([-./?&]|$)"
    return Rule(fault, verb, pattern, first=number, moment=moment)


def describe(strike: Strike) -> str:
    """Return what was struck, without names: `EVENT pods MODIFIED`, `PUT benchmarkruns/status`."""
    target, _, about = strike.call.target.partition("#")
    path = target.partition("?")[0]
    found = re.search(r"/(?:namespaces/[^/]+/)?([a-z]+)(?:/[^/]+(/status)?)?$", path)
    resource = f"{found[1]}{found[2] or ''}" if found else path
    kind = f" {about.rpartition(' ')[2]}" if strike.call.verb == EVENT else ""
    return f"{strike.call.verb} {resource}{kind}"
