"""What is found out before a GPU is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, observed_run, references, run_spec, runner_class, video_model

from vidbench_api.names import ConditionReason
from vidbench_operator.core.expand import Accepted, Refusal, Waiting, accept, wait_or_refuse
from vidbench_operator.core.observed import ObservedNode
from vidbench_operator.core.preflight import check_before_start

GIB_80 = {"nvidia.com/gpu.memory": "81559"}


def gpu_node(name: str, gpus: int, labels: dict[str, str] | None = None) -> ObservedNode:
    return ObservedNode(name, labels or {}, ready=True, allocatable={"nvidia.com/gpu": str(gpus)})


def check(
    nodes: list[ObservedNode] | None, *, queue: bool | None = None, estimate: int | None = None, **spec: Any
) -> Waiting | Refusal | None:
    wanted = run_spec(**({"hardware": [{"name": "gpu"}]} | spec))
    run = observed_run(wanted)
    models = {model.name: video_model(estimatedMemoryMebibytes=estimate) for model in wanted.models}
    outcome = accept(run, references(wanted, models=models, runner_class=runner_class()), {}, NOW)
    assert isinstance(outcome, Accepted), outcome
    by_name = None if nodes is None else {node.name: node for node in nodes}
    return check_before_start(wanted, outcome.document, by_name, queue)


@pytest.mark.parametrize(
    ("nodes", "refused"),
    [
        (None, False),
        ([], False),
        ([gpu_node("a", 4)], True),
        ([gpu_node("a", 4), gpu_node("b", 8)], False),
        ([gpu_node("a", 0)], True),
    ],
    ids=["not visible", "none yet", "too few", "one has enough", "driver not there yet"],
)
def test_more_gpus_than_any_node_has_are_waited_for(nodes: list[ObservedNode] | None, refused: bool) -> None:
    found = check(nodes, hardware=[{"name": "gpu", "gpus": 8}])
    assert isinstance(found, Waiting) is refused
    if isinstance(found, Waiting):
        assert found.reason is ConditionReason.GPUS_PER_NODE
        assert "spec.hardware[gpu].gpus: 8" in found.message


@pytest.mark.parametrize(
    ("estimate", "spec", "refused"),
    [
        (None, {}, False),
        (81_559, {}, False),
        (81_560, {}, True),
        (81_560, {"hardware": [{"name": "gpu", "gpus": 2}]}, False),
        (81_560, {"variants": [{"name": "v", "offload": "Model"}]}, False),
        (81_560, {"variants": [{"name": "v", "clip": {"frames": 9}}]}, False),
        (81_560, {"variants": [{"name": "v", "clip": {"frames": 99}}]}, True),
        (81_560, {"variants": [{"name": "v", "dtype": "float16"}]}, False),
        (81_560, {"failurePolicy": {"outOfMemory": "Fallback"}}, False),
    ],
    ids=[
        "unknown",
        "fits",
        "too large",
        "two GPUs",
        "offload",
        "shorter clip",
        "longer clip",
        "other type",
        "fallback",
    ],
)
def test_a_model_that_cannot_fit_is_refused_before_a_gpu_is_taken(
    estimate: int | None, spec: dict[str, Any], refused: bool
) -> None:
    found = check([gpu_node("a", 8, GIB_80)], estimate=estimate, **spec)
    assert isinstance(found, Refusal) is refused
    if isinstance(found, Refusal):
        assert found.reason is ConditionReason.MEMORY_ESTIMATE
        assert "81560 MiB" in found.message


def test_a_node_that_does_not_show_its_memory_refuses_nothing() -> None:
    assert check([gpu_node("a", 8, GIB_80), gpu_node("b", 8)], estimate=10**6) is None


@pytest.mark.parametrize(("exists", "waits"), [(True, False), (None, False), (False, True)])
def test_a_queue_that_is_not_there_is_waited_for(exists: bool | None, waits: bool) -> None:
    found = check(None, queue=exists, scheduling={"queueName": "gpu"})
    assert isinstance(found, Waiting) is waits


def test_waiting_ends_with_the_scheduling_limit_unless_the_run_is_suspended() -> None:
    run = observed_run(run_spec(timeouts={"schedulingSeconds": 60}))
    waiting = Waiting(ConditionReason.QUEUE_NOT_FOUND, "no queue")
    assert wait_or_refuse(run, waiting, NOW + 59) == waiting
    assert isinstance(wait_or_refuse(run, waiting, NOW + 60), Refusal)
    held = replace(run, spec=run_spec(timeouts={"schedulingSeconds": 60}, suspend=True))
    assert wait_or_refuse(held, waiting, NOW + 600) == waiting
