"""A pass: what it reads, the order in which it writes, and what a crash at any write leaves."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, observed_run, references, run_spec, video_model
from support.fake_cluster import CrashError, FakeChildren, FakeCluster
from support.measured_results import measured_result

from vidbench_api.identity import cell_id, request_name, result_name
from vidbench_api.names import ConditionType, EventReason, RowPhase
from vidbench_api.request import RunIdentity
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.gating import BASELINE_PATIENCE_SECONDS
from vidbench_operator.core.gpu_time import GpuTime
from vidbench_operator.core.observed import ObservedJob, ObservedNode, References
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal
from vidbench_operator.ports import BrokenRun, Refused, RunKey, Unavailable
from vidbench_operator.reconciler import Reconciler

KEY = RunKey("lab", "nightly")
LABELLED_NODE = ObservedNode(
    "node-1",
    {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/cuda.driver-version.full": "570.124.06"},
    ready=True,
    allocatable={"nvidia.com/gpu": "8"},
)
SPEC = {"models": ["wan", "ltx"], "measurement": {"shards": 1}}


class Bench:
    """A cluster, what the watches show of it, and an operator that can be started again."""

    def __init__(self, **spec: Any) -> None:
        asked = run_spec(**(SPEC | spec))
        self.cluster = FakeCluster(observed_run(asked), references(asked))
        self.ended: list[str] = []
        self.spent = GpuTime()
        self.restart()

    def restart(self) -> None:
        """Start a process with empty memory."""
        self.cluster.restart_operator()
        self.children = FakeChildren(self.cluster)
        self.reconciler = Reconciler(self.cluster, self.children, {}, Policy(), self.ended.append, self._spend)

    def _spend(self, spent: GpuTime) -> None:
        self.spent += spent

    async def reconcile(self) -> float | None:
        """Let the watches catch up and do a pass, a while after the one before."""
        self.cluster.time += 2.0
        self.children.see()
        return await self.reconciler.reconcile(KEY)

    async def accept(self) -> None:
        """Get to the first Jobs."""
        await self.reconcile()
        assert self.cluster.jobs

    async def run_to_end(self, passes: int = 30) -> None:
        """Let pods run and end, and passes be made, until the run has ended; a dead operator is started again."""
        for _ in range(passes):
            self.cluster.start_pods()
            try:
                await self.reconcile()
            except CrashError:
                self.restart()
            if is_terminal(self.status):
                return
            self.cluster.end_pods()
        raise AssertionError(f"the run does not end: {self.status.message}")

    async def run_until_dead(self) -> None:
        """Let pods run and end, and passes be made, until the operator dies; then start it again."""
        while not self.cluster.dead:
            self.cluster.start_pods()
            with contextlib.suppress(CrashError):
                await self.reconcile()
            self.cluster.end_pods()
        self.restart()

    @property
    def status(self) -> BenchmarkRunStatus:
        assert self.cluster.run is not None
        return self.cluster.run.status

    def condition(self, kind: ConditionType) -> tuple[str, str]:
        """Status and reason of a condition."""
        entry = next(entry for entry in self.status.conditions if entry.type == kind)
        return entry.status, entry.reason

    def assert_complete(self, shards: int) -> None:
        """Every shard has one result, from one Job that was created once."""
        assert self.condition(ConditionType.COMPLETE) == ("True", "AllSucceeded")
        named = [shard.result for row in self.status.rows for shard in row.shards]
        assert sorted(filter(None, named)) == sorted(self.cluster.results)
        assert len(self.cluster.results) == shards
        assert len(self.cluster.jobs_created) == len(set(self.cluster.jobs_created)) == shards
        assert {shard.attempt for row in self.status.rows for shard in row.shards} == {1}


@pytest.mark.parametrize("shards", [1, 3])
async def test_run_comes_to_its_end(shards: int) -> None:
    bench = Bench(measurement={"shards": shards})
    await bench.run_to_end()
    bench.assert_complete(2 * shards)
    assert bench.ended == ["Succeeded"] * 2 * shards


async def test_gpu_time_that_is_counted_is_what_the_status_says() -> None:
    bench = Bench()
    await bench.run_to_end()
    told = bench.status.gpu_seconds
    assert told is not None
    assert told.used > 0
    assert bench.spent.useful > 0
    assert bench.spent.useful + bench.spent.overhead + bench.spent.idle == pytest.approx(told.used)
    assert bench.spent.wasted == told.wasted


async def test_follower_lets_go_of_what_the_leader_has_settled_and_writes_nothing() -> None:
    leader = Bench()
    await leader.accept()
    follower = FakeChildren(leader.cluster)
    reconciler = Reconciler(leader.cluster, follower, {}, Policy())
    leader.cluster.start_pods()
    leader.cluster.end_pods()
    follower.see()
    await reconciler.let_go(KEY)
    assert follower.forgotten == set(), "nobody has taken the verdicts in"
    await leader.run_to_end()
    follower.see()
    calls = len(leader.cluster.calls)
    await reconciler.let_go(KEY)
    assert follower.forgotten == {stored.job.uid for stored in leader.cluster.jobs.values()}
    assert leader.cluster.calls[calls:] == [], "nothing was written"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("shards", [1, 3])
async def test_crash_at_any_write_loses_and_repeats_nothing(shards: int, moment: str) -> None:
    whole = Bench(measurement={"shards": shards})
    await whole.run_to_end()
    await whole.reconcile()
    writes = len(whole.cluster.calls)
    assert writes >= 4 + 3 * 2 * shards
    for number in range(writes):
        bench = Bench(measurement={"shards": shards})
        bench.cluster.crash_at = (number, moment)
        await bench.run_to_end()
        bench.assert_complete(2 * shards)


async def test_two_crashes_lose_and_repeat_nothing() -> None:
    for first in range(0, 12, 3):
        for second in range(first + 1, 16, 3):
            bench = Bench()
            bench.cluster.crash_at = (first, "after")
            await bench.run_until_dead()
            bench.cluster.crash_at = (second, "before")
            await bench.run_to_end()
            bench.assert_complete(2)


async def test_run_costs_three_writes_a_shard_beside_the_status() -> None:
    bench = Bench(models=[f"m{number}" for number in range(10)], parallelism=10)
    await bench.run_to_end()
    await bench.reconcile()
    counted = [call for call in bench.cluster.calls if call != "write status"]
    assert len(counted) == 1 + 3 * 10, "the request, and for each shard a Job, a result and a time to live"
    assert bench.cluster.calls.count("write status") <= 5


async def test_pass_writes_results_then_status_then_jobs_then_lifetimes() -> None:
    bench = Bench(parallelism=1)
    await bench.accept()
    bench.cluster.start_pods()
    await bench.reconcile()
    bench.cluster.end_pods()
    bench.cluster.calls.clear()
    await bench.reconcile()
    assert [call.rsplit(" ", 1)[0] for call in bench.cluster.calls] == ["create result", "write", "create job"]
    bench.cluster.calls.clear()
    await bench.reconcile()
    assert [call.rsplit(" ", 1)[0] for call in bench.cluster.calls] == ["write", "patch job"]


async def test_steady_state_writes_nothing() -> None:
    bench = Bench()
    await bench.accept()
    bench.cluster.start_pods()
    for _ in range(3):
        await bench.reconcile()
    bench.cluster.calls.clear()
    bench.cluster.events.clear()
    bench.restart()
    for _ in range(5):
        await bench.reconcile()
    assert bench.cluster.calls == []
    assert bench.cluster.events == []


async def test_steady_state_reads_only_the_run() -> None:
    bench = Bench()
    await bench.accept()
    bench.cluster.start_pods()
    for _ in range(3):
        await bench.reconcile()
    bench.cluster.reads.clear()
    await bench.reconcile()
    assert bench.cluster.reads == ["get_run"]


async def test_missing_reference_is_waited_for() -> None:
    bench = Bench()
    bench.cluster.references = References(None, {})
    after = await bench.reconcile()
    assert bench.condition(ConditionType.ACCEPTED) == ("False", "RunnerClassNotFound")
    assert after == pytest.approx(1800 - 2, abs=1)
    assert bench.cluster.jobs == {}
    bench.cluster.references = references(run_spec(**SPEC))
    await bench.run_to_end()
    bench.assert_complete(2)


async def test_missing_reference_ends_the_run_when_its_time_is_up() -> None:
    bench = Bench(timeouts={"schedulingSeconds": 60})
    bench.cluster.references = References(None, {})
    bench.cluster.time = NOW + 61
    await bench.reconcile()
    assert bench.condition(ConditionType.FAILED) == ("True", "RunnerClassNotFound")
    assert [event.reason for event in bench.cluster.events] == [EventReason.REFUSED]


async def test_request_that_an_earlier_pass_froze_counts_whatever_the_names_mean_now() -> None:
    bench = Bench()
    bench.cluster.crash_at = (1, "before")
    with pytest.raises(CrashError):
        await bench.reconcile()
    [(_, frozen)] = bench.cluster.configmaps.values()
    bench.restart()
    changed = {
        name: video_model(defaults={"height": 8, "width": 8, "frames": 1, "steps": 1}) for name in ("wan", "ltx")
    }
    bench.cluster.references = replace(bench.cluster.references, models=changed)
    await bench.run_to_end()
    bench.assert_complete(2)
    assert [text for _, text in bench.cluster.configmaps.values()] == [frozen]


async def test_foreign_configmap_of_the_requests_name_ends_the_run() -> None:
    bench = Bench()
    assert bench.cluster.run is not None
    bench.cluster.configmaps[request_name("nightly", bench.cluster.run.uid)] = ("somebody-else", "{}")
    await bench.reconcile()
    assert bench.condition(ConditionType.FAILED) == ("True", "RequestConflict")


async def test_lost_request_is_rebuilt_to_the_byte() -> None:
    bench = Bench()
    await bench.accept()
    before = dict(bench.cluster.configmaps)
    bench.cluster.configmaps.clear()
    bench.restart()
    await bench.run_to_end()
    assert bench.cluster.configmaps == before
    bench.assert_complete(2)


async def test_lost_request_that_cannot_be_rebuilt_ends_the_run_and_its_jobs() -> None:
    bench = Bench()
    await bench.accept()
    bench.cluster.configmaps.clear()
    bench.cluster.references = References(None, {})
    bench.restart()
    await bench.reconcile()
    assert bench.condition(ConditionType.FAILED) == ("True", "RequestLost")
    await bench.reconcile()
    assert bench.cluster.jobs == {}


async def test_changed_request_is_not_believed() -> None:
    bench = Bench()
    await bench.accept()
    [(name, (owner, text))] = bench.cluster.configmaps.items()
    bench.cluster.configmaps[name] = (owner, text.replace('"shards":1', '"shards":2'))
    bench.restart()
    await bench.reconcile()
    assert bench.condition(ConditionType.FAILED) == ("True", "RequestLost")


async def test_request_that_is_refused_is_tried_until_its_time_is_up() -> None:
    bench = Bench(timeouts={"schedulingSeconds": 60})
    bench.cluster.refusing["create_request"] = "exceeded quota: configmaps"
    assert await bench.reconcile() == 10.0
    assert bench.condition(ConditionType.ACCEPTED)[0] == "False"
    assert "exceeded quota" in (bench.status.message or "")
    bench.cluster.time = NOW + 61
    await bench.reconcile()
    assert bench.condition(ConditionType.FAILED)[0] == "True"


async def test_conflict_on_the_status_stops_the_pass_before_any_job() -> None:
    bench = Bench()

    def other_writer() -> None:
        assert bench.cluster.run is not None
        bench.cluster.run = replace(bench.cluster.run, resource_version="elsewhere")
        bench.cluster.before_status = None

    bench.cluster.before_status = other_writer
    assert await bench.reconcile() == 0.0
    assert bench.cluster.jobs == {}
    await bench.run_to_end()
    bench.assert_complete(2)


async def test_result_that_is_there_already_counts() -> None:
    """The pass that wrote it did not get to the status; its figures count, not new ones."""
    bench = Bench(models=["wan"])
    await bench.accept()
    bench.cluster.start_pods()
    await bench.reconcile()
    bench.cluster.end_pods()
    bench.cluster.crash_at = (len(bench.cluster.calls), "after")
    with pytest.raises(CrashError):
        await bench.reconcile()
    [(name, stored)] = bench.cluster.results.items()
    bench.cluster.results[name] = stored.model_copy(update={"message": "the first one"})
    bench.restart()
    await bench.run_to_end()
    assert bench.cluster.results[name].message == "the first one"
    bench.assert_complete(1)


async def test_result_of_somebody_else_costs_its_shard_only() -> None:
    bench = Bench()
    await bench.accept()
    cell = bench.status.rows[0].id
    bench.cluster.start_pods()
    await bench.reconcile()
    bench.cluster.end_pods()
    other = Bench()
    await other.run_to_end()
    foreign = next(iter(other.cluster.results.values()))
    taken = result_name("nightly", cell, 1)
    bench.cluster.results[taken] = foreign.model_copy(update={"run": foreign.run.model_copy(update={"uid": "other"})})
    await bench.run_to_end()
    outcomes = {row.id: (row.outcome, row.reason) for row in bench.status.rows}
    assert outcomes.pop(cell) == ("Failed", "NameConflict")
    assert list(outcomes.values()) == [("Succeeded", None)]


async def test_job_of_somebody_else_costs_its_cell_only() -> None:
    bench = Bench(parallelism=1)
    assert bench.cluster.run is not None
    cell = min(cell_id(bench.cluster.run.uid, model, "default", "default") for model in ("wan", "ltx"))
    name = f"nightly-{cell}-1-1"
    foreign = ObservedJob(name, "foreign", None, cell, 1, 1, NOW)
    bench.cluster.jobs[name] = type("Stored", (), {"job": foreign, "manifest": {}})()
    await bench.run_to_end()
    outcomes = {row.id: (row.outcome, row.reason) for row in bench.status.rows}
    assert outcomes.pop(cell) == ("Failed", "NameConflict")
    assert list(outcomes.values()) == [("Succeeded", None)]
    assert bench.cluster.jobs[name].job is foreign


async def test_job_that_is_refused_is_tried_again_and_told_once() -> None:
    bench = Bench(models=["wan"])
    bench.cluster.refusing["create_job"] = "exceeded quota: count/jobs.batch"
    for _ in range(5):
        after = await bench.reconcile()
        assert after is not None
        assert after <= 10
    told = [event for event in bench.cluster.events if "exceeded quota" in event.message]
    assert len(told) == 1
    bench.cluster.refusing.clear()
    await bench.run_to_end()
    bench.assert_complete(1)


async def test_full_quota_makes_no_storm_and_is_used_at_once_when_it_is_raised() -> None:
    bench = Bench(models=[f"m{number}" for number in range(12)])
    bench.cluster.refusing["create_job"] = "exceeded quota: count/jobs.batch"
    await bench.reconcile()
    first = len([call for call in bench.cluster.calls if call.startswith("create job")])
    for _ in range(60):
        assert await bench.reconcile() is not None
    tried = len([call for call in bench.cluster.calls if call.startswith("create job")]) - first
    assert (first, tried <= 6) == (12, True), f"{tried} calls in two minutes"
    assert bench.cluster.calls.count("write status") <= 3
    assert bench.status.parallelism is not None
    assert (bench.status.parallelism.active, bench.status.parallelism.limited_by) == (0, "Quota")
    bench.cluster.refusing.clear()
    bench.cluster.time += 60
    for _ in range(4):
        await bench.reconcile()
    assert len(bench.cluster.jobs) == 12
    await bench.run_to_end()
    bench.assert_complete(12)


async def test_job_that_is_refused_for_too_long_ends_its_shard() -> None:
    bench = Bench(models=["wan"], timeouts={"schedulingSeconds": 30})
    bench.cluster.refusing["create_job"] = "exceeded quota: count/jobs.batch"
    for _ in range(30):
        await bench.reconcile()
    assert bench.status.rows[0].reason == "QuotaExceeded"
    assert bench.condition(ConditionType.FAILED)[0] == "True"


async def test_result_that_is_refused_keeps_its_shard_until_it_is_let_in() -> None:
    """What was measured stays in its pod, the others go on, and the server is asked about once a minute."""
    bench = Bench(models=["wan", "ltx"], parallelism=2)
    await bench.accept()
    bench.cluster.refusing["create_result"] = "exceeded quota: count/benchmarkresults"
    bench.cluster.start_pods()
    bench.cluster.end_pods()
    for _ in range(60):
        after = await bench.reconcile()
        assert after is not None
        assert after <= 65
    assert [row.phase for row in bench.status.rows] == [RowPhase.ACTIVE] * 2
    assert not [call for call in bench.cluster.calls if call.startswith(("delete job", "patch ttl"))]
    assert len([event for event in bench.cluster.events if "exceeded quota" in event.message]) == 1
    assert len([call for call in bench.cluster.calls if call.startswith("create result")]) <= 10
    bench.cluster.refusing.clear()
    bench.cluster.time += 60
    await bench.run_to_end()
    bench.assert_complete(2)


async def test_jobs_and_results_that_are_refused_at_once_are_told_once_each() -> None:
    bench = Bench(models=["wan", "ltx"], parallelism=1)
    await bench.accept()
    bench.cluster.start_pods()
    bench.cluster.end_pods()
    bench.cluster.refusing["create_result"] = "denied by policy"
    bench.cluster.refusing["create_job"] = "exceeded quota: count/jobs.batch"
    assert bench.cluster.run is not None
    bench.cluster.run = replace(bench.cluster.run, spec=bench.cluster.run.spec.model_copy(update={"parallelism": 2}))
    for _ in range(60):
        await bench.reconcile()
    told = [event.message for event in bench.cluster.events if "were refused" in event.message]
    assert sorted(message.split()[1] for message in told) == ["BenchmarkResults", "Jobs"]


async def test_waiting_shard_whose_stand_in_is_refused_does_not_start() -> None:
    bench = Bench(models=["wan", "ltx"], parallelism=1, timeouts={"runSeconds": 600})
    await bench.accept()
    bench.cluster.start_pods()
    bench.cluster.end_pods()
    bench.cluster.time += 600
    bench.cluster.refusing["create_result"] = "denied by policy"
    assert bench.cluster.run is not None
    bench.cluster.run = replace(bench.cluster.run, spec=bench.cluster.run.spec.model_copy(update={"parallelism": 2}))
    for _ in range(5):
        await bench.reconcile()
    assert len(bench.cluster.jobs_created) == 1


@pytest.mark.parametrize(("cancel", "seconds"), [("None", 1400), ("Graceful", 400), ("Immediate", 400)])
async def test_run_whose_results_are_refused_for_ever_ends_and_says_so(cancel: str, seconds: int) -> None:
    bench = Bench(models=["wan"], timeouts={"runSeconds": 600})
    bench.cluster.refusing["create_result"] = "denied by policy"
    await bench.accept()
    assert bench.cluster.run is not None
    bench.cluster.run = replace(bench.cluster.run, spec=bench.cluster.run.spec.model_copy(update={"cancel": cancel}))
    for _ in range(seconds // 2):
        bench.cluster.start_pods()
        await bench.reconcile()
        bench.cluster.end_pods()
    assert bench.condition(ConditionType.FAILED) == ("True", "NoResult")
    assert "denied by policy" in (bench.status.message or "")


async def test_watch_that_lags_makes_no_second_job() -> None:
    bench = Bench()
    bench.children.blind = True
    await bench.accept()
    for _ in range(4):
        await bench.reconcile()
    assert len(bench.cluster.jobs_created) == 2
    bench.children.blind = False
    await bench.run_to_end()
    bench.assert_complete(2)


async def test_verdict_of_a_deleted_pod_is_remembered_beside_a_live_list() -> None:
    """The Job is complete, its pod is gone: only the DELETED event had the verdict."""
    bench = Bench(models=["wan"])
    await bench.accept()
    bench.cluster.start_pods()
    await bench.reconcile()
    bench.cluster.end_pods()
    bench.children.see()
    bench.cluster.pods.clear()
    await bench.run_to_end()
    bench.assert_complete(1)
    assert bench.children.forgotten == {stored.job.uid for stored in bench.cluster.jobs.values()}


async def test_verdict_that_nobody_saw_is_lost_and_measured_again() -> None:
    bench = Bench(models=["wan"])
    await bench.accept()
    bench.cluster.start_pods()
    await bench.reconcile()
    bench.cluster.end_pods()
    bench.cluster.pods.clear()
    bench.restart()
    await bench.run_to_end()
    [shard] = bench.status.rows[0].shards
    assert (shard.outcome, shard.attempt, shard.lost_results) == ("Succeeded", 2, 1)
    assert bench.ended == ["ResultLost", "Succeeded"]


async def test_status_that_is_not_urgent_is_written_once_a_second() -> None:
    bench = Bench()
    await bench.accept()
    bench.cluster.start_pods()
    bench.children.see()
    bench.cluster.time += 0.25
    written = bench.cluster.calls.count("write status")
    assert await bench.reconciler.reconcile(KEY) == pytest.approx(0.75)
    assert bench.cluster.calls.count("write status") == written
    bench.cluster.time += 0.75
    await bench.reconciler.reconcile(KEY)
    assert bench.cluster.calls.count("write status") == written + 1


async def test_broken_run_is_told_once_for_each_thing_that_is_wrong() -> None:
    bench = Bench()
    identity = RunIdentity(namespace="lab", name="nightly", uid="u")
    bench.cluster.broken = BrokenRun("status.rows: nonsense", identity)
    for _ in range(3):
        assert await bench.reconcile() is None
    assert bench.cluster.reported == ["status.rows: nonsense"]
    bench.cluster.broken = BrokenRun("spec.models: nonsense", identity)
    await bench.reconcile()
    assert len(bench.cluster.reported) == 2


async def test_run_that_is_gone_needs_no_pass() -> None:
    bench = Bench()
    bench.cluster.run = None
    assert await bench.reconcile() is None
    assert bench.cluster.calls == []


async def test_run_that_goes_during_a_pass_ends_the_pass_quietly() -> None:
    bench = Bench()

    def deleted() -> None:
        bench.cluster.run = None

    bench.cluster.before_status = deleted
    assert await bench.reconcile() is None


async def test_ended_run_is_deleted_when_its_lifetime_is_over() -> None:
    bench = Bench(ttl={"runSeconds": 100})
    await bench.run_to_end()
    after = await bench.reconcile()
    assert after is not None
    assert 0 < after <= 100
    bench.cluster.time += 101
    await bench.reconcile()
    assert bench.cluster.run is None


async def test_outage_reaches_the_queue() -> None:
    bench = Bench()

    async def away(key: RunKey) -> None:
        raise Unavailable("connection refused")

    bench.cluster.get_run = away  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable):
        await bench.reconcile()


async def test_a_second_run_with_reuse_ends_in_one_pass_and_creates_nothing_but_its_request() -> None:
    first = Bench()
    first.children.node_table = {"node-1": LABELLED_NODE}
    await first.run_to_end()
    second = Bench(reuse={"policy": "IfIdentical"})
    second.cluster.results = dict(first.cluster.results)
    second.cluster.run = replace(second.cluster.run, name="again", uid="another-uid")
    second.children.node_table = {"node-1": LABELLED_NODE}
    second.cluster.time = first.cluster.time
    await second.reconcile()
    assert is_terminal(second.status), second.status.reuse_message
    assert second.cluster.calls == [f"create configmap {request_name('again', 'another-uid')}", "write status"]
    assert [event.reason for event in second.cluster.events] == [
        EventReason.ACCEPTED,
        EventReason.REUSED,
        EventReason.RUN_COMPLETE,
    ]
    assert {row.source for row in second.status.rows} == {"Reused"}
    assert second.ended == []


async def test_the_ledger_is_read_once_for_the_order_of_work_and_not_for_a_run_of_one_cell() -> None:
    bench = Bench()
    bench.cluster.heads = (LedgerHead("ltx", "default", "default", 90.0, 1),)
    await bench.accept()
    await bench.reconcile()
    assert bench.cluster.reads.count("list ledger heads") == 1
    estimates = {row.model: row.estimate_seconds for row in bench.status.rows}
    assert estimates == {"wan": None, "ltx": 90}
    alone = Bench(models=["wan"])
    await alone.accept()
    assert "list ledger heads" not in alone.cluster.reads


async def test_a_queue_that_does_not_exist_is_waited_for_and_looked_for_again() -> None:
    bench = Bench(scheduling={"queueName": "gpu"})
    after = await bench.reconcile()
    assert bench.condition(ConditionType.ACCEPTED) == ("False", "QueueNotFound")
    assert after == 15.0
    bench.cluster.queues.add("gpu")
    await bench.accept()


class TestGates:
    """What a run with gates reads when it ends, and what a crash there leaves."""

    GATE: dict[str, Any] = {  # noqa: RUF012 - a constant of the tests
        "name": "no-slower", "metric": "latency", "against": {"baseline": "old"}, "test": "NoWorseThan", "margin": "5%",
    }  # fmt: skip
    SPEC: dict[str, Any] = {  # noqa: RUF012
        "models": ["wan"], "measurement": {"shards": 2}, "baselines": [{"name": "old"}], "gates": [GATE],
    }  # fmt: skip

    def bench(self, **spec: Any) -> Bench:
        """A cluster whose ledger has two results of the same cell, labelled as the baseline."""
        bench = Bench(**(self.SPEC | spec))
        for shard in (1, 2):
            name = f"older-{shard}"
            bench.cluster.results[name] = measured_result(
                [1.0, 1.1, 1.2 + shard / 1e5], shard=shard, run="older", hardware="default", variant="default",
                environment=None, clip=None, origin={"attempt": 1, "node": "node-1"},
            )  # fmt: skip
            bench.cluster.labels[name] = {
                "vidbench.io/baseline": "old", "vidbench.io/outcome": "Succeeded", "vidbench.io/validity": "Valid",
                "vidbench.io/model": "wan", "vidbench.io/hardware": "default", "vidbench.io/variant": "default",
            }  # fmt: skip
        return bench

    async def test_a_run_reads_its_baseline_once_when_it_ends(self) -> None:
        bench = self.bench()
        await bench.run_to_end()
        assert bench.condition(ConditionType.GATES_PASSED) == ("True", "AllPassed")
        assert bench.condition(ConditionType.READY) == ("True", "AllSucceeded")
        assert bench.cluster.reads.count("list selected") == 1
        assert bench.status.gates[0].evidence[0].against_shards == 2
        assert EventReason.GATES_PASSED in [event.reason for event in bench.cluster.events]

    async def test_without_the_baseline_it_is_inconclusive(self) -> None:
        bench = self.bench()
        bench.cluster.labels.clear()
        await bench.run_to_end()
        assert bench.condition(ConditionType.GATES_PASSED) == ("False", "GateInconclusive")
        assert bench.condition(ConditionType.STALLED) == ("True", "GateInconclusive")
        assert bench.condition(ConditionType.COMPLETE) == ("True", "AllSucceeded")

    async def test_a_baseline_that_may_not_be_listed_keeps_no_run_from_ending(self) -> None:
        async def refuse(*_: Any) -> Any:
            raise Refused("benchmarkresults is forbidden")

        bench = self.bench()
        bench.cluster.list_selected = refuse  # type: ignore[method-assign]
        await bench.run_to_end()
        assert bench.condition(ConditionType.GATES_PASSED) == ("False", "GateInconclusive")
        assert bench.status.gates[0].reason == "NotReadable"

    async def test_all_baselines_of_a_run_share_what_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vidbench_operator.reconciler.MOST_BASELINE_RESULTS", 3)
        gates = [self.GATE | {"name": name, "against": {"baseline": name}} for name in ("one", "two")]
        labels = {"matchLabels": {"vidbench.io/baseline": "old"}}
        bench = self.bench(gates=gates, baselines=[{"name": name, "selector": labels} for name in ("one", "two")])
        await bench.run_to_end()
        assert [(gate.verdict, gate.reason) for gate in bench.status.gates] == [
            ("Pass", None),
            ("Inconclusive", "TooManyResults"),
        ]

    async def test_results_are_stored_while_baselines_cannot_be_read_and_the_run_ends_all_the_same(self) -> None:
        async def away(*_: Any) -> Any:
            raise Unavailable("503 Service Unavailable")

        bench = self.bench(timeouts={"runSeconds": 600})
        bench.cluster.list_selected = away  # type: ignore[method-assign]
        await bench.accept()
        for _ in range(5):
            bench.cluster.start_pods()
            with contextlib.suppress(Unavailable):
                await bench.reconcile()
            bench.cluster.end_pods()
        assert {"nightly"} == {spec.run.name for spec in bench.cluster.results.values()} - {"older"}
        assert len(bench.cluster.results) == 4
        assert not is_terminal(bench.status)
        bench.cluster.time += 600 + BASELINE_PATIENCE_SECONDS
        await bench.reconcile()
        assert bench.condition(ConditionType.COMPLETE) == ("True", "AllSucceeded")
        assert bench.condition(ConditionType.GATES_PASSED) == ("False", "GateInconclusive")
        assert bench.status.gates[0].reason == "NotReadable"
        assert bench.status.gpu_seconds is not None
        assert bench.spent.useful + bench.spent.overhead + bench.spent.idle == bench.status.gpu_seconds.used > 0

    async def test_a_run_without_gates_reads_no_ledger_for_them(self) -> None:
        bench = Bench()
        await bench.run_to_end()
        assert "list selected" not in bench.cluster.reads
        assert "list_results" not in bench.cluster.reads

    @pytest.mark.parametrize("moment", ["before", "after"])
    async def test_a_crash_at_any_write_changes_no_verdict(self, moment: str) -> None:
        calm = self.bench()
        await calm.run_to_end()
        for number in range(len(calm.cluster.calls)):
            bench = self.bench()
            bench.cluster.crash_at = (number, moment)
            await bench.run_to_end()
            assert bench.condition(ConditionType.GATES_PASSED) == ("True", "AllPassed"), number

    async def test_a_run_of_reused_results_alone_is_judged_as_it_is_accepted(self) -> None:
        first = self.bench()
        first.children.node_table = {"node-1": LABELLED_NODE}
        await first.run_to_end()
        again = self.bench(reuse={"policy": "IfIdentical"})
        again.cluster.results |= first.cluster.results
        again.cluster.run = replace(again.cluster.run, name="again", uid="another-uid")
        again.children.node_table = {"node-1": LABELLED_NODE}
        again.cluster.time = first.cluster.time
        await again.reconcile()
        assert is_terminal(again.status), again.status.reuse_message
        assert {row.source for row in again.status.rows} == {"Reused"}
        assert again.condition(ConditionType.GATES_PASSED) == ("True", "AllPassed")
        assert not again.cluster.jobs_created
