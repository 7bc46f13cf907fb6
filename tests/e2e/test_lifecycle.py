"""Suspend, resume, cancel and reuse as a user does them, by kubectl, on a real kubelet."""

from __future__ import annotations

import time
from typing import Any

from bench.suite_figures import Figures
from support.e2e_cluster import E2ECluster
from support.e2e_runs import scripted_run

from vidbench_api.names import Outcome, RunPhase


def patch(cluster: E2ECluster, namespace: str, name: str, spec: str) -> None:
    cluster.kubectl("patch", "br", name, "-n", namespace, "--type=merge", "-p", f'{{"spec":{spec}}}')


def test_a_suspended_run_holds_no_pod_and_a_resumed_one_finishes(
    cluster: E2ECluster, namespace: str, scripted_class: str
) -> None:
    cluster.apply(*scripted_run(namespace, "held", scripted_class, cells=3, seconds=15, parallelism=2))
    cluster.wait_for("two running pods", lambda: len(cluster.live_pods(namespace)) == 2, 90, namespace)
    patch(cluster, namespace, "held", '{"suspend":true}')
    cluster.kubectl("wait", "br/held", "-n", namespace, "--for=condition=Suspended", "--timeout=30s")
    cluster.wait_for("its pods to go", lambda: not cluster.live_pods(namespace), 60, namespace)
    assert cluster.run(namespace, "held").status.phase is RunPhase.SUSPENDED
    time.sleep(3)
    assert not cluster.live_pods(namespace)
    patch(cluster, namespace, "held", '{"suspend":false}')
    view = cluster.wait_until_ended(namespace, "held", 120)
    assert view.status.phase is RunPhase.SUCCEEDED
    assert {shard.retries + shard.disruptions for row in view.status.rows for shard in row.shards} == {0}
    assert view.status.paused_seconds >= 3


def test_cancel_keeps_what_is_measured(cluster: E2ECluster, namespace: str, scripted_class: str) -> None:
    cluster.apply(*scripted_run(namespace, "dropped", scripted_class, cells=4, seconds=5, parallelism=1))
    cluster.wait_for("a result", lambda: cluster.run(namespace, "dropped").results, 90, namespace)
    patch(cluster, namespace, "dropped", '{"cancel":"Immediate"}')
    view = cluster.wait_until_ended(namespace, "dropped", 60)
    assert view.status.phase is RunPhase.CANCELLED
    outcomes = [row.outcome for row in view.status.rows]
    assert outcomes.count(Outcome.SUCCEEDED) >= 1
    assert outcomes.count(Outcome.CANCELLED) >= 2
    cluster.wait_for("its pods to go", lambda: not cluster.live_pods(namespace), 60, namespace)


def test_an_identical_run_shows_the_results_of_the_first_in_seconds(
    cluster: E2ECluster, namespace: str, scripted_class: str, figures: Figures
) -> None:
    cluster.apply(*scripted_run(namespace, "first", scripted_class, cells=3, seconds=1))
    assert cluster.wait_until_ended(namespace, "first", 120).status.phase is RunPhase.SUCCEEDED
    seconds = time.monotonic()
    cluster.apply(*scripted_run(namespace, "again", scripted_class, cells=3, seconds=1, reuse=IF_IDENTICAL))
    view = cluster.wait_until_ended(namespace, "again", 30)
    figures.put("reuse", secondsFromApplyToEnd=round(time.monotonic() - seconds, 1))
    assert view.status.phase is RunPhase.SUCCEEDED
    assert {row.source for row in view.status.rows} == {"Reused"}
    assert view.status.reuse_message == "3 of 3 shards show results of earlier runs (first)"
    assert {str(row.shards[0].result).partition("-")[0] for row in view.status.rows} == {"first"}
    names = {job["metadata"]["name"] for job in cluster.objects("Job", namespace)}
    assert not [name for name in names if name.startswith("again-")]


IF_IDENTICAL: dict[str, Any] = {"policy": "IfIdentical"}
