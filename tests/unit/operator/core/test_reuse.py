"""Reuse, estimates and what both read: the identity of an environment, and the metadata of the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW, Scene

from vidbench_api.measured import Protocol, Setup, ValidityVerdict
from vidbench_api.names import Outcome, RowPhase, RunPhase, Validity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import Hardware, Reuse
from vidbench_operator.core.decide import decide
from vidbench_operator.core.environment import common_environment, environment_of
from vidbench_operator.core.estimates import LedgerHead, estimate_seconds
from vidbench_operator.core.observed import Observed, ObservedNode
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.reuse import Reusable, find_reusable
from vidbench_operator.core.status import accepted_status
from vidbench_operator.core.timestamps import format_time

H100 = {
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/cuda.driver-version.full": "570.124.06",
}
SYSTEM = {"architecture": "amd64", "kernelVersion": "6.8.0", "machineID": "m-1"}
GPU = Hardware(name="gpu")
CPU = Hardware(name="cpu", gpus=0)
IF_IDENTICAL = Reuse(policy="IfIdentical", max_age_seconds=3600)


def node(name: str = "node-1", labels: dict[str, str] | None = None, **changes: Any) -> ObservedNode:
    return replace(
        ObservedNode(name, H100 if labels is None else labels, ready=True, allocatable={"cpu": "64"}, system=SYSTEM),
        **changes,
    )


def digest(of: ObservedNode, hardware: Hardware = GPU, image: str = "vidbench/runner") -> str | None:
    return environment_of(of, hardware, image).digest


@pytest.mark.parametrize(
    ("other", "image"),
    [
        (node(labels=H100 | {"nvidia.com/gpu.product": "NVIDIA-L40S"}), "vidbench/runner"),
        (node(labels=H100 | {"nvidia.com/cuda.driver-version.full": "580.1"}), "vidbench/runner"),
        (node(labels=H100 | {"nvidia.com/mig.config": "all-1g.10gb"}), "vidbench/runner"),
        (node(system=SYSTEM | {"kernelVersion": "6.9.0"}), "vidbench/runner"),
        (node(), "vidbench/runner:2"),
    ],
    ids=["product", "driver", "mig", "kernel", "image"],
)
def test_whatever_decides_time_changes_the_environment(other: ObservedNode, image: str) -> None:
    assert digest(node()) is not None
    assert digest(other, image=image) not in (None, digest(node()))


def test_two_machines_of_a_kind_are_one_environment_for_gpus_and_two_for_unlabelled_cpus() -> None:
    second = node("node-2", system=SYSTEM | {"machineID": "m-2"})
    assert digest(node()) == digest(second)
    assert digest(node(labels={}), CPU) != digest(replace(second, labels={}), CPU)
    typed = {"node.kubernetes.io/instance-type": "c7i.4xlarge"}
    assert digest(node(labels=typed), CPU) == digest(replace(second, labels=typed), CPU)


@pytest.mark.parametrize(
    ("nodes", "hardware", "why"),
    [
        (None, GPU, "not visible"),
        ({}, GPU, "no node matches"),
        ({"a": node("a", labels={})}, GPU, "nvidia.com/gpu.product"),
        ({"a": node("a", labels={"nvidia.com/gpu.product": "x"})}, GPU, "driver"),
        ({"a": node("a", labels={}, system={})}, CPU, "machine id"),
        ({"a": node("a"), "b": node("b", labels=H100 | {"nvidia.com/gpu.count": "4"})}, GPU, "not all the same"),
    ],
)
def test_an_environment_that_is_not_shown_says_why(
    nodes: dict[str, ObservedNode] | None, hardware: Hardware, why: str
) -> None:
    found = common_environment(nodes, hardware, "vidbench/runner")
    assert found.digest is None
    assert why in found.why


def scene() -> Scene:
    return Scene.of(hardware=["gpu"], measurement={"shards": 2})


def result(of: Scene, age: float = 60.0, run: str = "earlier", **changes: Any) -> BenchmarkResultSpec:
    """A result of the first cell's content, measured on `node()` by another run."""
    spec = of.result(
        run={"name": run, "uid": f"uid-{run}"},
        generation_hash=of.cell.generation_hash,
        environment_hash=environment_of(node(), GPU, of.document.runner_class.image).digest,
        setup=Setup(warmups=of.document.warmup),
    )
    origin = spec.origin.model_copy(update={"finished_at": format_time(NOW - age)})
    return spec.model_copy(update={"origin": origin, **changes})


def find(of: Scene, ledger: dict[str, BenchmarkResultSpec], policy: Reuse = IF_IDENTICAL) -> Reusable:
    return find_reusable(of.document, policy, ledger, {"node-1": node()}, NOW)


def test_the_newest_results_stand_for_shards_and_none_for_two() -> None:
    of = scene()
    ledger = {"old": result(of, 300), "new": result(of, 10), "middle": result(of, 100, run="other")}
    found = find(of, ledger)
    assert {shard: name for (_, shard), (name, _) in found.shards.items()} == {1: "new", 2: "middle"}
    assert found.message == "2 of 2 shards show results of earlier runs (earlier, other)"


def test_two_cells_of_the_same_content_do_not_share_a_result() -> None:
    of = Scene.of(hardware=["gpu"], variants=["a", "b"])
    found = find(of, {"one": result(of)})
    assert len(found.shards) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"generation_hash": "0" * 64},
        {"environment_hash": "0" * 64},
        {"environment_hash": None},
        {"outcome": Outcome.OUT_OF_MEMORY},
        {"validity": ValidityVerdict(state=Validity.PARTIAL)},
        {"validity": ValidityVerdict(state=Validity.INVALID)},
        {"rung": "VaeTiling"},
        {"setup": Setup(warmups=7)},
    ],
    ids=lambda changes: next(iter(changes)) + "=" + str(next(iter(changes.values())))[:12],
)
def test_a_result_that_is_not_the_same_is_measured_again_and_the_message_says_so(changes: dict[str, Any]) -> None:
    of = scene()
    found = find(of, {"one": result(of, **changes)})
    assert not found.shards
    assert found.message is not None
    assert found.message.startswith("0 of 2 shards")
    assert "not the others" in found.message


