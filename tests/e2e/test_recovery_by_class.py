"""Each class of failure on a real kubelet: what is tried again, on whose account, and what is found beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from bench.suite_figures import Figures
from support.e2e_cluster import E2ECluster, Manifest
from support.e2e_node import NodeAccess
from support.e2e_runs import LIMITS, scripted_models, scripted_run

from localcluster.layout import BUSYBOX_IMAGE
from vidbench_api.identity import harvest_name
from vidbench_api.names import LABEL_HARVEST, LABEL_RUNG, Outcome, Reason, RunPhase, Validity
from vidbench_api.run_status import AttemptFailure

PATIENCE_SECONDS = 20
"""Long enough for a busy kubelet or scheduler to say what is wrong."""

SHORTEST_BACK_OFF_SECONDS = 5
"""Half of the first wait of those that have to wait."""


def test_a_pod_deleted_by_hand_is_replaced_at_once_and_charged_to_nobody(
    cluster: E2ECluster, namespace: str, scripted_class: str, figures: Figures
) -> None:
    cluster.apply(*scripted_run(namespace, "replaced", scripted_class, seconds=20))

    def running() -> Manifest | None:
        pods = cluster.live_pods(namespace)
        return next((pod for pod in pods if pod["status"].get("phase") == "Running"), None)

    pod = cluster.wait_for("a running pod", running, 90, namespace)
    # The watch has the deleted pod's last state, with the moment at which its container ended.
    watch = threading.Thread(target=cluster.kubectl, args=("delete", "pod", pod["metadata"]["name"], "-n", namespace))
    watch.start()
    seen: list[Manifest] = []

    def replacement() -> Manifest | None:
        pods = {entry["metadata"]["uid"]: entry for entry in cluster.objects("Pod", namespace)}
        old = pods.pop(pod["metadata"]["uid"], None)
        seen.extend([old] if old is not None and ended_at(old) is not None else [])
        return next(iter(pods.values()), None)

    new = cluster.wait_for("another pod", replacement, 60, namespace)
    watch.join()
    created = moment(new["metadata"]["creationTimestamp"])
    event = cluster.wait_for(
        "the failure in the status", lambda: failures_of(cluster, namespace, "replaced"), 30, namespace
    )
    ended = max((at for old in seen if (at := ended_at(old)) is not None), default=moment(event[0].ended_at))
    figures.put("replacement", wholeSecondsFromEndToCreation=round(created - ended))
    assert created - ended < SHORTEST_BACK_OFF_SECONDS
    view = cluster.wait_until_ended(namespace, "replaced", 120)
    [row] = view.status.rows
    [shard] = row.shards
    assert (shard.outcome, shard.attempt, shard.disruptions, shard.retries) == (Outcome.SUCCEEDED, 2, 1, 0)
    assert [failure.reason for failure in shard.failures] == [Reason.POD_DELETED]


def failures_of(cluster: E2ECluster, namespace: str, run: str) -> tuple[AttemptFailure, ...]:
    [row] = cluster.run(namespace, run).status.rows
    return row.shards[0].failures


def ended_at(pod: Manifest) -> float | None:
    for entry in pod["status"].get("containerStatuses", ()):
        finished = entry.get("state", {}).get("terminated", {}).get("finishedAt")
        if finished:
            return moment(finished)
    return None


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_runner_that_hangs_is_killed_and_tried_again_as_infrastructure(
    cluster: E2ECluster, namespace: str, scripted_class: str
) -> None:
    cluster.apply(
        *scripted_models(namespace, "hang"),
        *scripted_run(
            namespace, "hung", scripted_class, models=[{"name": "hang"}],
            timeouts={**LIMITS, "noProgressSeconds": 3}, failurePolicy={"infrastructureRetries": 1},
        ),
    )  # fmt: skip
    view = cluster.wait_until_ended(namespace, "hung", 120)
    [row] = view.status.rows
    [shard] = row.shards
    assert (shard.outcome, shard.reason, shard.attempt, shard.retries) == (Outcome.FAILED, Reason.HUNG, 2, 1)
    assert [failure.reason for failure in shard.failures] == [Reason.HUNG, Reason.HUNG]
    assert all(failure.node for failure in shard.failures)
    messages = cluster.kubectl("get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}")
    for word in ("attempt 1 (Job hung-", "pod hung-", "node ", "container runner", "exit code 89", "Hung"):
        assert word in messages


def test_an_image_that_does_not_exist_ends_the_shard_at_its_limit(
    cluster: E2ECluster, namespace: str, make_runner_class: Callable[..., str]
) -> None:
    nowhere = make_runner_class(image="localhost/vidbench-no-such-image:e2e", imagePullPolicy="IfNotPresent")
    cluster.apply(
        *scripted_run(namespace, "pulling", nowhere, timeouts={**LIMITS, "imagePullSeconds": PATIENCE_SECONDS})
    )
    view = cluster.wait_until_ended(namespace, "pulling", 120)
    [row] = view.status.rows
    assert (row.outcome, row.reason, row.shards[0].attempt) == (Outcome.FAILED, Reason.IMAGE_PULL, 1)
    assert "vidbench-no-such-image" in (view.results["steady/cpu/v01"].message or "")


def test_a_claim_that_does_not_exist_ends_the_shard_as_unschedulable_and_names_it(
    cluster: E2ECluster, namespace: str, make_runner_class: Callable[..., str]
) -> None:
    """The scheduler looks for claims; what it cannot see (a Secret, a folder) shows as ContainerConfigError."""
    lacking = make_runner_class(claims=[{"claimName": "no-such-claim", "mountPath": "/weights"}])
    cluster.apply(
        *scripted_run(namespace, "claimless", lacking, timeouts={**LIMITS, "schedulingSeconds": PATIENCE_SECONDS})
    )
    view = cluster.wait_until_ended(namespace, "claimless", 120)
    [row] = view.status.rows
    assert (row.outcome, row.reason, row.shards[0].attempt) == (Outcome.FAILED, Reason.UNSCHEDULABLE, 1)
    assert "no-such-claim" in (view.results["steady/cpu/v01"].message or "")


def test_a_container_that_the_kubelet_will_not_make_ends_the_shard_as_a_config_error(
    cluster: E2ECluster, node: NodeAccess, namespace: str, make_runner_class: Callable[..., str]
) -> None:
    """An image that runs as root, where no runner may."""
    root = make_runner_class(image=BUSYBOX_IMAGE, imagePullPolicy="IfNotPresent")
    cluster.apply(*scripted_run(namespace, "rooted", root, timeouts={**LIMITS, "imagePullSeconds": PATIENCE_SECONDS}))
    view = cluster.wait_until_ended(namespace, "rooted", 120)
    [row] = view.status.rows
    assert (row.outcome, row.reason, row.shards[0].attempt) == (Outcome.FAILED, Reason.CONTAINER_CONFIG, 1)
    assert "CreateContainerConfigError" in (view.results["steady/cpu/v01"].message or "")


def test_what_an_attempt_stored_is_harvested_where_its_message_was_lost(
    cluster: E2ECluster, node: NodeAccess, namespace: str, scripted_class: str, claim: str
) -> None:
    cluster.apply(
        *scripted_models(namespace, "lose-verdict", "silent"),
        *scripted_run(
            namespace, "stored", scripted_class, models=[{"name": "lose-verdict"}, {"name": "silent"}],
            artifacts={"storageUri": f"claim://{claim}/e2e"}, failurePolicy={"infrastructureRetries": 0},
        ),
    )  # fmt: skip
    view = cluster.wait_until_ended(namespace, "stored", 180)
    result = view.results["lose-verdict/cpu/v01"]
    assert (result.outcome, result.validity.state, result.attempts) == (Outcome.SUCCEEDED, Validity.VALID, 1)
    assert result.samples_done == 4
    assert (result.origin.job_name or "").endswith("-1-1"), "it is the attempt's, not the harvest's"
    assert f"read from the artifacts by Job {harvest_name(result.origin.job_name or '')}" in (result.message or "")
    lost = view.results["silent/cpu/v01"]
    assert (lost.outcome, lost.reason, lost.attempts) == (Outcome.FAILED, Reason.RESULT_LOST, 1)

    def both_expire() -> bool:
        harvests = cluster.objects("Job", namespace, f"{LABEL_HARVEST}=true")
        return len(harvests) == 2 and all("ttlSecondsAfterFinished" in job["spec"] for job in harvests)

    cluster.wait_for("both harvests to be given a time to live", both_expire, 30, namespace)
    assert set(node.created("benchmarkresults", namespace).values()) == {1}


def test_a_cell_that_runs_out_in_the_decoder_is_measured_with_tiling_beside_it(
    cluster: E2ECluster, namespace: str, scripted_class: str
) -> None:
    cluster.apply(
        *scripted_models(namespace, "oom-decode"),
        *scripted_run(
            namespace, "fallback", scripted_class, models=[{"name": "oom-decode"}],
            failurePolicy={"outOfMemory": "Fallback"},
        ),
    )  # fmt: skip
    view = cluster.wait_until_ended(namespace, "fallback", 120)
    assert view.status.phase is RunPhase.SUCCEEDED
    asked, rung = view.status.rows
    assert (asked.rung, asked.outcome, asked.reason) == (None, Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY_CUDA)
    assert (rung.rung, rung.outcome, rung.validity) == ("VaeTiling", Outcome.SUCCEEDED, Validity.VALID)
    assert (rung.model, rung.hardware, rung.variant) == (asked.model, asked.hardware, asked.variant)
    assert view.status.progress == "1/1"
    found = cluster.objects("BenchmarkResult", namespace, f"{LABEL_RUNG}=VaeTiling")
    assert [entry["spec"]["cell"]["id"] for entry in found] == [rung.id]
    assert [entry["spec"]["rung"] for entry in found] == ["VaeTiling"]
