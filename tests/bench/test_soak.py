"""At least twenty minutes of churn: runs come, end and go, and the operator must stay as it is.

Prints and writes figures. Asserts that nothing was lost or left, never how much memory it took.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import report
from bench.cluster import ClusterSetting, started_cluster
from bench.scenario import Bench
from bench.soak import BLOCK_SECONDS, DROPPED_SHARE, SAMPLE_SECONDS, Soak, soak_figures
from bench.workload import SEEDS, Shape, Workload

MINUTES = float(os.environ.get("VIDBENCH_SOAK_MINUTES", "20"))
RUNS_A_SECOND = float(os.environ.get("VIDBENCH_SOAK_RUNS_PER_SECOND", "1"))
SHAPE = Shape(models=2, variants=2)
TTL = {"jobsSeconds": 5, "failedJobsSeconds": 5, "runSeconds": 15}
SETTING = ClusterSetting(nodes=20, client_qps=200)


@pytest.mark.bench
@pytest.mark.timeout(60 * (MINUTES + 30))
async def test_soak(tmp_path: Path) -> None:
    load_average = os.getloadavg()[0]
    async with started_cluster(tmp_path, SETTING) as cluster:
        bench = Bench.on(cluster)
        await bench.start_operator()
        soak = Soak(bench, Workload("soak", runs=0, shape=SHAPE, ttl=TTL), RUNS_A_SECOND)
        churn = await soak.run(60 * MINUTES)
        await bench.operator.stop()
    report.publish(
        {
            "benchmark": "soak",
            **report.provenance(load_average),
            "setting": {
                **SETTING.report(),
                "minutes": MINUTES,
                "runsPerSecond": RUNS_A_SECOND,
                "cellsPerRun": SHAPE.cells,
                "samplesPerShard": SEEDS,
                "jobsTtlSeconds": TTL["jobsSeconds"],
                "runTtlSeconds": TTL["runSeconds"],
                "sampleSeconds": SAMPLE_SECONDS,
                "blockSeconds": BLOCK_SECONDS,
                "droppedShare": DROPPED_SHARE,
            },
            **soak_figures(churn),
        }
    )
    assert churn.runs_left == 0
    assert churn.lost == 0
    assert churn.shards_ended == churn.runs * SHAPE.cells
