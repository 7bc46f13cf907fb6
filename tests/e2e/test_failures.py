"""One cell goes wrong: it ends with its own reason, with the evidence there was, and the others are not touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pytest
from support.e2e_cluster import E2ECluster, Manifest, RunView
from support.e2e_node import NodeAccess
from support.e2e_runs import CPU, LIMITS, folder_model, real_run, scripted_models, scripted_run
from support.shared_cores import is_valid_but_for_the_machine

from vidbench_api.measured import SeriesName
from vidbench_api.message import MessageError, decode
from vidbench_api.names import RUNNER_CONTAINER, Outcome, Reason, Validity
from vidbench_api.verdict import Stage

SCHEDULING_SECONDS = 15
SLACK_SECONDS = 15
"""What the controllers of a busy machine may take on top: far less than a look at everything, each 300 s."""


@dataclass(frozen=True)
class MixedRun:
    """An ended run in which each cell but `steady/cpu/quick` went wrong in its own way."""

    namespace: str
    view: RunView


@pytest.fixture(scope="module")
def mixed(cluster: E2ECluster, make_namespace: Callable[[str], str], scripted_class: str) -> MixedRun:
    namespace = make_namespace("failures")
    manifests = scripted_run(
        namespace,
        "mixed",
        scripted_class,
        models=[{"name": name} for name in ("steady", "silent", "garbage")],
        hardware=[CPU, {"name": "nowhere", "gpus": 0, "nodeSelector": {"vidbench.io/e2e": "no-such-node"}}],
        variants=[{"name": "quick", "arguments": {"sample_seconds": "0.2"}}],
        matrix={"exclude": [{"model": name, "hardware": "nowhere"} for name in ("silent", "garbage")]},
        timeouts={**LIMITS, "schedulingSeconds": SCHEDULING_SECONDS},
    )
    cluster.apply(*scripted_models(namespace, "silent", "garbage"), *manifests)
    return MixedRun(namespace, cluster.wait_until_ended(namespace, "mixed", 120))


@pytest.mark.parametrize(
    ("cell", "reason", "attempts"),
    [
        pytest.param("silent/cpu/quick", Reason.RESULT_LOST, 2, id="a-runner-that-says-nothing-is-asked-twice"),
        pytest.param("garbage/cpu/quick", Reason.RESULT_GARBAGE, 2, id="ten-kib-of-garbage-are-no-result-twice"),
        pytest.param("steady/nowhere/quick", Reason.UNSCHEDULABLE, 1, id="a-selector-that-no-node-satisfies"),
    ],
)
def test_failed_cell_ends_as_its_own_reason(mixed: MixedRun, cell: str, reason: Reason, attempts: int) -> None:
    row, result = mixed.view.row(cell), mixed.view.results[cell]
    assert (row.outcome, row.reason) == (Outcome.FAILED, reason)
    assert (result.outcome, result.reason, result.attempts) == (Outcome.FAILED, reason, attempts)
    assert result.validity.state is Validity.INVALID
    assert row.message


def test_cell_beside_failed_ones_is_measured(mixed: MixedRun) -> None:
    result = mixed.view.results["steady/cpu/quick"]
    assert (result.outcome, result.validity.state, result.attempts) == (Outcome.SUCCEEDED, Validity.VALID, 1)
    assert mixed.view.condition("Complete") == "True"


def test_unschedulable_cell_says_so_within_its_limit(mixed: MixedRun) -> None:
    row = mixed.view.row("steady/nowhere/quick")
    started, ended = row.shards[0].started_at, row.shards[0].ended_at
    assert started is not None
    assert ended is not None
    assert _seconds(ended) - _seconds(started) <= SCHEDULING_SECONDS + SLACK_SECONDS
    assert "node affinity/selector" in (row.message or "")


def test_garbage_is_named_by_its_size_and_not_repeated(mixed: MixedRun) -> None:
    row = mixed.view.row("garbage/cpu/quick")
    assert "no verdict" in (row.message or "")
    assert "no verdict at all" not in (row.message or "")


def test_memory_limit_that_is_hit_is_out_of_memory_of_that_cell(
    cluster: E2ECluster, namespace: str, make_runner_class: Callable[..., str]
) -> None:
    tight = make_runner_class(resources={"memory": "1100Mi"})
    cluster.apply(
        folder_model(namespace, "tiny-wan", "/models/tiny-wan"),
        folder_model(namespace, "mid-wan", "/models/mid-wan"),
        real_run(
            namespace, "tight", tight, models=[{"name": "tiny-wan"}, {"name": "mid-wan"}], variants=[{"name": "one"}]
        ),
    )
    view = cluster.wait_until_ended(namespace, "tight", 240)
    big, small = view.results["mid-wan/cpu/one"], view.results["tiny-wan/cpu/one"]
    assert (big.outcome, big.reason) == (Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY_HOST)
    assert big.attempts == 1
    assert big.stage in {Stage.LOADING, Stage.WARMING_UP}, "where the limit was hit: by this a fallback goes"
    assert big.memory is not None
    assert big.memory.host is not None
    assert big.memory.host > 500 * 1024 * 1024, "what the killed worker had"
    assert small.outcome is Outcome.SUCCEEDED, small.message
    assert is_valid_but_for_the_machine(small.validity), small.validity
    assert view.status.cells is not None
    assert (view.status.cells.out_of_memory, view.status.cells.failed) == (1, 0)


def test_all_processes_killed_after_the_third_sample_leave_three_samples_of_evidence(
    cluster: E2ECluster, node: NodeAccess, namespace: str
) -> None:
    victim = {"name": "victim", "steps": 80}
    bystander = {"name": "bystander", "steps": 1}
    cluster.apply(
        folder_model(namespace, "tiny-wan", "/models/tiny-wan"),
        real_run(
            namespace, "killed", "cpu", models=[{"name": "tiny-wan"}], variants=[victim, bystander],
            # Far more than are waited for: it must not end before it is killed.
            workload={"prompts": [{"id": "cat", "text": "A cat walks over wet grass."}], "seeds": {"count": 12}},
        ),
    )  # fmt: skip
    for attempt in (1, 2):
        # A kill of no known cause is tried once more, so it takes two to be the shard's end.
        pod = _pod_after_samples(cluster, node, namespace, attempt, samples=3)
        assert len(node.kill(pod)) >= 2, "supervisor and worker"
    # A sample may have ended between the look and the kill: it is in the victim's last words, then.
    done = decode(node.termination_message(pod, RUNNER_CONTAINER)).samples_done
    assert done >= 3
    view = cluster.wait_until_ended(namespace, "killed", 240)
    killed = view.results["tiny-wan/cpu/victim"]
    assert (killed.outcome, killed.reason, killed.attempts) == (Outcome.FAILED, Reason.KILLED, 2)
    assert killed.validity.state is Validity.PARTIAL
    assert killed.samples_done == done
    for name in (SeriesName.LATENCY, SeriesName.DENOISE, SeriesName.VAE_DECODE, SeriesName.DENOISER_CALLS):
        series = killed.find_series(name)
        assert series is not None, name
        assert (series.statistics.count, len(series.values)) == (done, done), name
    assert killed.memory is not None
    assert killed.environment is not None
    assert view.results["tiny-wan/cpu/bystander"].outcome is Outcome.SUCCEEDED


def _pod_after_samples(
    cluster: E2ECluster, node: NodeAccess, namespace: str, attempt: int, *, samples: int
) -> Manifest:
    """Return the victim's pod of that attempt as soon as its own words say that so many samples are done."""
    selector = f"vidbench.io/variant=victim,vidbench.io/attempt={attempt}"

    def started() -> Manifest | None:
        pods = cluster.objects("Pod", namespace, selector)
        return pods[0] if pods and pods[0]["status"].get("containerStatuses", [{}])[0].get("started") else None

    pod = cluster.wait_for(f"the pod of attempt {attempt} to start", started, 180, namespace)

    def done() -> bool:
        try:
            verdict = decode(node.termination_message(pod, RUNNER_CONTAINER))
        except MessageError:
            return False
        assert not verdict.final, "it ended before it could be killed"
        return verdict.samples_done >= samples

    cluster.wait_for(f"{samples} samples of attempt {attempt}", done, 120, namespace)
    return pod


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
