"""Suite 2, brown-outs: the operator's process outlives each, misses nothing of the gap, and serves new runs soon after."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from bench.suite_figures import Figures
from faults.outages import LONG, TABLE, Outage
from faults.scene import Scene
from integration.live_runs import condition, shards_of
from support.played_kubelet import Ending, Pod, succeeds

OpenScene = Callable[..., Scene]
SERVED_SECONDS = 45.0
"""A bound only of the test's patience, far below the resync: what is aimed at (3 s) is printed."""


class Stage:
    """Runs whose pods end when they are let."""

    def __init__(self, open_scene: OpenScene) -> None:
        self.released = False
        self.scene: Scene = open_scene(self.script)

    def script(self, pod: Pod) -> Ending | None:
        return succeeds(pod) if self.released else None


def meet(stage: Stage, outage: Outage) -> float:
    """Let an outage come and go while runs go on, one is deleted, one is applied; returns seconds until a new one is served."""
    scene = stage.scene
    steady, doomed = scene.run("steady", 2), scene.run("doomed", 2)
    for run in (steady, doomed):
        scene.wait_for(lambda run=run: scene.running(run) == 2, "its pods run")
    outage.begin(scene)
    scene.delete(doomed)
    meanwhile = scene.run("meanwhile")
    time.sleep(outage.seconds)
    back = outage.end(scene)
    after = scene.run("after")
    scene.wait_for(lambda: scene.is_served(after), "a new run is served", SERVED_SECONDS)
    seconds = time.monotonic() - back
    scene.wait_for(lambda: scene.is_served(meanwhile), "the run of the gap is served", SERVED_SECONDS)
    stage.released = True
    for run in (steady, meanwhile, after):
        scene.wait_for(lambda run=run: scene.has_ended(run), f"{run['metadata']['name']} ends")
        body = scene.api.get(run).body
        assert condition(body, "Complete").get("reason") == "AllSucceeded", body["status"]
        assert {shard["attempt"] for shard in shards_of(body)} == {1}
    return seconds


def assert_nothing_is_wrong(scene: Scene) -> None:
    """The process is the one that was started, nothing of the deleted run is left, and no invariant is broken."""
    scene.rest()
    _, wrong = scene.violations()
    assert wrong == []
    assert scene.operator.is_alive
    assert scene.operator.starts == 1
    assert scene.operator.probe("/healthz") == 200
    assert scene.jobs("doomed") == []


@pytest.mark.parametrize("name", TABLE)
def test_outage(open_scene: OpenScene, figures: Figures, name: str) -> None:
    stage = Stage(open_scene)
    seconds = meet(stage, TABLE[name])
    figures.put("secondsUntilServedAfter", **{name: round(seconds, 1)})
    figures.put("processRestartsAfter", **{name: stage.scene.operator.starts - 1})
    assert_nothing_is_wrong(stage.scene)


@pytest.mark.faults
@pytest.mark.parametrize("name", LONG)
def test_long_outage(open_scene: OpenScene, figures: Figures, name: str) -> None:
    stage = Stage(open_scene)
    seconds = meet(stage, LONG[name])
    figures.put("secondsUntilServedAfter", **{name: round(seconds, 1)})
    figures.put("processRestartsAfter", **{name: stage.scene.operator.starts - 1})
    assert_nothing_is_wrong(stage.scene)


def test_many_outages_in_one_life(open_scene: OpenScene) -> None:
    """All of the table that needs no waiting, one right after the other, on the same process."""
    stage = Stage(open_scene)
    scene = stage.scene
    run = scene.run("steady", 2)
    scene.wait_for(lambda: scene.running(run) == 2, "its pods run")
    for outage in TABLE.values():
        if outage.watches is not None and outage.seconds < 4 and scene.proxy.open_watches:
            outage.begin(scene)
            time.sleep(0.2)
            outage.end(scene)
            scene.wait_for(lambda: len(scene.proxy.open_watches) >= WATCHES, "the watches are back")
    stage.released = True
    scene.wait_for(lambda: scene.has_ended(run), "it ends")
    assert_nothing_is_wrong(scene)


WATCHES = 6
"""Runs, Jobs, pods, models, classes and nodes."""


def test_broken_run_delays_no_other(open_scene: OpenScene, figures: Figures) -> None:
    """A stored object that no schema would let through now, and children with labels that mean nothing."""
    scene = open_scene(lambda pod: None if pod["metadata"]["name"].startswith("broken-") else succeeds(pod))
    broken = scene.break_run("broken")
    scene.poison("poisoned")
    run = scene.run("poisoned", 3)
    seconds = scene.wait_for(lambda: scene.has_ended(run), "the run beside them ends")
    scene.wait_for(lambda: condition(scene.api.get(broken).body, "Stalled").get("status") == "True", "it is reported")
    figures.put("brokenObjects", secondsToTheEndOfTheOther=round(seconds, 1))
    assert_nothing_is_wrong(scene)
