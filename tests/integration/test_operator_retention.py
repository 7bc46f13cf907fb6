"""A ledger with a limit, on a real API server: what goes, what stays, and what the audit line says."""

from __future__ import annotations

import time
from pathlib import Path

from integration.live_runs import (
    apply,
    create_class,
    has_ended,
    make_run,
    results_of,
    running_pods,
    shards_of,
    wait_until,
)
from integration.operator_process import OperatorProcess
from support.kube_api import KubeApi
from support.manifests import benchmark_result
from support.played_kubelet import PlayedKubelet, model_of, succeeds

from localcluster.controlplane import ControlPlane
from vidbench_api.names import LABEL_KEEP, LABEL_RUN_UID

GONE_RUN = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def test_ledger_is_held_to_its_limit(api: KubeApi, namespace: str, control_plane: ControlPlane, tmp_path: Path) -> None:
    for number in range(1, 5):
        result = benchmark_result(f"old-01234567-{number}", namespace, shard=number)
        labels = {LABEL_RUN_UID: GONE_RUN} | ({LABEL_KEEP: "true"} if number == 2 else {})
        result["metadata"]["labels"] = labels
        assert api.create(result).accepted
    create_class(api)
    run = make_run(namespace, models=4)
    # Three cells end, one runs on: the run has not ended, and all of its results stay, though the limit is two.
    with (
        PlayedKubelet(api, namespace, lambda pod: None if model_of(pod) == "m3" else succeeds(pod)),
        OperatorProcess(
            tmp_path, control_plane.admin_kubeconfig, namespace, ledger_max_per_namespace="2", resync_seconds="2"
        ) as operator,
    ):
        apply(api, run)
        wait_until(api, run, lambda body: running_pods(body) == 1 and len(_named(api, run)) == 3)
        assert _names(api, namespace, until=4) == ["old-01234567-2", *_named(api, run)]
        time.sleep(5)
        assert len(_named(api, run)) == 3

        answer = api.merge_patch(run, {"spec": {"cancel": "Immediate"}})
        assert answer.accepted, answer.message
        wait_until(api, run, has_ended)
        left = _names(api, namespace, until=2)
        assert left[0] == "old-01234567-2"
        assert len(left) == 2
    # An operator that has ended has said all.
    deleted = [line for line in operator.mutations if line["verb"] == "DELETE" and "benchmarkresults" in line["path"]]
    assert {entry["code"] for entry in deleted} == {200}
    assert all("more than the limit of 2" in entry["why"] for entry in deleted)
    assert len(deleted) == 3 + 3


def _named(api: KubeApi, run: dict[str, object]) -> list[str]:
    """The results that the run's status names and that are there."""
    stored = {result["metadata"]["name"] for result in results_of(api, run)}
    return sorted(shard["result"] for shard in shards_of(api.get(run).body) if shard.get("result") in stored)


def _names(api: KubeApi, namespace: str, until: int) -> list[str]:
    """The names of all results, once there are so many; the wait is for the sweep."""
    deadline = time.monotonic() + 30
    while True:
        path = f"/apis/vidbench.io/v1alpha1/namespaces/{namespace}/benchmarkresults"
        names = sorted(item["metadata"]["name"] for item in api.request("GET", path).body["items"])
        if len(names) == until:
            return names
        assert time.monotonic() < deadline, names
        time.sleep(0.2)
