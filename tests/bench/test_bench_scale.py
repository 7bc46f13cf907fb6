"""10,000 shards in 100 runs on 1,250 nodes of 8 GPUs: none lost, none twice, none stuck, and what that costs.

Prints and writes figures. Asserts that everything ended rightly, never how long it took.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import report
from bench.cluster import ClusterSetting, started_cluster
from bench.large import ENDS_A_SECOND, life_figures, measure_life, measure_raw
from bench.latency import latency_figures, measure_latencies
from bench.scenario import Bench
from bench.workload import HUNDRED_CELLS, ONE_CELL, SEEDS, Workload

RUNS = int(os.environ.get("VIDBENCH_BENCH_RUNS", "100"))
LATENCY_RUNS = int(os.environ.get("VIDBENCH_BENCH_LATENCY_RUNS", "200"))
SHARDS = RUNS * HUNDRED_CELLS.cells
GPUS_PER_NODE = 8
SETTING = ClusterSetting(nodes=-(-SHARDS // GPUS_PER_NODE), gpus_per_node=GPUS_PER_NODE, client_qps=1000, job_syncs=20)
"""A GPU for every shard, so that all of them are live at once."""


@pytest.mark.bench
@pytest.mark.timeout(3600)
async def test_ten_thousand_shards(tmp_path: Path) -> None:
    assert RUNS >= 2, "VIDBENCH_BENCH_RUNS: two halves need two runs at least"
    load_average = os.getloadavg()[0]
    async with started_cluster(tmp_path / "raw", SETTING) as cluster:
        raw_seconds = await measure_raw(Bench.on(cluster), Workload("raw", RUNS, HUNDRED_CELLS))
    async with started_cluster(tmp_path / "operator", SETTING) as cluster:
        bench = Bench.on(cluster)
        await bench.start_operator()
        small = Workload("latency", LATENCY_RUNS, ONE_CELL)
        await bench.prepare(small)
        latencies = await measure_latencies(bench, small)
        await bench.remove(small)
        life = await measure_life(bench, Workload("large", RUNS, HUNDRED_CELLS))
        await bench.operator.stop()
    report.publish(
        {
            "benchmark": "bench-scale",
            **report.provenance(load_average),
            "setting": {
                **SETTING.report(),
                "runs": RUNS,
                "cellsPerRun": HUNDRED_CELLS.cells,
                "shards": SHARDS,
                "samplesPerShard": SEEDS,
                "endsPerSecond": ENDS_A_SECOND,
            },
            **life_figures(life, raw_seconds, SHARDS),
            "latency": latency_figures(latencies),
        }
    )
    wrong = {key: life.continuity[key] for key in ("lost", "duplicate", "stuck", "unexplained")}
    assert not any(wrong.values()), f"shards that went astray: {wrong}"
    assert life.complaint is None, life.complaint
