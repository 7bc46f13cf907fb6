"""Suite 1: the operator is killed at every mutating call, before and after the server applied it, and started again."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
from bench.suite_figures import Figures
from faults.rules import MUTATING, Kill, Moment, Rule, Strike
from faults.scene import Scene
from integration.live_runs import Manifest, condition, shards_of
from support.played_kubelet import succeeds

OpenScene = Callable[..., Scene]
PARALLELISM = 5

TRIES = 2


def target_of(scene: Scene) -> str:
    """Every call in the scene's namespace."""
    return rf"/namespaces/{scene.namespace}/"


def resource_of(strike: Strike) -> str:
    """Return verb and resource of the call that was struck."""
    found = re.search(r"/namespaces/[^/]+/([a-z]+)(?:/[^/?]+(/status)?)?", strike.call.target)
    assert found is not None, strike
    return f"{strike.call.verb} {found[1]}{found[2] or ''}"


def assert_succeeded(scene: Scene, run: Manifest) -> None:
    """The run ended well, and no crash cost an attempt."""
    body = scene.api.get(run).body
    assert condition(body, "Complete").get("reason") == "AllSucceeded", body["status"]
    assert {shard["attempt"] for shard in shards_of(body)} == {1}


class Crashes:
    """Lets runs of so many shards come to their end, crashed as rules say, and keeps what was met."""

    def __init__(self, scene: Scene, shards: int) -> None:
        self.scene = scene
        self.shards = shards
        self.struck: list[Strike] = []
        self.undisturbed: list[int] = []
        """How many mutating calls runs made that met no crash. Two status writes may fall into one, so they differ."""

    def converge(self, name: str, *rules: Rule) -> bool:
        """Let a run come to its end under a rule; returns whether it met a crash."""
        scene = self.scene
        scene.proxy.obey(*rules)
        scene.operator.start()
        run = scene.run(name, self.shards, parallelism=PARALLELISM)
        scene.wait_for(lambda: scene.has_ended(run), f"{name} ends", seconds=120, restart=True)
        scene.wait_for(lambda: scene.has_times_to_live(name), "its Jobs get a time to live", restart=True)
        # Events come last. A crash there is met by the rule, too.
        calls = scene.settle()
        assert_succeeded(scene, run)
        struck = scene.proxy.strikes
        self.struck += struck
        self.undisturbed += [] if struck else [calls]
        scene.proxy.obey()
        scene.operator.start()
        scene.delete(run)
        return bool(struck)

    def crash_once(self, number: int, moment: Moment) -> bool:
        """Crash a run at its so many-th call and nowhere else; returns whether one had so many."""
        rule = Rule(Kill(), MUTATING, target_of(self.scene), first=number, moment=moment)
        return any(self.converge(f"{moment.value}-{number}-{again}", rule) for again in range(TRIES))

    def crash_at_each(self) -> None:
        """One run for each mutating call and moment."""
        self.converge("undisturbed")
        for moment in Moment:
            number = 1
            while self.crash_once(number, moment) or number < max(self.undisturbed):
                number += 1

    def crash_at_many(self) -> None:
        """Each run crashes many times, each at other mutating calls of its life: together at all, at both moments.

        A new life first repeats what the last one had done and could not write down: at most as many results and Jobs as
        run at a time. It gets more calls than those until its crash, else it would never get on.

        A run that was away so often finds more to say at once, and has fewer calls: the last ones get a run of their own.
        """
        self.converge("undisturbed")
        stride = 2 * min(self.shards, PARALLELISM) + 1
        for moment in Moment:
            for first in range(1, stride + 1):
                rule = Rule(Kill(), MUTATING, target_of(self.scene), first=first, every=stride, moment=moment)
                self.converge(f"{moment.value}-{first}", rule)
            for number in range(1, max(self.undisturbed) + 1):
                if number not in self.numbers(moment):
                    self.crash_once(number, moment)

    def numbers(self, moment: Moment) -> set[int]:
        """Return the numbers of the calls that were crashed at a moment."""
        return {strike.number for strike in self.struck if strike.rule.moment is moment}

    def publish(self, figures: Figures, suite: str, seconds: float) -> None:
        """Note the figures, and assert what must hold."""
        self.scene.rest()
        recording, wrong = self.scene.violations()
        figures.put(
            suite,
            mutatingCallsUndisturbed=f"{min(self.undisturbed)} to {max(self.undisturbed)}",
            crashPoints=len(self.struck),
            crashedAt=dict(Counter(f"{resource_of(strike)} {strike.rule.moment.value}" for strike in self.struck)),
            latestNumber=max(strike.number for strike in self.struck),
            runsConverged=len(recording.latest("BenchmarkRun")),
            operatorStarts=self.scene.operator.starts,
            violations=len(wrong),
            seconds=round(seconds, 1),
        )
        assert wrong == []
        assert self.scene.operator.starts <= len(self.struck) + 1, "the operator ended by itself"
        for moment in Moment:
            missed = set(range(1, min(self.undisturbed) + 1)) - self.numbers(moment)
            assert not missed, f"calls that were not crashed {moment}: {sorted(missed)}"


def test_crash_at_every_mutating_call_of_three_shards(open_scene: OpenScene, figures: Figures) -> None:
    """Many crashes in one run's life. `make faults` has each of them in a run of its own, too."""
    started = time.monotonic()
    crashes = Crashes(open_scene(succeeds), 3)
    crashes.crash_at_many()
    crashes.publish(figures, "crashes.threeShardsManyARun", time.monotonic() - started)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shards", [1, 3])
def test_one_crash_a_run_at_every_mutating_call(open_scene: OpenScene, figures: Figures, shards: int) -> None:
    started = time.monotonic()
    crashes = Crashes(open_scene(succeeds), shards)
    crashes.crash_at_each()
    crashes.publish(figures, f"crashes.{shards}ShardsOneARun", time.monotonic() - started)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_crash_at_every_mutating_call_of_twenty_shards(open_scene: OpenScene, figures: Figures) -> None:
    started = time.monotonic()
    crashes = Crashes(open_scene(succeeds), 20)
    crashes.crash_at_many()
    crashes.publish(figures, "crashes.twentyShardsManyARun", time.monotonic() - started)
