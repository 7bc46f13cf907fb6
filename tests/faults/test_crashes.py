"""Suite 1: the operator is killed at every mutating call, before and after the server applied it, and started again."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
from faults.figures import Figures
from faults.rules import MUTATING, Kill, Moment, Rule, Strike
from faults.scene import Scene
from integration.live_runs import Manifest, condition, shards_of
from support.played_kubelet import succeeds

OpenScene = Callable[..., Scene]
PARALLELISM = 5

TRIES = 4


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


def converge(scene: Scene, name: str, shards: int, rule: Rule) -> list[Strike]:
    """Let a run come to its end under a rule; returns the crashes that it met."""
    scene.proxy.obey(rule)
    scene.operator.start()
    run = scene.run(name, shards, parallelism=PARALLELISM)
    finish(scene, run)
    assert_succeeded(scene, run)
    crashes = scene.proxy.strikes
    scene.proxy.obey()
    scene.operator.start()
    scene.delete(run)
    return crashes


def finish(scene: Scene, run: Manifest) -> int:
    """Wait until a run has ended and the operator has done what comes after; returns the mutating calls seen."""
    scene.wait_for(lambda: scene.has_ended(run), "the run ends", seconds=120, restart=True)
    name = run["metadata"]["name"]
    scene.wait_for(lambda: scene.has_times_to_live(name), "its Jobs get a time to live", restart=True)
    # Events come last. A crash there is met by the rule, too.
    return scene.settle()


def undisturbed_calls(scene: Scene, shards: int) -> int:
    """Count the mutating calls of a run that nothing happens to."""
    scene.proxy.obey()
    run = scene.run("undisturbed", shards, parallelism=PARALLELISM)
    calls = finish(scene, run)
    scene.delete(run)
    return calls


def crash_at_each(scene: Scene, shards: int) -> tuple[int, list[Strike]]:
    """One run for each mutating call and moment: it crashes there, once."""
    calls = undisturbed_calls(scene, shards)
    crashes: list[Strike] = []
    for moment in Moment:
        number = 1
        while struck := crash_at(scene, shards, number, moment, tries=TRIES if number <= calls else 1):
            crashes += struck
            number += 1
    return calls, crashes


def crash_at(scene: Scene, shards: int, number: int, moment: Moment, tries: int) -> list[Strike]:
    """Crash a run at its so many-th call. Two status writes may fall into one, so that it has fewer: then try again."""
    rule = Rule(Kill(), MUTATING, target_of(scene), first=number, moment=moment)
    for attempt in range(1, tries + 1):
        if struck := converge(scene, f"{moment.value}-{number}-{attempt}", shards, rule):
            return struck
    return []


def crash_at_many(scene: Scene, shards: int) -> tuple[int, list[Strike]]:
    """Each run crashes many times, each at other mutating calls of its life: together at all, at both moments.

    A new life first repeats what the last one had done and could not write down: at most as many results and Jobs as run
    at a time. It gets more calls than those until its crash, else it would never get on.

    A run that was away so often finds more to say at once, and has fewer calls: the last ones get a run of their own.
    """
    calls = undisturbed_calls(scene, shards)
    stride = 2 * min(shards, PARALLELISM) + 1
    crashes: list[Strike] = []
    for moment in Moment:
        struck: list[Strike] = []
        for first in range(1, stride + 1):
            rule = Rule(Kill(), MUTATING, target_of(scene), first=first, every=stride, moment=moment)
            struck += converge(scene, f"{moment.value}-{first}", shards, rule)
        for number in sorted(set(range(1, calls + 1)) - {crash.number for crash in struck}):
            struck += crash_at(scene, shards, number, moment, TRIES)
        crashes += struck
    return calls, crashes


def publish(figures: Figures, suite: str, scene: Scene, calls: int, crashes: list[Strike], seconds: float) -> None:
    """Note the figures of a suite, and assert what must hold."""
    scene.rest()
    recording, wrong = scene.violations()
    figures.put(
        suite,
        mutatingCallsUndisturbed=calls,
        crashPoints=len(crashes),
        crashedAt=dict(Counter(f"{resource_of(crash)} {crash.rule.moment.value}" for crash in crashes)),
        runsConverged=len(recording.latest("BenchmarkRun")),
        operatorStarts=scene.operator.starts,
        violations=len(wrong),
        seconds=round(seconds, 1),
    )
    assert wrong == []
    numbers = {moment: {crash.number for crash in crashes if crash.rule.moment is moment} for moment in Moment}
    for moment in Moment:
        assert numbers[moment] >= set(range(1, calls + 1)), f"not every call was crashed at {moment}"


def test_crash_at_every_mutating_call_of_three_shards(open_scene: OpenScene, figures: Figures) -> None:
    """Many crashes in one run's life. `make faults` has each of them in a run of its own, too."""
    started = time.monotonic()
    scene = open_scene(succeeds)
    calls, crashes = crash_at_many(scene, 3)
    publish(figures, "crashes.threeShardsManyARun", scene, calls, crashes, time.monotonic() - started)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shards", [1, 3])
def test_one_crash_a_run_at_every_mutating_call(open_scene: OpenScene, figures: Figures, shards: int) -> None:
    started = time.monotonic()
    scene = open_scene(succeeds)
    calls, crashes = crash_at_each(scene, shards)
    publish(figures, f"crashes.{shards}ShardsOneARun", scene, calls, crashes, time.monotonic() - started)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_crash_at_every_mutating_call_of_twenty_shards(open_scene: OpenScene, figures: Figures) -> None:
    started = time.monotonic()
    scene = open_scene(succeeds)
    calls, crashes = crash_at_many(scene, 20)
    publish(figures, "crashes.twentyShardsManyARun", scene, calls, crashes, time.monotonic() - started)
