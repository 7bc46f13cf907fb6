"""Raw objects to what the core sees, and nonsense to nothing."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.raw_objects import CREATED, LATER, ended_job, ended_pod, raw_job, raw_node, raw_pod, raw_run
from support.requests import CELL, request_document

from vidbench_operator.adapters import projections
from vidbench_operator.core.observed import NodeCondition, NodeTaint
from vidbench_operator.core.plan import Placement
from vidbench_operator.core.projections import project_node, project_result
from vidbench_operator.core.timestamps import parse_time
from vidbench_operator.manifests import job_manifest
from vidbench_operator.ports import BrokenRun, RunKey

Raw = dict[str, Any]


def test_job_is_read_off_its_name_not_its_labels() -> None:
    """Labels can be changed by whoever may patch Jobs; the name cannot."""
    raw = raw_job("nightly-0123abcd-12-3")
    raw["metadata"]["labels"] |= {"vidbench.io/cell": "ffffffff", "vidbench.io/shard": "nonsense"}
    job = projections.project_job(raw)
    assert job is not None
    assert (job.cell, job.shard, job.attempt) == ("0123abcd", 12, 3)
    assert (job.owner_uid, job.finished, job.deleting) == ("run-1", None, False)


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        pytest.param(ended_job("Complete"), ("Complete", ""), id="a Job that completed"),
        pytest.param(ended_job("Failed", "PodFailurePolicy"), ("Failed", "PodFailurePolicy"), id="a Job that failed"),
        pytest.param(
            raw_job(conditions=[{"type": "FailureTarget", "status": "True"}]), (None, ""), id="a Job about to fail"
        ),
        pytest.param(
            raw_job(conditions=[{"type": "Failed", "status": "False"}]), (None, ""), id="a condition that does not hold"
        ),
    ],
)
def test_job_has_ended_by_its_conditions(raw: Raw, want: tuple[str | None, str]) -> None:
    job = projections.project_job(raw)
    assert job is not None
    assert (job.finished, job.finished_reason) == want
    assert job.finished_at == (parse_time(LATER) if job.finished else None)


@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([], id="nobody"),
        pytest.param([{"apiVersion": "batch/v1", "kind": "CronJob", "uid": "x", "controller": True}], id="a CronJob"),
        pytest.param(
            [{"apiVersion": "vidbench.io/v1alpha1", "kind": "BenchmarkRun", "uid": "x"}], id="a run, not as controller"
        ),
        pytest.param(
            [{"apiVersion": "evil.example/v1", "kind": "BenchmarkRun", "uid": "x", "controller": True}],
            id="a kind of that name in another group",
        ),
    ],
)
def test_job_of_somebody_else_has_no_owner(owners: list[Raw]) -> None:
    raw = raw_job()
    raw["metadata"]["ownerReferences"] = owners
    job = projections.project_job(raw)
    assert job is not None
    assert job.owner_uid is None


def test_job_of_another_name_is_none_of_ours() -> None:
    assert projections.project_job(raw_job("backup")) is None


@pytest.mark.parametrize(
    ("spec", "status", "suspended"),
    [
        pytest.param({}, {}, False, id="never held"),
        pytest.param({"suspend": False}, {"startTime": LATER}, False, id="let go"),
        pytest.param({"suspend": True}, {}, True, id="held from the start"),
        pytest.param(
            {"suspend": False},
            {"conditions": [{"type": "Suspended", "status": "True"}]},
            True,
            id="let go, but the Job controller has not followed",
        ),
        pytest.param(
            {"suspend": False}, {"conditions": [{"type": "Suspended", "status": "False"}]}, False, id="it has followed"
        ),
        pytest.param({"suspend": "yes"}, {"conditions": "none"}, False, id="nonsense"),
    ],
)
def test_job_is_held_until_the_job_controller_lets_it_go(spec: Raw, status: Raw, *, suspended: bool) -> None:
    raw = raw_job()
    raw["spec"] = {**raw.get("spec", {}), **spec}
    raw["status"] = status
    job = projections.project_job(raw)
    assert job is not None
    assert (job.suspended, job.started_at) == (suspended, parse_time(status.get("startTime")))


@pytest.mark.parametrize(
    ("placement", "required"),
    [
        pytest.param(Placement(), None, id="anywhere"),
        pytest.param(Placement(avoid=("a",), prefer=("b",)), None, id="not there, rather here"),
        pytest.param(Placement(avoid=("a",), require="c"), "c", id="there"),
    ],
)
def test_node_that_a_job_requires_is_read_from_what_the_operator_writes(
    placement: Placement, required: str | None
) -> None:
    raw = raw_job()
    raw["spec"] = job_manifest(request_document(), CELL, 1, 1, placement)["spec"]
    job = projections.project_job(raw)
    assert job is not None
    assert job.required_node == required


@pytest.mark.parametrize("affinity", ["x", {}, {"nodeAffinity": []}, {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [{"operator": "In", "values": []}]}, 7]}}}])  # fmt: skip
def test_affinity_that_means_nothing_requires_no_node(affinity: Raw) -> None:
    raw = raw_job()
    raw["spec"] = {"template": {"spec": {"affinity": affinity}}}
    job = projections.project_job(raw)
    assert job is not None
    assert job.required_node is None


def test_pod_end_is_the_runner_containers() -> None:
    pod = projections.project_pod(ended_pod(exit_code=85, message="what it said"))
    assert pod is not None
    assert (pod.exit_code, pod.message, pod.container_reason) == (85, "what it said", "Error")
    assert (pod.started_at, pod.finished_at) == (parse_time(CREATED), parse_time(LATER))
    assert (pod.job_uid, pod.node, pod.image_id) == ("job-1", "node-1", "sha256:1")
    assert pod.ended


def test_pod_that_waits_says_why() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    raw = raw_pod(
        conditions=[{"type": "PodScheduled", "status": "True", "lastTransitionTime": LATER}],
        containerStatuses=[{"name": "runner", "state": {"waiting": waiting}}],
    )
    pod = projections.project_pod(raw)
    assert pod is not None
    assert (pod.waiting_reason, pod.waiting_message) == ("ImagePullBackOff", "no such image")
    assert (pod.scheduled_at, pod.unschedulable_message, pod.ended) == (parse_time(LATER), None, False)


def test_pod_without_a_node_says_why() -> None:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    pod = projections.project_pod(raw_pod(conditions=[scheduled]))
    assert pod is not None
    assert (pod.scheduled_at, pod.unschedulable_message) == (None, "0/3 nodes")


def test_pod_disruption_counts_while_it_holds() -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    disrupted = projections.project_pod(raw_pod(conditions=[condition]))
    spared = projections.project_pod(raw_pod(conditions=[{**condition, "status": "False"}]))
    assert disrupted is not None
    assert spared is not None
    assert (disrupted.disruption, spared.disruption) == ("PreemptionByScheduler", None)


def test_pod_message_is_cut_to_what_a_kubelet_may_send() -> None:
    pod = projections.project_pod(ended_pod(message="x" * 100_000))
    assert pod is not None
    assert len(pod.message or "") == 4096


def test_pod_that_no_job_controls_is_none_of_ours() -> None:
    raw = raw_pod()
    raw["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "x", "controller": True}
    ]
    assert projections.project_pod(raw) is None


def test_node_readiness() -> None:
    ready, lost = project_node(raw_node()), project_node(raw_node(ready="Unknown"))
    assert ready is not None
    assert lost is not None
    assert (ready.ready, ready.not_ready_since) == (True, None)
    assert (lost.ready, lost.not_ready_since) == (False, parse_time(LATER))


def test_node_conditions_and_taints_are_read_in_a_fixed_order_and_nonsense_is_left_out() -> None:
    raw = raw_node()
    conditions = [{"type": "GpuMemWatch", "status": "True"}, {"type": "DiskPressure", "status": "False"}, {"type": 7}]
    raw["status"]["conditions"].extend([*conditions, "nonsense"])
    xid, plain = (
        {"key": "nvidia.com/gpu-xid-error", "effect": "NoSchedule", "value": "79"},
        {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
    )
    raw["spec"] = {"taints": [xid, plain, {"key": "no-effect"}, 7]}
    node = project_node(raw)
    assert node is not None
    assert node.conditions == (NodeCondition("DiskPressure", "False"), NodeCondition("GpuMemWatch", "True"))
    assert node.taints == (
        NodeTaint("nvidia.com/gpu", "NoSchedule"),
        NodeTaint("nvidia.com/gpu-xid-error", "NoSchedule", "79"),
    )


def test_pod_says_why_its_node_ended_it() -> None:
    raw = raw_pod()
    raw["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. " * 99}
    pod = projections.project_pod(raw)
    assert pod is not None
    assert (pod.pod_reason, len(pod.pod_message or "")) == ("Evicted", 256)


def test_job_that_harvests_is_told_by_its_name() -> None:
    job, harvest = (projections.project_job(raw_job(f"nightly-0123abcd-12-3{end}")) for end in ("", "-h"))
    assert job is not None
    assert harvest is not None
    assert (job.harvests, harvest.harvests, harvest.attempt) == (False, True, 3)


def test_run_is_read_whole() -> None:
    run = projections.project_run(raw_run(phase="Running", requestDigest="0" * 64))
    assert (run.namespace, run.name, run.uid, run.generation, run.resource_version) == (
        "team",
        "nightly",
        "run-1",
        2,
        "7",
    )
    assert run.spec.models[0].name == "wan"
    assert run.status.request_digest == "0" * 64


@pytest.mark.parametrize(
    ("change", "want"),
    [
        pytest.param({"status": {"rows": 7}}, "status.rows", id="a status of another shape"),
        pytest.param({"status": "nonsense"}, "status:", id="a status that is no object"),
        pytest.param({"spec": {"models": []}}, "spec.models", id="no model"),
        pytest.param({"spec": None}, "spec:", id="no spec"),
        pytest.param({"metadata": raw_run("a" * 41)["metadata"]}, "metadata.name", id="a name that is too long"),
        pytest.param({"status": {"phase": "Sleeping"}}, "status.phase", id="a phase that does not exist"),
    ],
)
def test_run_that_does_not_fit_says_where(change: Raw, want: str) -> None:
    with pytest.raises(BrokenRun, match=want) as caught:
        projections.project_run(raw_run() | change)
    assert caught.value.run is not None
    assert (caught.value.run.namespace, caught.value.run.uid) == ("team", "run-1")


def test_run_head_is_read_off_a_run_that_does_not_fit() -> None:
    head = projections.project_head(raw_run() | {"spec": None, "status": {"rows": 7, "phase": 3}})
    assert (head.uid, head.generation, head.accepted, head.phase) == ("run-1", 2, False, "Pending")


def test_head_counts_breakers_until_the_run_has_ended() -> None:
    breakers = [
        {"kind": "Node", "name": "node-1", "state": "Open", "failures": 3},
        {"kind": "Model", "name": "wan", "state": "HalfOpen", "failures": 3},
        {"kind": 7},
        "nonsense",
    ]
    ended = [{"type": "Failed", "status": "True", "reason": "NoResult"}]
    head = projections.project_head(raw_run(phase="Running", breakers=breakers))
    assert (head.ended, head.breakers) == (False, ("Node", "Model"))
    head = projections.project_head(raw_run(phase="Failed", breakers=breakers, conditions=ended))
    assert (head.ended, head.breakers) == (True, ())


def test_ledger_entry_is_a_results_metadata() -> None:
    metadata = {
        "namespace": "team",
        "name": "nightly-0123abcd-1",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": CREATED,
        "labels": {"vidbench.io/run-uid": "run-1", "vidbench.io/keep": "true"},
    }
    entry = projections.project_ledger_entry({"metadata": metadata})
    assert entry is not None
    assert (entry.run_uid, entry.kept, entry.created_at) == ("run-1", True, parse_time(CREATED))
    bare = projections.project_ledger_entry({"metadata": metadata | {"labels": {"vidbench.io/keep": "yes"}}})
    assert bare is not None
    assert (bare.run_uid, bare.kept) == (None, False)
    baseline = projections.project_ledger_entry({"metadata": metadata | {"labels": {"vidbench.io/baseline": "june"}}})
    assert baseline is not None
    assert baseline.kept
    assert projections.project_ledger_entry({"metadata": metadata | {"resourceVersion": None}}) is None


def test_refusal_is_the_job_controllers_word() -> None:
    event = {
        "involvedObject": {"kind": "Job", "uid": "job-1"},
        "reason": "FailedCreate",
        "message": "exceeded quota",
        "lastTimestamp": LATER,
    }
    moment, refusal = projections.project_refusal(event) or (None, None)
    assert moment == parse_time(LATER)
    assert refusal is not None
    assert (refusal.job_uid, refusal.message) == ("job-1", "exceeded quota")
    assert projections.project_refusal({**event, "reason": "SuccessfulCreate"}) is None


def test_key_of_a_child_is_its_label() -> None:
    assert projections.run_key_of_child(raw_pod()) == RunKey("team", "nightly")
    unlabelled = raw_pod()
    unlabelled["metadata"]["labels"] = None
    assert projections.run_key_of_child(unlabelled) is None


_SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20)
_NONSENSE = st.recursive(
    _SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_TIMES = st.sampled_from([CREATED, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "yesterday", ""])


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in entries for found in _paths(child, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.deepcopy(value)
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = new
    return changed


@st.composite
def _damaged(draw: st.DrawFn) -> Any:
    """An object with nonsense in up to three places, at any depth."""
    raw: Any = draw(
        st.sampled_from([ended_job("Failed"), ended_pod(), raw_pod(), raw_node(), raw_run(phase="Running")])
    )
    for _ in range(draw(st.integers(1, 3))):
        raw = _with(raw, draw(st.sampled_from(_paths(raw))), draw(_NONSENSE | _TIMES))
    return raw


@settings(max_examples=600, deadline=None)
@given(raw=_damaged() | _NONSENSE)
def test_nonsense_never_raises(raw: Any) -> None:
    projections.project_job(raw)
    projections.project_pod(raw)
    project_node(raw)
    project_result(raw)
    projections.project_refusal(raw)
    projections.project_head(raw)
    projections.project_ledger_entry(raw)
    projections.run_key_of(raw)
    projections.run_key_of_child(raw)


@settings(max_examples=300, deadline=None)
@given(raw=_damaged())
def test_damaged_run_is_read_or_named_broken(raw: Any) -> None:
    with contextlib.suppress(BrokenRun):
        projections.project_run(raw if isinstance(raw, dict) else {})
