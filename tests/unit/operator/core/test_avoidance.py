"""Which nodes an attempt keeps away from, and what a breaker holds back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, Scene, ended_pod, finished, running_pod, shards_of

from vidbench_api.names import EventReason, LimitedBy, Outcome, Reason, RowPhase
from vidbench_api.run_status import AttemptFailure, ShardStatus
from vidbench_operator.core.avoidance import avoided_nodes, failed_nodes
from vidbench_operator.core.breaker import Breakers, Circuit
from vidbench_operator.core.observed import NodeCondition, NodeTaint, ObservedNode
from vidbench_operator.core.plan import Placement, Plan
from vidbench_operator.core.timestamps import format_time

GPU = {"nvidia.com/gpu": "8"}


def node(name: str, *taints: NodeTaint, ready: bool = True, **changes: Any) -> ObservedNode:
    return ObservedNode(name, {"gpu": "h100"}, ready=ready, allocatable=GPU, taints=taints, **changes)


ONE, TWO = node("n1"), node("n2")
BOTH = {"n1": ONE, "n2": TWO}
SCENE = Scene.of(
    models=["a", "b", "c"], hardware=[{"name": "gpu", "nodeSelector": {"gpu": "h100"}}], parallelism=9,
    timeouts={"runSeconds": 50_000},
)  # fmt: skip
CELLS = sorted(SCENE.document.cells, key=lambda cell: cell.id)


def failure(
    node_name: str | None, reason: Reason = Reason.DEVICE_FAULT, at: float = 0, attempt: int = 1
) -> AttemptFailure:
    return AttemptFailure(attempt=attempt, reason=reason.value, node=node_name, ended_at=format_time(NOW + at))


def after_failures(*failures: AttemptFailure) -> Scene:
    """The scene in which the first cells failed on these nodes, one each, and the others have not started."""
    scene = SCENE
    for cell, entry in zip(CELLS, failures, strict=False):
        scene = scene.with_shard(cell, attempt=1, failures=(entry,), ended_at=entry.ended_at)
    return scene


def placements(plan: Plan) -> list[Placement]:
    return [create.placement for create in sorted(plan.creates, key=lambda create: create.cell)]


AGAINST: list[Any] = [
    pytest.param(Reason.NODE_LOST, ("n1",), id="infrastructure"),
    pytest.param(Reason.KILLED, ("n1",), id="unknown"),
    pytest.param(Reason.RESULT_LOST, (), id="a lost result"),
    pytest.param(Reason.EVICTED, (), id="a disruption"),
]


@pytest.mark.parametrize(("reason", "avoided"), AGAINST)
def test_an_attempt_goes_to_another_node_than_those_that_failed_it(reason: Reason, avoided: tuple[str, ...]) -> None:
    plan = after_failures(failure("n1", reason)).decide(at=10, nodes=BOTH)
    first, second, third = placements(plan)
    assert first == Placement(avoid=avoided)
    assert (second, third) == (Placement(), Placement())


XID = NodeTaint("nvidia.com/gpu-xid-error", "PreferNoSchedule")
FULL_OF_TAINTS = NodeTaint("dedicated", "NoSchedule", "others")
THERE: list[Any] = [
    pytest.param(BOTH, True, id="another node"),
    pytest.param({"n1": ONE}, False, id="no other node"),
    pytest.param(None, False, id="nodes are not visible"),
    pytest.param({"n1": ONE, "n2": replace(TWO, ready=False)}, False, id="the other one is not ready"),
    pytest.param({"n1": ONE, "n2": replace(TWO, unschedulable=True)}, False, id="the other one is cordoned"),
    pytest.param({"n1": ONE, "n2": replace(TWO, labels={})}, False, id="the other one is of another kind"),
    pytest.param({"n1": ONE, "n2": node("n2", FULL_OF_TAINTS)}, False, id="the other one is tainted"),
    pytest.param({"n1": ONE, "n2": node("n2", NodeTaint("nvidia.com/gpu", "NoSchedule"))}, True, id="the taint of every GPU node"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "must"), THERE)
def test_keeping_away_is_a_must_only_while_another_node_would_take_the_pod(nodes: Any, must: bool) -> None:
    first = placements(after_failures(failure("n1")).decide(at=10, nodes=nodes))[0]
    assert "n1" in (first.avoid if must else first.avoid_if_possible)
    assert not (first.avoid_if_possible if must else first.avoid)


def test_a_node_with_a_faulty_gpu_is_kept_away_from_by_all() -> None:
    faulty = replace(ONE, conditions=(NodeCondition("GpuMemWatch", "True"),))
    plan = SCENE.decide(at=10, nodes={"n1": faulty, "n2": TWO})
    assert placements(plan) == [Placement(avoid=("n1",))] * 3
    tainted = SCENE.decide(at=10, nodes={"n1": node("n1", XID), "n2": TWO})
    assert placements(tainted) == [Placement(avoid=("n1",))] * 3


def test_at_most_so_many_nodes_are_named_those_of_the_shard_first() -> None:
    shard = ShardStatus(index=1, failures=(failure("mine"),))
    breakers = Breakers({f"b{number:02}": Circuit("Node", f"b{number:02}", 2, NOW) for number in range(60)})
    names = avoided_nodes(shard, breakers, [f"sick{number:02}" for number in range(60)])
    assert (len(names), names[0]) == (64, "mine")
    assert {f"b{number:02}" for number in range(60)} < set(names)


def test_of_the_nodes_that_failed_a_shard_the_latest_comes_first_and_each_once() -> None:
    shard = ShardStatus(index=1, failures=(failure("n1"), failure("n2", attempt=2), failure("n1", attempt=3)))
    assert failed_nodes(shard) == ("n1", "n2")


TWICE = after_failures(failure("n1", at=0), failure("n1", at=9))


def test_a_node_whose_attempts_always_fail_is_left_alone_by_the_third_shard() -> None:
    plan = TWICE.decide(at=10, nodes=BOTH)
    assert [placement.avoid for placement in placements(plan)] == [("n1",)] * 3
    assert plan.status is not None
    (breaker,) = plan.status.breakers
    assert (breaker.kind, breaker.name, breaker.state, breaker.failures) == ("Node", "n1", "Open", 2)
    assert [event.reason for event in plan.events] == [EventReason.BREAKER_OPENED]
    again = TWICE.after(plan).decide(at=11, nodes=BOTH)
    assert (again.status, again.events) == (None, ())


def test_shards_wait_while_the_breakers_of_all_nodes_are_open_and_probe_one_by_one() -> None:
    only = {"n1": ONE}
    plan = TWICE.decide(at=10, nodes=only)
    assert plan.creates == ()
    assert plan.status is not None
    assert plan.status.parallelism is not None
    assert plan.status.parallelism.limited_by is LimitedBy.BREAKER
    assert "circuit breaker" in (plan.status.message or "")
    assert plan.requeue_after == pytest.approx(299)
    scene = TWICE.after(plan)
    probe = scene.decide(at=309, nodes=only)
    assert len(probe.creates) == 1
    assert probe.status is not None
    assert [breaker.state for breaker in probe.status.breakers] == ["HalfOpen"]
    scene = scene.after(probe)
    job = replace(scene.job(CELLS[0], attempt=2), created_at=NOW + 309)
    assert probe.creates[0].name == job.name
    assert scene.decide(job, running_pod(job, node="n1"), at=320, nodes=only).creates == ()
    scene = scene.with_shard(
        CELLS[0], phase=RowPhase.FINISHED, outcome=Outcome.SUCCEEDED, node="n1", ended_at=format_time(NOW + 330)
    )
    closed = scene.decide(at=331, nodes=only)
    assert len(closed.creates) == 2
    assert closed.status is not None
    assert closed.status.breakers == ()


def test_a_probe_that_fails_opens_the_breaker_for_twice_as_long() -> None:
    scene = after_failures(failure("n1", at=0), failure("n1", at=9), failure("n1", at=310))
    plan = scene.decide(at=311, nodes={"n1": ONE})
    assert plan.status is not None
    (breaker,) = plan.status.breakers
    assert (breaker.state, breaker.until) == ("Open", format_time(NOW + 310 + 600))


def test_of_a_half_open_node_one_attempt_that_did_not_fail_there_is_let_through_and_sent() -> None:
    plan = TWICE.decide(at=309, nodes=BOTH)
    first, second, third = placements(plan)
    assert (first.avoid, second.avoid) == (("n1",), ("n1",)), "they failed there"
    assert (third.avoid, third.prefer) == ((), ("n1",))
    scene = TWICE.after(plan)
    assert placements(scene.decide_live(at=310, nodes=BOTH))[2] == third, "after a crash it is the same one"


def test_while_a_node_is_probed_the_others_keep_away() -> None:
    scene = TWICE.with_shard(
        CELLS[2], phase=RowPhase.ACTIVE, attempt=1, started_at=format_time(NOW + 309), job_uid="u", node="n1"
    )
    job = replace(scene.job(CELLS[2]), uid="u")
    plan = scene.decide(job, running_pod(job, node="n1"), at=320, nodes=BOTH)
    assert [placement.avoid for placement in placements(plan)] == [("n1",)] * 2


def test_nodes_that_may_still_come_are_not_waited_for() -> None:
    plan = TWICE.decide(at=10, nodes={"n1": replace(ONE, ready=False)})
    assert len(plan.creates) == 3


MANY = Scene.of(
    models=["a", "b"], variants=["v1", "v2", "v3", "v4", "v5", "v6"], parallelism=3, timeouts={"runSeconds": 50_000}
)


def with_failed(count: int, *, times: tuple[float, ...] = (0, 1, 2)) -> Scene:
    scene = MANY
    mine = sorted((cell for cell in MANY.document.cells if cell.model == "a"), key=lambda cell: cell.id)
    for cell, at in zip(mine[:count], times, strict=True):
        scene = scene.with_shard(
            cell, phase=RowPhase.FINISHED, outcome=Outcome.FAILED, reason="ModelLoadFailed", attempt=1,
            ended_at=format_time(NOW + at), result=scene.result_name(cell),
        )  # fmt: skip
    return scene


def models_started(plan: Plan) -> list[str]:
    cells = {cell.id: cell.model for cell in MANY.document.cells}
    return sorted(cells[create.cell] for create in plan.creates)


def test_a_model_that_failed_three_times_in_a_row_leaves_the_slots_to_the_others() -> None:
    plan = with_failed(3).decide(at=10)
    assert models_started(plan) == ["b", "b", "b"]
    assert [event.reason for event in plan.events] == [EventReason.BREAKER_OPENED]


def test_a_half_open_model_gets_one_attempt() -> None:
    scene = with_failed(3)
    scene = replace(scene, run=replace(scene.run, spec=scene.run.spec.model_copy(update={"parallelism": 100})))
    plan = scene.decide(at=62)
    assert models_started(plan) == ["a"] + ["b"] * 6
    assert models_started(scene.after(plan).decide_live(at=63)) == ["a"] + ["b"] * 6, "until their Jobs are seen"


def test_a_model_that_failed_its_probes_ends_without_another_pod() -> None:
    scene = with_failed(5, times=(0, 1, 2, 62, 182))
    assert scene.decide(at=183).needs_live
    plan = scene.decide_live(at=183)
    ends = [result.spec for result in plan.results]
    assert [(end.cell.model, end.outcome, end.reason, end.attempts) for end in ends] == [
        ("a", Outcome.FAILED, Reason.BREAKER_OPEN, 0)
    ]
    assert "5 shards of model 'a' failed in a row, 2 of them as probes" in (ends[0].message or "")
    assert models_started(plan) == ["b", "b", "b"]
    assert plan.status is not None
    assert sum(shard.reason == "BreakerOpen" for shard in shards_of(plan.status)) == 1


def test_a_success_of_a_probe_lets_the_model_go_on() -> None:
    scene = with_failed(4, times=(0, 1, 2, 62))
    mine = sorted((cell for cell in MANY.document.cells if cell.model == "a"), key=lambda cell: cell.id)
    job = replace(scene.job(mine[4]), created_at=NOW + 182)
    scene = scene.active(mine[4], job_uid=job.uid, started_at=format_time(NOW + 182))
    pod = ended_pod(job, scene.verdict(mine[4]), 0)
    plan = scene.decide(finished(job, at=200), pod, at=200)
    assert plan.status is not None
    assert plan.status.breakers == ()
