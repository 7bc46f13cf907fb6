"""Checks that every run ended, with exactly one result a shard, each of them what its pod's verdict said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.async_api import AsyncApi
from bench.audit import Call
from bench.workload import Manifest, Workload
from vidbench_api.names import Outcome
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.verdict import Verdict


async def check_ledger(
    api: AsyncApi, workload: Workload, verdicts: Mapping[str, Verdict], job_creations: Sequence[Call]
) -> None:
    """Assert it. `verdicts` are what was written, by pod UID; `job_creations` the operator's accepted POSTs of Jobs."""
    runs = await api.list_items(workload.path("benchmarkruns"))
    results = await api.list_items(workload.path("benchmarkresults"))
    check_runs(runs, workload.shape.cells)
    check_results(runs, results, verdicts)
    twice = [name for name, number in Counter(_job_name(call) for call in job_creations).items() if number > 1]
    assert not twice, f"Jobs that were created twice: {twice}"
    assert len(job_creations) == workload.shards, "attempts beside the first were made"


def ended(run: Manifest) -> bool:
    """Whether the run is Complete or Failed."""
    return any(condition_status(run, kind) == "True" for kind in ("Complete", "Failed"))


def condition_status(run: Manifest, kind: str) -> str | None:
    """Return the status of a condition; None if it is not there."""
    conditions = run.get("status", {}).get("conditions", [])
    return next((entry["status"] for entry in conditions if entry["type"] == kind), None)


def check_runs(runs: Sequence[Manifest], cells: int) -> None:
    """Assert that every run is Complete with all its cells succeeded."""
    bad = {
        run["metadata"]["name"]: run.get("status", {}).get("message")
        for run in runs
        if condition_status(run, "Complete") != "True"
        or run["status"]["cells"].get("succeeded") != cells
        or run["status"]["shards"] != {"total": cells, "finished": cells}
    }
    assert not bad, f"runs that are not Complete with all cells succeeded: {bad}"


def check_results(runs: Sequence[Manifest], results: Sequence[Manifest], verdicts: Mapping[str, Verdict]) -> None:
    """Assert one result a shard, with the figures of the verdict that its pod left."""
    specs = [BenchmarkResultSpec.model_validate(result["spec"]) for result in results]
    expected = {
        (run["metadata"]["uid"], row["id"], shard["index"])
        for run in runs
        for row in run["status"]["rows"]
        for shard in row["shards"]
    }
    found = Counter((spec.run.uid, spec.cell.id, spec.shard) for spec in specs)
    assert set(found) == expected, "results are missing, or of unknown shards"
    assert set(found.values()) == {1}, "shards with more than one result"
    for spec in specs:
        verdict = verdicts.get(spec.origin.pod_uid or "")
        assert verdict is not None, f"the result of {spec.cell.id} names a pod that left no verdict"
        assert (verdict.cell, verdict.shard, verdict.attempt) == (spec.cell.id, spec.shard, spec.origin.attempt)
        assert spec.outcome is Outcome.SUCCEEDED
        assert spec.unmeasured == verdict.unmeasured, "a simulated result must say that it is one"
        assert {entry.name: entry.statistics for entry in spec.series} == {
            entry.name: entry.statistics for entry in verdict.series
        }


def _job_name(call: Call) -> str:
    return f"{call.namespace}/{call.name}"
