"""Deciding is total: whatever stands in etcd, by force or by accident, gives a plan that the API server takes."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import NOW, Scene

from vidbench_api.message import encode
from vidbench_api.names import Outcome, Reason, RowPhase
from vidbench_api.result import BenchmarkResultSpec, RunReference
from vidbench_api.run_status import AttemptFailure, BenchmarkRunStatus, CellRow, ShardStatus
from vidbench_operator.core.decide import decide
from vidbench_operator.core.observed import CreationRefusal, NodeTaint, Observed, ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal

WHEN = st.sampled_from((None, -1e12, 0.0, NOW - 5000, NOW, NOW + 100, NOW + 1e9, 1e15))
TEXTS = st.sampled_from(
    (None, "", "Evicted", "DeadlineExceeded", "OOMKilled", "ImagePullBackOff", "OutOfcpu", "x" * 4096)
)
REASONS = st.none() | st.sampled_from([reason.value for reason in Reason]) | st.just("Nonsense")
STAGE = Scene.of(
    models=["a", "b"], hardware=[{"name": "gpu", "gpus": 16}], measurement={"shards": 2}, ttl={"runSeconds": 5}
)
NAMES = [
    STAGE.job(cell, shard, attempt).name for cell in STAGE.document.cells for shard in (1, 2) for attempt in (1, 2)
]
UIDS = st.sampled_from(("u-1", "u-2", "u-3"))

failures = st.builds(
    AttemptFailure,
    attempt=st.integers(0, 3),
    reason=st.sampled_from([*(reason.value for reason in Reason), "Nonsense"]),
    node=st.sampled_from((None, "node-1", "node-2")),
    endedAt=st.sampled_from(("nonsense", "2027-01-15T08:00:00Z", "9999-12-31T23:59:59-23:59")),
)
shards = st.builds(
    ShardStatus,
    index=st.integers(1, 4),
    phase=st.sampled_from(RowPhase),
    attempt=st.integers(0, 3),
    job_uid=st.none() | UIDS,
    started_at=st.sampled_from((None, "nonsense", "2027-01-15T08:00:00Z", "9999-12-31T23:59:59-23:59")),
    ended_at=st.sampled_from((None, "nonsense", "2027-01-15T08:00:00Z", "9999-12-31T23:59:59-23:59")),
    not_before=st.sampled_from((None, "nonsense", "2027-01-15T08:00:10Z")),
    retries=st.integers(0, 12),
    disruptions=st.sampled_from((0, 1, 40, 2_147_483_646)),
    node=st.sampled_from((None, "node-1")),
    failures=st.lists(failures, max_size=8).map(tuple),
    reason=REASONS,
    outcome=st.none() | st.sampled_from(Outcome),
)
rows = st.builds(
    CellRow,
    id=st.sampled_from([*(cell.id for cell in STAGE.document.cells), "00000000"]),
    model=st.just("a"),
    hardware=st.sampled_from(("gpu", "gone")),
    variant=st.just("default"),
    shards=st.lists(shards, max_size=4).map(tuple),
)
jobs = st.builds(
    lambda name, **fields: ObservedJob(
        name=name, cell=name.split("-")[1], shard=int(name.split("-")[2]), attempt=int(name.split("-")[3]), **fields
    ),
    name=st.sampled_from(NAMES),
    uid=UIDS,
    owner_uid=st.sampled_from((None, STAGE.run.uid, "somebody")),
    created_at=st.sampled_from((NOW - 1e6, NOW, NOW + 1e6)),
    finished=st.sampled_from((None, None, "Complete", "Failed")),
    finished_at=WHEN,
    finished_reason=st.sampled_from(("", "PodFailurePolicy")),
    finished_message=st.sampled_from(("", "failed with exit code 999 matching FailJob", "DisruptionTarget")),
    ttl_seconds=st.none() | st.just(5),
    deleting=st.booleans(),
)
MESSAGES = (
    None,
    "",
    "vb1.00000000.x",
    "\x00" * 4096,
    encode(STAGE.verdict()),
    encode(STAGE.written_ahead(0)),
    encode(STAGE.failure("RunDeadlineExceeded")),
    encode(STAGE.failure("Nonsense", Outcome.CANCELLED)),
    encode(STAGE.verdict(validity=None, environment=None, memory=None, series=())),
)
pods = st.builds(
    ObservedPod,
    name=st.just("pod"),
    uid=st.sampled_from(("p-1", "p-2", "p-3")),
    job_uid=UIDS,
    phase=st.sampled_from(("Pending", "Running", "Succeeded", "Failed", "Unknown", "Nonsense")),
    created_at=st.sampled_from((NOW - 1e6, NOW, NOW + 1e6)),
    node=st.sampled_from((None, "node-1", "node-2")),
    scheduled_at=WHEN,
    unschedulable_message=TEXTS,
    started_at=WHEN,
    finished_at=WHEN,
    exit_code=st.sampled_from((None, 0, 1, 84, 137, 143, 255, -1, 4294967295)),
    container_reason=TEXTS,
    waiting_reason=TEXTS,
    waiting_message=TEXTS,
    pod_reason=TEXTS,
    pod_message=TEXTS,
    disruption=TEXTS,
    image_id=TEXTS,
    message=st.sampled_from(MESSAGES),
    deleting=st.booleans(),
    deletes_at=WHEN,
    gone=st.booleans(),
)
XID = NodeTaint("nvidia.com/gpu-xid-error", "NoSchedule")
NODES = (
    {"node-1": ObservedNode("node-1", {}, ready=False)},
    {"node-1": ObservedNode("node-1", {}, ready=True, taints=(XID,)), "node-2": ObservedNode("node-2", {}, ready=True)},
)
FOREIGN = STAGE.result(run=RunReference(name="other", uid="other"))
results = st.dictionaries(
    st.sampled_from([STAGE.result_name(cell, shard) for cell in STAGE.document.cells for shard in (1, 2)]),
    st.sampled_from((STAGE.result(), FOREIGN, STAGE.result(reason="Nonsense", outcome=Outcome.FAILED))),
    max_size=2,
)
observations = st.builds(
    Observed,
    jobs=st.lists(jobs, max_size=6).map(tuple),
    pods=st.lists(pods, max_size=6).map(tuple),
    nodes=st.none() | st.sampled_from(NODES),
    results=results,
    refusals=st.lists(st.builds(CreationRefusal, UIDS, st.just("y" * 5000)), max_size=2).map(tuple),
    refusals_read=st.frozensets(UIDS),
    conflicts=st.frozensets(st.sampled_from(NAMES), max_size=2),
    refused_jobs=st.dictionaries(st.sampled_from(NAMES), st.just("z" * 5000), max_size=2),
    document=st.just(STAGE.document),
    live=st.booleans(),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rows, max_size=4), observations, st.sampled_from((0.0, 3.0, 5_000.0, 90_000.0)))
def test_deciding_on_any_stored_status_and_any_children_gives_a_plan_that_the_server_takes(
    stored: list[CellRow], observed: Observed, elapsed: float
) -> None:
    scene = STAGE.with_status(STAGE.run.status.model_copy(update={"rows": tuple(stored)}))
    plan = decide(scene.run, observed, NOW + elapsed, Policy())
    if plan.needs_live or plan.needs_refusals:
        assert plan.writes_nothing
        return
    for result in plan.results:
        BenchmarkResultSpec.model_validate(result.spec.to_wire())
    assert plan.requeue_after is not None
    if plan.status is not None:
        assert BenchmarkRunStatus.model_validate(plan.status.to_wire()) == plan.status
        again = decide(scene.after(plan).run, observed, NOW + elapsed, Policy())
        assert not is_terminal(plan.status) or again.status is None
