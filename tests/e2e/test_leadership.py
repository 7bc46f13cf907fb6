"""Two operator pods on a real kubelet, under the chart's own account: the one that leads is taken away. Prints the seconds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from bench.suite_figures import Figures
from e2e.operator_pods import operator_pods, operator_replicas
from support.e2e_cluster import OPERATOR_NAMESPACE, E2ECluster
from support.e2e_node import NodeAccess
from support.e2e_runs import scripted_run

from vidbench_api.names import RunPhase

LEASE = "vidbench-operator"
HANDOVER_SECONDS = 10.0
"""Less than a Lease lasts that nobody lets go: 12 s, of which two may be over."""


@pytest.fixture
def two_replicas(cluster: E2ECluster, namespace: str) -> Iterator[None]:
    """Two ready operator pods."""
    with operator_replicas(cluster, namespace, 2):
        yield


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        pytest.param(("--force", "--grace-period=0"), 20.0, id="taken by force"),
        pytest.param(("--wait=false",), HANDOVER_SECONDS, id="asked to go"),
    ],
)
def test_other_replica_takes_over(
    cluster: E2ECluster,
    node: NodeAccess,
    namespace: str,
    scripted_class: str,
    two_replicas: None,
    words: tuple[str, ...],
    limit: float,
    figures: Figures,
) -> None:
    leader = cluster.wait_for("a leader among the pods", lambda: _leader(cluster), 30, namespace)
    cluster.apply(*scripted_run(namespace, "shared", scripted_class, cells=12, seconds=1, parallelism=2))
    cluster.wait_for("two results", lambda: len(cluster.objects("BenchmarkResult", namespace)) >= 2, 60, namespace)
    started = time.monotonic()
    cluster.kubectl("delete", "pod", leader, "-n", OPERATOR_NAMESPACE, *words)
    cluster.wait_for("another leader", lambda: (_leader(cluster) or leader) != leader, limit, namespace)
    figures.put("takeover", **{f"secondsAfterDelete {' '.join(words)}": round(time.monotonic() - started, 1)})
    view = cluster.wait_until_ended(namespace, "shared", 120)
    assert view.status.phase is RunPhase.SUCCEEDED
    assert [row.shards[0].attempt for row in view.status.rows] == [1] * 12
    for resource in ("jobs", "benchmarkresults"):
        assert Counter(node.created(resource, namespace).values()) == {1: 12}, resource


def _leader(cluster: E2ECluster) -> str | None:
    """The pod that holds the Lease, if it is there."""
    said = cluster.kubectl(
        "get", "lease", LEASE, "-n", OPERATOR_NAMESPACE, "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}"
    )
    return said if said in {pod["metadata"]["name"] for pod in operator_pods(cluster)} else None
