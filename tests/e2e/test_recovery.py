"""Operator, pods and node are taken away in the middle of runs: one accepted result a shard, no Job twice, nothing lost
without a stated reason."""

from __future__ import annotations

from e2e.operator_pods import operator_replicas, restarts
from support.e2e_cluster import E2ECluster, Manifest, RunView
from support.e2e_node import NodeAccess
from support.e2e_runs import folder_model, real_run, scripted_run

from vidbench_api.identity import attempt_name, result_name
from vidbench_api.message import MessageError, decode
from vidbench_api.names import RUNNER_CONTAINER, Outcome, RowPhase, RunPhase


def test_operator_killed_twice_loses_and_repeats_nothing(
    cluster: E2ECluster, node: NodeAccess, namespace: str, scripted_class: str
) -> None:
    cluster.apply(*scripted_run(namespace, "many", scripted_class, cells=20, seconds=1, parallelism=4))
    _kill_operator_after(cluster, node, namespace, results=3)
    _kill_operator_after(cluster, node, namespace, results=10)
    view = cluster.wait_until_ended(namespace, "many", 180)
    assert view.status.phase is RunPhase.SUCCEEDED
    assert [row.shards[0].attempt for row in view.status.rows] == [1] * 20
    assert {result.outcome for result in view.results.values()} == {Outcome.SUCCEEDED}
    _assert_made_once(node, namespace, "many", view)
    # The kubelet counts a restart a moment after the container has begun to work.
    cluster.wait_for("two restarts to be counted", lambda: restarts(cluster) >= 2, 60, namespace)


def test_pods_that_end_while_the_operator_is_away_count_once(
    cluster: E2ECluster, node: NodeAccess, namespace: str, scripted_class: str
) -> None:
    cluster.apply(*scripted_run(namespace, "orphaned", scripted_class, cells=4, seconds=20, parallelism=4))
    cluster.wait_for("four Jobs", lambda: len(cluster.objects("Job", namespace)) == 4, 60, namespace)
    with operator_replicas(cluster, namespace, 0):

        def all_jobs_ended() -> bool:
            jobs = cluster.objects("Job", namespace)
            return len(jobs) == 4 and all(job["status"].get("succeeded") for job in jobs)

        cluster.wait_for("the Jobs to end without the operator", all_jobs_ended, 120, namespace)
        assert not cluster.run(namespace, "orphaned").results, "nobody was there to write a result"
    view = cluster.wait_until_ended(namespace, "orphaned", 60)
    assert view.status.phase is RunPhase.SUCCEEDED
    _assert_made_once(node, namespace, "orphaned", view)


def test_pod_deleted_by_hand_is_tried_again(cluster: E2ECluster, node: NodeAccess, namespace: str) -> None:
    cluster.apply(
        folder_model(namespace, "tiny-wan", "/models/tiny-wan"),
        real_run(
            namespace, "bereft", "cpu", models=[{"name": "tiny-wan"}], variants=[{"name": "one", "steps": 40}],
            workload={"prompts": [{"id": "cat", "text": "A cat walks over wet grass."}], "seeds": {"count": 5}},
        ),
    )  # fmt: skip

    def sampling() -> Manifest | None:
        for pod in cluster.live_pods(namespace):
            try:
                if decode(node.termination_message(pod, RUNNER_CONTAINER)).samples_done:
                    return pod
            except MessageError:
                continue
        return None

    pod = cluster.wait_for("a pod with a sample", sampling, 180, namespace)
    cluster.kubectl("delete", "pod", pod["metadata"]["name"], "-n", namespace, "--wait=false")
    view = cluster.wait_until_ended(namespace, "bereft", 240)
    (row,) = view.status.rows
    (result,) = view.results.values()
    assert (result.outcome, result.attempts) == (Outcome.SUCCEEDED, 2)
    assert result.origin.pod_uid != pod["metadata"]["uid"]
    assert (row.shards[0].disruptions, row.shards[0].retries) == (1, 0)
    events = cluster.kubectl("get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}")
    assert "PodDeleted" in events
    _assert_made_once(node, namespace, "bereft", view)


def test_node_object_deleted_in_mid_run_costs_attempts_and_no_results(
    cluster: E2ECluster, node: NodeAccess, namespace: str, scripted_class: str
) -> None:
    cluster.apply(*scripted_run(namespace, "uprooted", scripted_class, cells=6, seconds=4, parallelism=2))

    def half_way() -> list[Manifest]:
        pods = cluster.live_pods(namespace)
        return pods if len(pods) == 2 and len(cluster.run(namespace, "uprooted").results) >= 2 else []

    lost = {pod["metadata"]["uid"] for pod in cluster.wait_for("results and two running pods", half_way, 60, namespace)}
    before = cluster.run(namespace, "uprooted").results
    node.stop_kubelet()
    try:
        cluster.kubectl("delete", "node", "--all", "--wait=false")

        def collected() -> bool:
            return not lost & {pod["metadata"]["uid"] for pod in cluster.objects("Pod", namespace)}

        # With the node's object gone, the pod garbage collector takes its pods away: the operator's own as well.
        cluster.wait_for("the pods on the lost node to be collected", collected, 150, namespace)
    finally:
        node.start_kubelet()
    view = cluster.wait_until_ended(namespace, "uprooted", 200)
    assert view.status.phase is RunPhase.SUCCEEDED
    assert {name: view.results[name].origin.pod_uid for name in before} == {
        name: result.origin.pod_uid for name, result in before.items()
    }
    repeated = [row for row in view.status.rows if row.shards[0].attempt > 1]
    assert repeated, "pods were lost with the node"
    assert all(row.shards[0].retries + row.shards[0].disruptions == row.shards[0].attempt - 1 for row in repeated)
    _assert_made_once(node, namespace, "uprooted", view)


def _assert_made_once(node: NodeAccess, namespace: str, run: str, view: RunView) -> None:
    """Each attempt had one Job and each shard one result, by what the API server accepted."""
    assert all(row.phase is RowPhase.FINISHED for row in view.status.rows)
    attempts = {
        attempt_name(run, row.id, 1, attempt)
        for row in view.status.rows
        for attempt in range(1, row.shards[0].attempt + 1)
    }
    jobs = node.created("jobs", namespace)
    assert set(jobs) == attempts
    assert set(jobs.values()) == {1}
    results = node.created("benchmarkresults", namespace)
    assert set(results) == {result_name(run, row.id, 1) for row in view.status.rows}
    assert set(results.values()) == {1}


def _kill_operator_after(cluster: E2ECluster, node: NodeAccess, namespace: str, *, results: int) -> None:
    """SIGKILL the operator as soon as it is ready and that many results are there."""

    def ready() -> Manifest | None:
        return cluster.operator_pod() if len(cluster.objects("BenchmarkResult", namespace)) >= results else None

    pod = cluster.wait_for(f"{results} results and a ready operator", ready, 120, namespace)
    assert node.kill(pod), "the operator's process"
