"""20 runs x 10 cells: how much dearer the operator is than bare creation, and what it asks of the API server.

Prints and writes figures. Asserts that everything ended rightly, never how long it took.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench import report
from bench.async_api import AsyncApi
from bench.audit import AuditLog
from bench.conftest import CONTROLLER_MANAGER_BURST, CONTROLLER_MANAGER_QPS, GPUS_PER_NODE, NODES, ScaleCluster
from bench.figures import Round, call_figures, creation_figures, process_figures, restart_figures
from bench.operator_process import OperatorProcess
from bench.scenario import Bench
from bench.workload import CELLS_PER_RUN, SEEDS
from localcluster import versions

DOCUMENTATION = report.ROOT / "docs" / "benchmarks.md"
RUNS = 20
ROUNDS = int(os.environ.get("VIDBENCH_BENCH_ROUNDS", "3"))
IN_FLIGHT = 32
END_SECONDS = 15.0


@pytest.mark.timeout(3600)
async def test_scale_of_20_runs_with_10_cells_each(scale_cluster: ScaleCluster, tmp_path: Path) -> None:
    load_average = os.getloadavg()[0]
    control_plane = scale_cluster.control_plane
    async with (
        AsyncApi(control_plane, "bench-creator", in_flight=IN_FLIGHT) as api,
        AsyncApi(control_plane, "bench-pod-ender", in_flight=IN_FLIGHT) as ender_api,
    ):
        bench = Bench(
            api=api,
            ender_api=ender_api,
            operator=OperatorProcess(tmp_path, scale_cluster.operator_kubeconfig),
            operator_user=scale_cluster.operator_user,
            audit=AuditLog(control_plane.audit_log),
            runs=RUNS,
            end_seconds=END_SECONDS,
        )
        await bench.measure_raw("warm-up")
        rounds: list[Round] = []
        for number in range(ROUNDS):
            raw_seconds = await bench.measure_raw(f"raw-{number}")
            rounds.append(await bench.measure_operator(f"operator-{number}", raw_seconds))
        while_running, after_end = await bench.measure_restarts("restarts")
    shards = RUNS * CELLS_PER_RUN
    figures = {
        "benchmark": "scale",
        **report.provenance(load_average),
        "setting": {
            "kubernetes": versions.KUBERNETES,
            "etcd": versions.ETCD,
            "kwok": versions.KWOK,
            "controllerManagerQps": CONTROLLER_MANAGER_QPS,
            "controllerManagerBurst": CONTROLLER_MANAGER_BURST,
            "nodes": NODES,
            "gpusPerNode": GPUS_PER_NODE,
            "runs": RUNS,
            "cellsPerRun": CELLS_PER_RUN,
            "shards": shards,
            "samplesPerShard": SEEDS,
            "rounds": ROUNDS,
            "inFlight": IN_FLIGHT,
            "endSeconds": END_SECONDS,
            "operatorUser": scale_cluster.operator_user,
        },
        "creation": creation_figures(rounds),
        "calls": call_figures(rounds, shards),
        "operator": process_figures(rounds, shards),
        "restartWhileRunning": restart_figures(while_running),
        "restartAfterEnd": restart_figures(after_end),
    }
    path = report.write("scale", figures)
    print(f"\n{report.render(figures)}\n\nwritten to {path}")
    assert json.loads(path.read_text()) == figures
    text = DOCUMENTATION.read_text()
    unknown = [key for key, _ in report.flatten(figures) if f"`{key}`" not in text]
    assert not unknown, f"{DOCUMENTATION} does not say what these keys mean: {unknown}"
