"""Suite 2, answers: each call of a run refused once, as conflicts, throttling and gateways do it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
from bench.suite_figures import Figures
from faults import waves
from faults.rules import ANY_CALL, MUTATING, CallFault, Drop, Moment, Refuse, Rule
from faults.scene import Scene
from integration.live_runs import condition, shards_of
from support.played_kubelet import succeeds

OpenScene = Callable[..., Scene]
BEFORE, AFTER = Moment.BEFORE, Moment.AFTER

CASES: dict[str, tuple[CallFault, str, Moment]] = {
    # A quota that others draw on answers a POST so; a write at an old version everything else.
    "conflict": (Refuse(409, "Conflict"), MUTATING, BEFORE),
    # The write was done, and whoever repeats it on the client's behalf is told that it was.
    "conflictWithOneself": (Refuse(409, "Conflict"), "PUT|PATCH|DELETE", AFTER),
    "existsAlready": (Refuse(409, "AlreadyExists"), "POST", AFTER),
    # A name that was taken and is free again when one looks.
    "existedAlready": (Refuse(409, "AlreadyExists"), "POST", BEFORE),
    "throttled": (Refuse(429, "TooManyRequests", retry_after=1), ANY_CALL, BEFORE),
    "failed": (Refuse(500, "InternalError"), ANY_CALL, BEFORE),
    "gatewayTimeoutThoughDone": (Refuse(504, "Timeout"), ANY_CALL, AFTER),
    "resetThoughDone": (Drop(), MUTATING, AFTER),
}


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_each_call_of_a_run_answered_so_once(open_scene: OpenScene, figures: Figures, name: str) -> None:
    fault, verb, moment = CASES[name]
    scene = open_scene(succeeds)
    wave = waves.roll(scene, fault, verb, "r", moment)
    scene.rest()
    _, wrong = scene.violations()
    figures.put(f"answers.{name}", **wave.figures(), runs=len(wave.runs), violations=len(wrong))
    assert wrong == []
    assert scene.operator.is_alive
    assert scene.operator.starts == 1
    for run in wave.runs:
        body = scene.api.get(run).body
        assert condition(body, "Complete").get("reason") == "AllSucceeded", body["status"]
        assert {shard["attempt"] for shard in shards_of(body)} == {1}
    assert wave.strikes


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_every_kind_of_call_throttled_thrice(open_scene: OpenScene, figures: Figures) -> None:
    """Also discovery, lists and watches: the operator starts, and serves, all the same."""
    scene = open_scene(succeeds)
    run = scene.run("first")
    scene.wait_for(lambda: scene.has_ended(run), "the first run ends")
    scene.settle()
    kinds = sorted({kind_of(entry.call.verb, entry.call.target) for entry in scene.proxy.seen})
    served: dict[str, float] = {}
    for number, (verb, path) in enumerate(kinds):
        scene.operator.kill()
        fault = Refuse(429, "TooManyRequests", retry_after=1)
        scene.proxy.obey(Rule(fault, verb, path, every=1, times=3))
        scene.operator.start()
        started = time.monotonic()
        run = scene.run(f"next-{number}")
        scene.wait_for(lambda run=run: scene.has_ended(run), f"a run ends with {verb} {path} throttled")
        assert scene.operator.is_alive
        served[f"{verb} {path}"] = round(time.monotonic() - started, 1)
    scene.rest()
    _, wrong = scene.violations()
    slowest = max(served, key=lambda kind: served[kind])
    figures.put(
        "answers.everyKindThrottledThrice",
        kinds=len(kinds),
        byVerb=dict(Counter(f"{verb} calls" for verb, _ in kinds)),
        slowestRunSeconds=served[slowest],
        slowestKind=slowest,
        violations=len(wrong),
    )
    assert wrong == []
    assert len(kinds) >= 20


def kind_of(verb: str, target: str) -> tuple[str, str]:
    """Return a verb, and a pattern for the targets of all calls of its kind."""
    path = target.partition("?")[0].partition("#")[0]
    named = re.fullmatch(r"(/api/v1|/apis/[^/]+/[^/]+)((?:/namespaces/[^/]+)?/[a-z]+)(/[^/]+)?(/status)?", path)
    if named is None:
        return verb, f"^{re.escape(path)}($|[?])"
    name = "/[^/?#]+" if named[3] else ""
    return verb, f"^{re.escape(named[1] + named[2])}{name}{named[4] or ''}($|[?#])"
