"""Suite 2, watches: each event lost, repeated, late, out of order or replayed once, and lists that are old."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bench.suite_figures import Figures
from faults import waves
from faults.rules import EVENT, EventFault, Hold, Lose, Outdated, Postpone, Repeat, Replay, Rule, always
from faults.scene import Scene
from integration.live_runs import condition, shards_of
from support.played_kubelet import Ending, Pod, succeeds

OpenScene = Callable[..., Scene]
RESYNC_SECONDS = "3"
"""What a watch has lost is found by the next list; the default of five minutes would only make the test longer."""

LISTS_OF_A_RESYNC = 3
"""Of runs, Jobs and pods."""

FAULTS: dict[str, EventFault] = {
    "lost": Lose(),
    "repeated": Repeat(2),
    "postponed": Postpone(),
    "held": Hold(2.0),
    "replayed": Replay(),
}


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FAULTS)
def test_each_watch_event_struck_once(open_scene: OpenScene, figures: Figures, name: str) -> None:
    scene = open_scene(succeeds, resync_seconds=RESYNC_SECONDS)
    wave = waves.roll(scene, FAULTS[name], EVENT, name)
    scene.rest()
    recording, wrong = scene.violations()
    restarts = scene.operator.starts - 1
    figures.put(f"event.{name}", **wave.figures(), runs=len(wave.runs), violations=len(wrong), restarts=restarts)
    assert wrong == []
    for run in wave.runs:
        body = scene.api.get(run).body
        assert condition(body, "Complete").get("reason") == "AllSucceeded", body["status"]
        assert {shard["attempt"] for shard in shards_of(body)} == {1}
    assert len(wave.strikes) >= 20
    assert len(recording.latest("BenchmarkRun")) == len(wave.runs)
    assert scene.operator.is_alive
    assert restarts == 0


def test_lists_that_are_old(open_scene: OpenScene, figures: Figures) -> None:
    """A new operator is shown the cluster as it was before anything ran: by Kopf's lists, and by those of its resync."""
    released = False

    def script(pod: Pod) -> Ending | None:
        return succeeds(pod) if released else None

    scene = open_scene(script, resync_seconds=RESYNC_SECONDS)
    run = scene.run("early", 3)
    scene.wait_for(lambda: scene.running(run) == 3, "its pods run")
    scene.operator.kill()
    # Lists of all runs' children, not those about one run: what is said of one thing is always read anew. The API
    # server promises that no list is old; a resync that gets one all the same must not be wrong for ever.
    lists = rf"/namespaces/{scene.namespace}/[a-z]+\?(?!.*run(-uid)?=)"
    scene.proxy.obey(
        always(Outdated(), "GET", lists, client="^kopf"),
        Rule(Outdated(), "GET", lists, "^vidbench", every=1, times=LISTS_OF_A_RESYNC),
    )
    scene.operator.start(wait=True)
    late = scene.run("late")
    scene.wait_for(lambda: scene.is_served(late), "a new run is served")
    released = True
    seconds = max(scene.wait_for(lambda each=each: scene.has_ended(each), "it ends") for each in (run, late))
    scene.rest()
    _, wrong = scene.violations()
    old = len(scene.proxy.strikes)
    figures.put("lists.old", answered=old, secondsToTheEnd=round(seconds, 1), violations=len(wrong))
    assert old >= 3
    assert wrong == []
    assert {shard["attempt"] for each in (run, late) for shard in shards_of(scene.api.get(each).body)} == {1}