BY_PRECISION = {"plan": "Precision", "samples": {"min": 10, "max": 20}, "precision": {"halfWidth": "1%"}}


@pytest.mark.parametrize(
    ("measurement", "protocol", "samples", "stands"),
    [
        pytest.param({}, None, 3, True, id="a result from before plans were recorded is Fixed"),
        pytest.param({}, Protocol(plan="Fixed"), 3, True, id="Fixed for Fixed"),
        pytest.param({}, Protocol(plan="Precision", metric="latency", half_width_ppm=1), 3, False, id="not for Fixed"),
        pytest.param(BY_PRECISION, None, 30, False, id="Fixed does not say how well it knows"),
        pytest.param(BY_PRECISION, Protocol(plan="Precision", metric="latency", half_width_ppm=9_999), 10, True, id="well enough"),
        pytest.param(BY_PRECISION, Protocol(plan="Precision", metric="latency", half_width_ppm=10_001), 10, False, id="too wide"),
        pytest.param(BY_PRECISION, Protocol(plan="Precision", metric="latency"), 10, False, id="not known"),
        pytest.param(BY_PRECISION, Protocol(plan="Precision", metric="denoise", half_width_ppm=1), 10, False, id="another figure"),
        pytest.param(BY_PRECISION, Protocol(plan="Precision", metric="latency", half_width_ppm=1), 9, False, id="too few"),
    ],
)  # fmt: skip
def test_a_result_stands_only_for_a_plan_that_would_accept_it(
    measurement: dict[str, Any], protocol: Protocol | None, samples: int, *, stands: bool
) -> None:
    of = Scene.of(hardware=["gpu"], measurement=measurement)
    found = find(of, {"one": result(of, protocol=protocol, samples_done=samples)})
    assert bool(found.shards) is stands


@pytest.mark.parametrize(("warmups", "stands"), [(1, False), (2, True), (4, True), (5, False)])
def test_a_result_stands_if_it_was_warmed_up_as_often_as_asked(warmups: int, *, stands: bool) -> None:
    of = Scene.of(hardware=["gpu"], measurement={"warmup": {"min": 2, "max": 4}})
    assert bool(find(of, {"one": result(of, setup=Setup(warmups=warmups))}).shards) is stands


def test_an_estimate_for_plan_precision_expects_what_a_result_took_within_the_limits() -> None:
    of = Scene.of(measurement=BY_PRECISION)

    def estimate(samples: int) -> int:
        return estimate_seconds(of.document, [LedgerHead("wan", "default", "default", 10.0 * samples, samples)])[
            of.cell.id
        ]

    assert [estimate(samples) for samples in (1, 15, 64)] == [100, 150, 200]


def test_a_result_that_is_too_old_is_measured_again() -> None:
    of = scene()
    assert find(of, {"one": result(of, 3599)}).shards
    assert not find(of, {"one": result(of, 3601)}).shards


def test_nothing_is_reused_by_default() -> None:
    of = scene()
    assert find(of, {"one": result(of)}, Reuse()) == Reusable()


def test_a_run_whose_shards_are_all_reused_ends_in_its_first_pass_without_a_job() -> None:
    of = scene()
    reusable = find(of, {"one": result(of), "two": result(of, 90)})
    status = accepted_status(of.run, of.document, "request", NOW, reusable)
    assert decide(replace(of.run, status=status), Observed(document=of.document), NOW, Policy()).writes_nothing
    ended = status
    assert ended.phase is RunPhase.SUCCEEDED
    [row] = ended.rows
    assert (row.source, row.outcome, row.validity) == ("Reused", Outcome.SUCCEEDED, Validity.VALID)
    assert [(shard.result, shard.attempt) for shard in row.shards] == [("one", 0), ("two", 0)]
    assert row.latency_microseconds is not None
    assert ended.cells is not None
    assert ended.cells.reused == 1
    assert "1 reused" in (ended.message or "")


def test_a_row_of_which_some_shards_are_reused_says_mixed_and_measures_the_rest() -> None:
    of = scene()
    status = accepted_status(of.run, of.document, "request", NOW, find(of, {"one": result(of)}))
    plan = decide(replace(of.run, status=status), Observed(document=of.document), NOW, Policy())
    assert [create.shard for create in plan.creates] == [2]
    assert plan.status is not None
    [row] = plan.status.rows
    assert row.source == "Mixed"
    assert [shard.phase for shard in row.shards] == [RowPhase.FINISHED, RowPhase.ACTIVE]


@given(st.lists(st.tuples(st.floats(1, 1e5), st.integers(1, 64)), max_size=6))
def test_an_estimate_lies_within_what_was_seen_scaled_to_the_samples_that_are_asked_for(
    seen: list[tuple[float, int]],
) -> None:
    of = Scene.of(workload={"prompts": [{"id": "cat", "text": "A cat."}], "seeds": {"count": 8}})
    heads = [LedgerHead("wan", "default", "default", seconds, samples) for seconds, samples in seen]
    found = estimate_seconds(of.document, [*heads, LedgerHead("other", "default", "default", 1e6, 1)])
    scaled = [seconds * 8 / samples for seconds, samples in seen]
    assert set(found) == ({of.cell.id} if seen else set())
    for estimate in found.values():
        assert min(scaled) - 1 <= estimate <= max(scaled) + 1
