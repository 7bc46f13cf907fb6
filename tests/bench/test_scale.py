"""20 runs x 10 cells: how much dearer the operator is than bare creation, and what it asks of the API server.

Prints and writes figures. Asserts that everything ended rightly, never how long it took.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import report
from bench.cluster import ClusterSetting, started_cluster
from bench.figures import Round, call_figures, creation_figures, process_figures, restart_figures
from bench.rounds import measure_operator, measure_raw, measure_restarts
from bench.scenario import Bench
from bench.workload import SEEDS, TEN_CELLS, Workload

RUNS = 20
ROUNDS = int(os.environ.get("VIDBENCH_BENCH_ROUNDS", "3"))
END_SECONDS = 15.0
SETTING = ClusterSetting(nodes=30)
"""240 GPUs: room for every Job of 20 runs x 10 cells at once."""


@pytest.mark.bench
@pytest.mark.timeout(3600)
async def test_scale_of_20_runs_with_10_cells_each(tmp_path: Path) -> None:
    load_average = os.getloadavg()[0]
    rounds: list[Round] = []
    async with started_cluster(tmp_path, SETTING) as cluster:
        bench = Bench.on(cluster)
        await measure_raw(bench, Workload("warm-up", RUNS))
        for number in range(ROUNDS):
            raw_seconds = await measure_raw(bench, Workload(f"raw-{number}", RUNS))
            workload = Workload(f"operator-{number}", RUNS)
            rounds.append(await measure_operator(bench, workload, raw_seconds, END_SECONDS))
        while_running, after_end = await measure_restarts(bench, Workload("restarts", RUNS), END_SECONDS)
    shards = RUNS * TEN_CELLS.cells
    calls = [call for entry in rounds for call in entry.calls]
    report.publish(
        {
            "benchmark": "scale",
            **report.provenance(load_average),
            "setting": {
                **SETTING.report(),
                "runs": RUNS,
                "cellsPerRun": TEN_CELLS.cells,
                "shards": shards,
                "samplesPerShard": SEEDS,
                "rounds": ROUNDS,
                "endSeconds": END_SECONDS,
            },
            "creation": creation_figures(rounds),
            "calls": call_figures(calls, sum(entry.passes for entry in rounds), shards * len(rounds)),
            "operator": process_figures(rounds, shards),
            "restartWhileRunning": restart_figures(while_running),
            "restartAfterEnd": restart_figures(after_end),
        }
    )
