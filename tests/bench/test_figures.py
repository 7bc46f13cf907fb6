"""From calls to figures per shard; and that a ledger which is not right is found out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bench.audit import Call
from bench.figures import Restart, Round, call_figures, creation_figures, restart_figures, spread_of
from bench.ledger import check_results
from bench.process_figures import ProcessFigures
from bench.simulated_verdict import SIMULATED, simulated_verdict
from bench.workload import TEN_CELLS, Manifest
from vidbench_api.measured import Measured
from vidbench_api.message import decode, encode
from vidbench_api.names import MESSAGE_LIMIT, Outcome, Validity
from vidbench_api.result import BenchmarkResultSpec, CellReference, Origin, RunReference
from vidbench_api.verdict import Verdict

DIGEST = "0123456789abcdef" * 4
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def call(verb: str, resource: str, code: int = 200) -> Call:
    return Call("me", verb, resource, "a", "b", code, NOON, NOON)


def round_of(*calls: Call, raw: float = 1.0, operator: float = 1.5) -> Round:
    return Round(raw, operator, 20.0, calls, 4, 60.0, 80.0, 70.0, 1.0, 0.5, 2.0)


def verdicts_and_results() -> tuple[list[Manifest], list[Manifest], dict[str, Verdict]]:
    """Return one finished run with its ledger."""
    cells = [f"{number:08x}" for number in range(TEN_CELLS.cells)]
    verdicts = {f"pod-{cell}": simulated_verdict(cell, 1, 1, DIGEST, 3) for cell in cells}
    rows = [{"id": cell, "shards": [{"index": 1}]} for cell in cells]
    run = {"metadata": {"uid": "u", "name": "run"}, "status": {"rows": rows}}
    return [run], [{"spec": _result(verdict, pod).to_wire()} for pod, verdict in verdicts.items()], verdicts


def _result(verdict: Verdict, pod_uid: str) -> BenchmarkResultSpec:
    return BenchmarkResultSpec(
        **{name: getattr(verdict, name) for name in Measured.model_fields},
        run=RunReference(name="run", uid="u"),
        cell=CellReference(id=verdict.cell, model="m", hardware="h", variant="v"),
        shard=1,
        attempts=1,
        request_digest=DIGEST,
        generation_hash=DIGEST,
        outcome=Outcome.SUCCEEDED,
        validity=verdict.validity,
        origin=Origin(attempt=1, pod_uid=pod_uid),
    )


def test_call_figures_part_status_events_and_leases_from_the_budget() -> None:
    calls = [
        *(call("create", "jobs", 201) for _ in range(4)),
        *(call("patch", "jobs") for _ in range(3)),
        call("create", "jobs", 409),
        *(call("update", "benchmarkruns/status") for _ in range(2)),
        call("create", "events", 201),
        call("update", "leases"),
        call("get", "pods"),
        call("list", "pods"),
    ]
    figures = call_figures(calls, passes=4, total=4)
    assert figures["mutatingPerShard"] == 2.0
    assert figures["mutatingByKindPerShard"] == {"create jobs": 1.25, "patch jobs": 0.75}
    assert figures["statusWritesPerShard"] == 0.5
    assert figures["passesPerShard"] == 1.0
    assert (figures["eventsPerShard"], figures["leaseWrites"], figures["podGets"]) == (0.25, 1, 1)
    assert figures["refused"] == {"409 create jobs": 1}
    assert figures["readsByKindPerShard"] == {"get pods": 0.25, "list pods": 0.25}


def test_creation_figures_pair_each_round_with_its_own_raw_time() -> None:
    figures = creation_figures([round_of(raw=1.0, operator=2.0), round_of(raw=4.0, operator=4.0)])
    assert figures["ratio"] == {"median": 1.5, "min": 1.0, "max": 2.0}
    assert [entry["ratio"] for entry in figures["rounds"]] == [2.0, 1.0]


def test_restart_figures_count_what_was_written() -> None:
    calls = (call("update", "leases"), call("create", "events"), call("patch", "jobs"), call("list", "jobs"))
    restart = Restart(200, calls, ready_seconds=2.34, process=ProcessFigures(90.5, 120.0, 3.456))
    assert restart_figures(restart) == {
        "shardsRunning": 200,
        "mutatingCalls": 1,
        "mutatingByKind": {"patch jobs": 1},
        "events": 1,
        "reads": {"list jobs": 1},
        "readySeconds": 2.3,
        "residentMebibytes": 90.5,
        "peakMebibytes": 120.0,
        "cpuSeconds": 3.46,
    }


def test_spread_is_median_smallest_largest() -> None:
    assert spread_of([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_simulated_verdict_says_that_it_is_one_and_survives_the_message() -> None:
    verdict = simulated_verdict("01234567", 1, 2, DIGEST, 10)
    text = encode(verdict)
    read = decode(text)
    assert len(text) <= MESSAGE_LIMIT
    assert (read.cell, read.shard, read.attempt, read.request_digest) == ("01234567", 1, 2, DIGEST[:16])
    assert read.unmeasured == {"everything": SIMULATED}
    assert read.validity is not None
    assert read.validity.state is Validity.INVALID
    assert read == simulated_verdict("01234567", 1, 2, DIGEST, 10).model_copy(update={"series": read.series})


def test_ledger_check_passes_when_all_is_right() -> None:
    check_results(*verdicts_and_results())


@pytest.mark.parametrize("defect", ["missing", "twice", "of another pod", "other figures", "not marked as simulated"])
def test_ledger_check_finds(defect: str) -> None:
    runs, results, verdicts = verdicts_and_results()
    spec = results[0]["spec"]
    if defect == "missing":
        results.pop()
    elif defect == "twice":
        results.append(results[0])
    elif defect == "of another pod":
        spec["origin"]["podUid"] = results[1]["spec"]["origin"]["podUid"]
    elif defect == "other figures":
        spec["series"][0]["statistics"]["mean"] += 1
    else:
        spec["unmeasured"] = {}
    with pytest.raises(AssertionError):
        check_results(runs, results, verdicts)
