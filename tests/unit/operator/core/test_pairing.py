"""Shards that are compared on one node, and nodes that have a model's weights."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders import NOW, Scene, pod_of, running_pod, unschedulable_pod

from vidbench_api.names import LimitedBy, Outcome, Reason, RowPhase
from vidbench_api.run_status import AttemptFailure
from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.core.plan import Placement, Plan
from vidbench_operator.core.timestamps import format_time

PAIRED: dict[str, Any] = {
    "models": ["a", "b", "c"], "parallelism": 100, "measurement": {"pairing": "Node", "shards": 2},
    "timeouts": {"schedulingSeconds": 100},
}  # fmt: skip


def node(name: str, gpus: int = 8, **changes: Any) -> ObservedNode:
    allocatable = {"cpu": "99", "memory": "999Gi", "nvidia.com/gpu": str(gpus)}
    return ObservedNode(name, {}, **({"ready": True, "allocatable": allocatable} | changes))


def nodes(*entries: ObservedNode) -> dict[str, ObservedNode]:
    return {entry.name: entry for entry in entries}


BOTH = nodes(node("n1"), node("n2"))


def placements(plan: Plan) -> dict[tuple[str, int], Placement]:
    return {(create.cell, create.shard): create.placement for create in plan.creates}


def limit_of(plan: Plan) -> LimitedBy:
    assert plan.status is not None
    assert plan.status.parallelism is not None
    return plan.status.parallelism.limited_by


def leading(where: str | None, scene: Scene | None = None) -> tuple[Scene, ObservedJob, ObservedPod]:
    """Shard 1 of the first cell is under way, on a node or still without one; shard 2 of all is done."""
    scene = scene or Scene.of(**PAIRED)
    for cell in scene.document.cells:
        scene = scene.with_shard(cell, 2, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED)
    job = scene.job()
    scene = scene.active(job_uid=job.uid, started_at=format_time(NOW))
    pod = running_pod(job, node=where) if where is not None else pod_of(job)
    return scene, job, pod


def test_one_shard_of_each_number_leads_and_the_others_wait() -> None:
    plan = Scene.of(**PAIRED).decide(nodes=BOTH)
    assert sorted(create.shard for create in plan.creates) == [1, 2]
    assert all(create.placement.require is None for create in plan.creates)
    assert limit_of(plan) is LimitedBy.PAIRING


def test_the_others_wait_until_the_leader_has_a_node_and_then_follow_it() -> None:
    scene, job, pod = leading(None)
    waiting = scene.decide(job, pod, nodes=BOTH, at=5)
    assert (waiting.creates, limit_of(waiting)) == ((), LimitedBy.PAIRING)
    scene, job, pod = leading("n2")
    plan = scene.decide(job, pod, nodes=BOTH, at=9)
    assert [(place.require, shard) for (_, shard), place in placements(plan).items()] == [("n2", 1)] * 2


def test_as_many_follow_at_a_time_as_the_node_holds() -> None:
    scene, job, pod = leading("n2")
    two = scene.decide(job, pod, nodes=nodes(node("n1"), node("n2", gpus=2)), at=9)
    assert (len(two.creates), limit_of(two)) == (1, LimitedBy.PAIRING)
    one = scene.decide(job, pod, nodes=nodes(node("n1"), node("n2", gpus=1)), at=9)
    assert (len(one.creates), limit_of(one)) == (0, LimitedBy.PAIRING)


def test_without_a_sight_of_nodes_all_follow_and_the_scheduler_says_how_many_fit() -> None:
    scene, job, pod = leading("n2")
    plan = scene.decide(job, pod, at=9)
    assert [place.require for place in placements(plan).values()] == ["n2", "n2"]


UNUSABLE: list[Any] = [
    pytest.param(nodes(node("n1")), id="gone"),
    pytest.param(nodes(node("n1"), node("n2", ready=False)), id="not ready"),
    pytest.param(nodes(node("n1"), node("n2", unschedulable=True)), id="cordoned"),
]


@pytest.mark.parametrize("seen", UNUSABLE)
def test_a_group_whose_node_takes_no_pods_gets_another_leader(seen: dict[str, ObservedNode]) -> None:
    scene, _, _ = leading("n2")
    scene = scene.with_shard(phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, node="n2")
    plan = scene.decide(nodes=seen, at=9)
    assert [place.require for place in placements(plan).values()] == [None]
    assert limit_of(plan) is LimitedBy.PAIRING


def test_after_a_change_of_node_the_latest_one_is_followed() -> None:
    scene, _, _ = leading("n2")
    first, second, third = scene.document.cells
    scene = scene.with_shard(first, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, node="n2")
    job = scene.job(second)
    scene = scene.active(second, job_uid=job.uid, started_at=format_time(NOW + 60))
    plan = scene.decide(job, running_pod(job, node="n1"), nodes=BOTH, at=90)
    assert placements(plan) == {(third.id, 1): Placement(require="n1")}


def test_a_shard_that_failed_on_the_groups_node_leads_the_group_elsewhere() -> None:
    scene, _, _ = leading("n2")
    first, second, third = scene.document.cells
    for cell in (first, third):
        scene = scene.with_shard(cell, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, node="n2")
    failure = AttemptFailure(attempt=1, reason=Reason.DEVICE_FAULT.value, node="n2", ended_at=format_time(NOW))
    scene = scene.with_shard(second, attempt=1, retries=1, failures=(failure,))
    place = placements(scene.decide(nodes=BOTH, at=9))[(second.id, 1)]
    assert (place.require, place.avoid) == (None, ("n2",))


@pytest.mark.parametrize("seen", UNUSABLE)
def test_a_follower_that_waits_for_a_node_that_is_lost_is_taken_back_uncharged(seen: dict[str, ObservedNode]) -> None:
    scene, _, _ = leading("n2")
    first, second, _ = scene.document.cells
    scene = scene.with_shard(first, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, node="n2")
    job = scene.job(second, required_node="n2")
    scene = scene.active(second, job_uid=job.uid)
    pod = unschedulable_pod(job)
    assert scene.decide(job, pod, nodes=BOTH, at=9).deletes == ()
    assert scene.decide(job, pod, nodes=seen, at=9).needs_live
    plan = scene.decide_live(job, pod, nodes=seen, at=9)
    assert [delete.uid for delete in plan.deletes] == [job.uid]
    shard = scene.after(plan).shard(second)
    assert (shard.retries, shard.disruptions, shard.failures, plan.results) == (0, 0, (), ())
    assert [place.require for place in placements(plan).values()] == [None], "one of them leads anew"


def test_a_follower_that_has_a_node_is_left_alone() -> None:
    scene, job, _ = leading("n2")
    job = scene.job(required_node="n2")
    plan = scene.decide_live(job, running_pod(job, node="n2"), nodes=nodes(node("n1")), at=9)
    assert plan.deletes == ()


def test_entries_of_hardware_are_groups_of_their_own() -> None:
    spec = PAIRED | {"hardware": ["h100", "l40s"], "models": ["a", "b"], "measurement": {"pairing": "Node"}}
    plan = Scene.of(**spec).decide(nodes=BOTH)
    cells = {cell.id: cell.hardware for cell in Scene.of(**spec).document.cells}
    assert sorted(cells[create.cell] for create in plan.creates) == ["h100", "l40s"]


def test_nodes_that_hold_the_weights_are_preferred() -> None:
    scene = Scene.of(models=["a", "b"], measurement={"shards": 2}, parallelism=100)
    a, b = scene.document.cells
    scene = scene.with_shard(a, phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, node="n2")
    scene = scene.with_shard(b, phase=RowPhase.FINISHED, outcome=Outcome.FAILED, node="n1")
    found = placements(scene.decide(nodes=BOTH, at=9))
    assert found == {(a.id, 2): Placement(prefer=("n2",)), (b.id, 2): Placement()}


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(nodes(node("n2")), id="all nodes are alike"),
        pytest.param(nodes(node("n1"), node("n2", gpus=0)), id="no room there"),
        pytest.param(nodes(node("n1"), node("n2", unschedulable=True)), id="it takes no pods"),
        pytest.param(nodes(node("n1")), id="it is gone"),
        pytest.param(None, id="nodes are not visible"),
    ],
)
def test_nodes_that_are_of_no_use_are_not_preferred(seen: dict[str, ObservedNode] | None) -> None:
    scene = Scene.of(measurement={"shards": 2}, parallelism=100)
    scene = scene.with_shard(phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, node="n2")
    assert placements(scene.decide(nodes=seen, at=9)) == {(scene.cell.id, 2): Placement()}
