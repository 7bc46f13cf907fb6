"""More shards than GPUs: pods wait for their turn, the run says so, and all of them get it."""

from __future__ import annotations

from collections.abc import Callable

from support.e2e_cluster import E2ECluster
from support.e2e_runs import SCRIPTED_IMAGE, scripted_run

from vidbench_api.names import LimitedBy, Outcome

GPUS_OF_THE_NODE = 2
SECONDS = 12


def test_two_gpus_serve_four_cells_two_at_a_time(
    cluster: E2ECluster, namespace: str, make_runner_class: Callable[..., str]
) -> None:
    gpu_class = make_runner_class(
        image=SCRIPTED_IMAGE,
        resources={"cpu": "50m", "memory": "128Mi", "sharedMemory": "16Mi", "scratch": "64Mi"},
        allowedResourceNames=["nvidia.com/gpu"],
    )
    hardware = [{"name": "pretended", "gpus": 1, "nodeSelector": {"nvidia.com/gpu.product": "Pretended-GPU"}}]
    # Each long enough for a second pod to start beside it, however slowly.
    run = scripted_run(namespace, "crowded", gpu_class, cells=4, seconds=SECONDS, hardware=hardware, parallelism=4)
    cluster.apply(*run)
    most_running = 0
    limits: set[LimitedBy] = set()

    def ended() -> bool:
        nonlocal most_running
        most_running = max(most_running, len(cluster.live_pods(namespace)))
        view = cluster.run(namespace, "crowded")
        if view.status.parallelism is not None:
            limits.add(view.status.parallelism.limited_by)
        return view.ended

    cluster.wait_for("the end of the crowded run", ended, 180, namespace)
    view = cluster.run(namespace, "crowded")
    assert most_running == GPUS_OF_THE_NODE
    assert LimitedBy.CAPACITY in limits
    assert [result.outcome for result in view.results.values()] == [Outcome.SUCCEEDED] * 4
    assert all(result.attempts == 1 for result in view.results.values())
    assert view.status.gpu_seconds is not None
    assert view.status.gpu_seconds.used == sum(result.origin.gpu_seconds for result in view.results.values())
    assert view.status.gpu_seconds.used >= 4 * SECONDS
