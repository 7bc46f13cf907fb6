"""Nodes, quotas, namespaces and finished children are taken away on a real kubelet: what is measured stays, what is not is
measured again, and every run ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.suite_figures import Figures
from e2e.operator_pods import operator_replicas
from e2e.operator_pods import restarts as restarts_of
from support.e2e_cluster import E2ECluster, Manifest
from support.e2e_node import NodeAccess
from support.e2e_runs import scripted_run
from support.played_kubelet import PlayedKubelet
from support.quotas import PODS, allow, forbid

from vidbench_api.names import LABEL_RUN, LimitedBy, Outcome, RunPhase


def node_name(cluster: E2ECluster) -> str:
    return cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}").strip()


def one_running(cluster: E2ECluster, namespace: str) -> Manifest:
    return cluster.wait_for("a running pod", lambda: next(iter(cluster.live_pods(namespace)), None), 90, namespace)


def test_a_drained_and_cordoned_node_charges_nobody(cluster: E2ECluster, namespace: str, scripted_class: str) -> None:
    cluster.apply(*scripted_run(namespace, "drained", scripted_class, cells=2, seconds=20, parallelism=1))
    pod = one_running(cluster, namespace)
    name = node_name(cluster)
    try:
        # Of this node's pods the operator's stay: there is no other node for them.
        cluster.kubectl(
            "drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
            f"--pod-selector={LABEL_RUN}", "--timeout=90s",
        )  # fmt: skip
        cluster.wait_for(
            "the run to say that there is no capacity",
            lambda: cluster.run(namespace, "drained").status.parallelism.limited_by is LimitedBy.CAPACITY,
            60,
            namespace,
        )
    finally:
        cluster.kubectl("uncordon", name)
    view = cluster.wait_until_ended(namespace, "drained", 180)
    assert view.status.phase is RunPhase.SUCCEEDED
    evicted = [row.shards[0] for row in view.status.rows if row.shards[0].attempt > 1]
    assert [(shard.attempt, shard.retries, shard.unknown_failures) for shard in evicted] == [(2, 0, 0)]
    assert [failure.reason for failure in evicted[0].failures] == ["Evicted"]
    assert pod["metadata"]["uid"] not in {result.origin.pod_uid for result in view.results.values()}


def test_a_node_that_falls_silent_costs_an_attempt_and_its_late_verdict_is_refused(
    cluster: E2ECluster, node: NodeAccess, namespace: str, scripted_class: str, figures: Figures
) -> None:
    here = [{"name": "cpu", "gpus": 0, "nodeSelector": {"kubernetes.io/hostname": node_name(cluster)}}]

    def given_up() -> bool:
        [row] = cluster.run(namespace, "silent").status.rows
        return bool(row.shards[0].failures)

    # If no node is ready any more, Kubernetes takes it for its own trouble and evicts nothing. So there is a second one.
    with PlayedKubelet(cluster.api, namespace, lambda _pod: None):
        cluster.apply(*scripted_run(namespace, "silent", scripted_class, cells=1, seconds=25, hardware=here))
        pod = one_running(cluster, namespace)
        started = time.monotonic()
        node.stop_kubelet()
        try:
            cluster.wait_for("the attempt on the silent node to be given up", given_up, 280, namespace)
            figures.put("nodeLost", secondsFromKubeletStoppedToGivenUp=round(time.monotonic() - started))
        finally:
            node.start_kubelet()
    view = cluster.wait_until_ended(namespace, "silent", 180)
    [row] = view.status.rows
    assert [failure.reason for failure in row.shards[0].failures] == ["NodeLost"]
    assert (row.outcome, row.shards[0].attempt) == (Outcome.SUCCEEDED, 2)
    [result] = view.results.values()
    assert result.origin.pod_uid != pod["metadata"]["uid"], "the verdict of the pod that was given up"


def test_a_quota_of_zero_is_waited_for_and_then_used(cluster: E2ECluster, namespace: str, scripted_class: str) -> None:
    forbid(cluster.api, namespace, PODS)
    cluster.apply(*scripted_run(namespace, "limited", scripted_class, cells=2, seconds=1))

    def limited() -> bool:
        parallelism = cluster.run(namespace, "limited").status.parallelism
        return parallelism is not None and parallelism.limited_by is LimitedBy.QUOTA

    cluster.wait_for("the run to say that a quota holds it", limited, 90, namespace)
    allow(cluster.api, namespace, PODS, 5)
    view = cluster.wait_until_ended(namespace, "limited", 180)
    assert view.status.phase is RunPhase.SUCCEEDED


def test_a_namespace_deleted_in_mid_run_goes_and_disturbs_nobody(
    cluster: E2ECluster, make_namespace: Callable[[str], str], namespace: str, scripted_class: str
) -> None:
    doomed = make_namespace("doomed")
    cluster.apply(*scripted_run(doomed, "doomed", scripted_class, cells=4, seconds=20, parallelism=2))
    one_running(cluster, doomed)
    before = restarts_of(cluster)
    cluster.kubectl("delete", "namespace", doomed, "--wait=false")
    cluster.apply(*scripted_run(namespace, "neighbour", scripted_class, cells=2, seconds=1))
    view = cluster.wait_until_ended(namespace, "neighbour", 90)
    assert view.status.phase is RunPhase.SUCCEEDED
    cluster.wait_for("the namespace to be gone", lambda: cluster.find("Namespace", doomed) is None, 120, doomed)
    assert restarts_of(cluster) == before


def test_finished_children_that_are_removed_while_the_operator_is_away_are_measured_again(
    cluster: E2ECluster, namespace: str, scripted_class: str
) -> None:
    cluster.apply(*scripted_run(namespace, "swept", scripted_class, cells=2, seconds=30, parallelism=2))

    def both_are_known() -> bool:
        rows = cluster.run(namespace, "swept").status.rows
        return bool(rows) and all(row.shards[0].job_uid for row in rows)

    # Of an attempt whose Job was never seen, the same Job is made again: see `settle.py`.
    cluster.wait_for("two Jobs that the status names", both_are_known, 60, namespace)
    with operator_replicas(cluster, namespace, 0):
        cluster.wait_for(
            "the Jobs to end without the operator",
            lambda: all(job["status"].get("succeeded") for job in cluster.objects("Job", namespace)),
            90,
            namespace,
        )
        assert not cluster.run(namespace, "swept").results, "nobody was there to write a result"
        cluster.kubectl("delete", "jobs", "--all", "-n", namespace)
        cluster.wait_for("their pods to be gone", lambda: not cluster.objects("Pod", namespace), 60, namespace)
    view = cluster.wait_until_ended(namespace, "swept", 120)
    assert view.status.phase is RunPhase.SUCCEEDED
    assert [row.shards[0].attempt for row in view.status.rows] == [2, 2]
    assert {failure.reason for row in view.status.rows for failure in row.shards[0].failures} == {"JobDeleted"}
