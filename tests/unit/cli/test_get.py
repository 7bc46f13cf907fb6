"""`vidbench get`: what a person sees of a run, and what a script gets as exit code."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from vidbench_api.accounting import Cost, Costs
from vidbench_api.figures import Figures
from vidbench_api.measured import Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.names import Comparability, Outcome, RowPhase, RunPhase, Validity
from vidbench_api.result import BenchmarkResultSpec, CellReference, Origin, RunReference
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, Condition, ShardStatus
from vidbench_cli.app import app
from vidbench_cli.errors import ClusterAwayError, ClusterError, Exit
from vidbench_cli.output import as_csv
from vidbench_cli.run_page import age_text, exit_of, run_page, runs_page, spread_text
from vidbench_cli.runs import RunReader, RunView, run_view

ENDED = Condition(type="Complete", status="True", reason="SomeCellsFailed", last_transition_time="2026-01-02T03:04:05Z")
FAILED = ENDED.model_copy(update={"type": "Failed", "reason": "NoResult"})
MEASURED = CellRow(
    id="0123abcd",
    model="wan21-1-3b-with-a-long-name",
    hardware="h100",
    variant="short",
    phase=RowPhase.FINISHED,
    outcome=Outcome.SUCCEEDED,
    validity=Validity.VALID,
    latency_microseconds=1_681_000,
    spread_microseconds=153_000,
    samples=5,
    memory_mebibytes=1978,
    memory_of="Host",
    shards=(ShardStatus(index=1, phase=RowPhase.FINISHED, result="result-1"),),
)
BROKEN = CellRow(
    id="4567abcd",
    model="broken",
    hardware="h100",
    variant="short",
    phase=RowPhase.FINISHED,
    outcome=Outcome.FAILED,
    validity=Validity.INVALID,
    reason="ModelLoadFailed",
    message="loading: /models/broken does not load" + ", so it seems," * 10 + " \x1b[31mat all",
)


def _series(name: SeriesName, *values: int) -> Series:
    return Series(name=name, unit="microseconds", statistics=Statistics.of(values), values=values)


RESULT = BenchmarkResultSpec(
    run=RunReference(name="nightly", uid="u-1"),
    cell=CellReference(id="0123abcd", model=MEASURED.model, hardware="h100", variant="short"),
    shard=1,
    attempts=1,
    request_digest="0" * 64,
    generation_hash="0" * 64,
    outcome=Outcome.SUCCEEDED,
    validity=ValidityVerdict(state=Validity.VALID),
    samples_done=2,
    origin=Origin(attempt=1),
    figures=Figures(videos_per_hour=1800, video_seconds_per_second=0.5),
    costs=Costs(cost=Cost(per_video=0.002, currency="EUR", per_gpu_hour="3.60", device="*", source="a list")),
    series=(
        Series(name=SeriesName.ENERGY, unit="millijoules", statistics=Statistics.of((2500, 2500)), values=(2500, 2500)),
        _series(SeriesName.LATENCY, 2_000_000, 2_000_000),
        _series(SeriesName.DENOISE, 1_200_000, 1_204_000),
        _series(SeriesName.OTHER, 20_000, 20_000),
    ),
)


def _body(name: str = "nightly", **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "lab", "uid": f"u-{name}", "creationTimestamp": "2026-01-02T03:04:05Z"}
    return {"metadata": metadata, "spec": {}, "status": status}


def _view(phase: RunPhase, *rows: CellRow, ended: bool = True, conditions: tuple[Condition, ...] = ()) -> RunView:
    given = (*((ENDED,) if ended else ()), *conditions)
    status = BenchmarkRunStatus(phase=phase, progress="2/2", rows=rows, conditions=given)
    return RunView("nightly", "team", "u-1", _body(), status, {"result-1": RESULT})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RunView | ClusterError]]:
    """What the cluster answers, one after another; all of it is asked for. Nobody waits."""
    queue: list[RunView | ClusterError] = []

    def read(_: RunReader) -> RunView:
        answer = queue.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    monkeypatch.setattr("vidbench_cli.cluster._connect", lambda _: (None, "lab"))
    monkeypatch.setattr(RunReader, "read", read)
    monkeypatch.setattr("vidbench_cli.cluster.time.sleep", lambda _: None)
    yield queue
    assert queue == []


def _get(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["get", "nightly", *words], env={"COLUMNS": "80"})
    return done.exit_code, done.output


def test_get_shows_row_and_phases_and_cuts_nothing_in_a_pipe(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.PARTIALLY_SUCCEEDED, MEASURED, BROKEN))
    code, shown = _get()
    assert code == 0
    line = next(line for line in shown.splitlines() if line.startswith("wan21"))
    assert line.split("  ")[0] == "wan21-1-3b-with-a-long-name/h100/short"
    for figure in ("1.681 s ± 0.153 (5)", "1.202 s", "1.00 %", "1978 MiB host"):
        assert figure in line
    assert next(line for line in shown.splitlines() if "ModelLoadFailed" in line).rstrip().endswith("at all")


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0.000"), (452, "0.00045"), (1_234, "0.0012"), (9_999, "0.01"), (10_000, "0.010"), (153_400, "0.153")],
)
def test_a_spread_is_never_rounded_away(microseconds: int, text: str) -> None:
    assert spread_text(microseconds) == text


def test_a_spread_of_shards_says_of_how_many(answers: list[RunView | ClusterError]) -> None:
    shards = tuple(
        ShardStatus(index=index, phase=RowPhase.FINISHED, outcome=outcome)
        for index, outcome in ((1, Outcome.SUCCEEDED), (2, Outcome.SUCCEEDED), (3, Outcome.FAILED))
    )
    row = MEASURED.model_copy(update={"spread_of": "Shards", "shards": shards})
    answers.append(_view(RunPhase.SUCCEEDED, row))
    assert "1.681 s ± 0.153 (2 shards)" in _get()[1]


def test_get_wide_shows_figures_energy_and_cost(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.SUCCEEDED, MEASURED))
    _, shown = _get("-o", "wide")
    heading, line = (line for line in shown.splitlines() if line.startswith(("CELL", "wan21")))
    shown_at = {
        title: line[heading.index(title) :].split("  ")[0] for title in ("REAL-TIME", "VIDEOS/H", "ENERGY", "COST")
    }
    assert shown_at == {"REAL-TIME": "0.5 x", "VIDEOS/H": "1800", "ENERGY": "2.5 J", "COST": "0.002 EUR"}


def test_figures_of_several_shards_are_means_and_superseded_results_are_none_of_them() -> None:
    other = RESULT.model_copy(update={"shard": 2, "figures": Figures(videos_per_hour=1000)})
    shards = (*MEASURED.shards, ShardStatus(index=2, phase=RowPhase.FINISHED, result="result-2"))
    view = _view(RunPhase.SUCCEEDED, MEASURED.model_copy(update={"shards": shards}))
    view = RunView(**{**view.__dict__, "results": {"result-1": RESULT, "result-2": other, "result-1-1": other}})
    [row] = list(csv.DictReader(io.StringIO(as_csv(run_page(view)))))
    assert row["videosPerHour"] == "1400.0"
    assert row["costPerVideo"] == "0.002"


def test_prices_in_two_currencies_are_not_added_up() -> None:
    assert RESULT.costs is not None
    assert RESULT.costs.cost is not None
    costs = Costs(cost=RESULT.costs.cost.model_copy(update={"currency": "USD"}))
    shards = (*MEASURED.shards, ShardStatus(index=2, phase=RowPhase.FINISHED, result="result-2"))
    view = _view(RunPhase.SUCCEEDED, MEASURED.model_copy(update={"shards": shards}))
    results = {"result-1": RESULT, "result-2": RESULT.model_copy(update={"costs": costs})}
    [row] = list(csv.DictReader(io.StringIO(as_csv(run_page(RunView(**{**view.__dict__, "results": results}))))))
    assert row["costPerVideo"] == ""


def test_get_gives_full_data_as_json(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.SUCCEEDED, MEASURED))
    _, shown = _get("-o", "json")
    data = json.loads(shown)
    assert data["run"]["metadata"]["name"] == "nightly"
    assert data["results"]["result-1"]["series"][0]["name"] == "energy"


def test_get_marks_random_weights(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.SUCCEEDED, MEASURED.model_copy(update={"weights": "Random"}), BROKEN))
    _, shown = _get()
    assert [line.split("  ")[0] for line in shown.splitlines() if "random weights" in line] == [
        "wan21-1-3b-with-a-long-name/h100/short (random weights)"
    ]


def test_get_shows_what_is_not_known_as_a_dash(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.PARTIALLY_SUCCEEDED, BROKEN))
    _, shown = _get()
    line = next(line for line in shown.splitlines() if line.startswith("broken/h100/short"))
    assert line.split() == ["broken/h100/short", "Failed", *"------"]


@pytest.mark.parametrize(
    ("kind", "words"), [("Service", "Succeeded [service]"), ("Mock", "Succeeded [mock]"), ("Device", "Succeeded")]
)
def test_get_marks_what_is_not_comparable(kind: str, words: str) -> None:
    row = MEASURED.model_copy(update={"comparability": Comparability(kind)})
    [shown] = run_page(_view(RunPhase.SUCCEEDED, row)).tables[0].records
    assert shown["state"] == words


def test_get_lets_no_object_drive_the_terminal(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.PARTIALLY_SUCCEEDED, BROKEN))
    assert "\x1b" not in _get()[1]


def test_watch_outlasts_an_api_server_that_is_away_for_a_moment(answers: list[RunView | ClusterError]) -> None:
    answers += [
        _view(RunPhase.RUNNING, ended=False),
        ClusterAwayError("429 Too Many Requests"),
        ClusterAwayError("connection refused"),
        _view(RunPhase.SUCCEEDED, MEASURED),
    ]
    code, shown = _get("--watch")
    assert code == 0
    assert "1.681 s" in shown


def test_watch_of_a_run_that_is_not_there_says_so_at_once(answers: list[RunView | ClusterError]) -> None:
    answers.append(ClusterError("there is no BenchmarkRun 'nightly'"))
    assert _get("--watch")[0] == Exit.CLUSTER


GATES_FAILED = Condition(
    type="GatesPassed",
    status="False",
    reason="GateFailed",
    message="latency",
    last_transition_time="2026-01-02T03:04:05Z",
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(_view(RunPhase.FAILED, BROKEN, ended=False, conditions=(FAILED,)), 4, id="a-run-that-failed"),
        pytest.param(_view(RunPhase.SUCCEEDED, MEASURED, conditions=(GATES_FAILED,)), 1, id="a-failed-gate"),
        pytest.param(_view(RunPhase.RUNNING, ended=False, conditions=(GATES_FAILED,)), 0, id="not-ended"),
        pytest.param(_view(RunPhase.PARTIALLY_SUCCEEDED, MEASURED, BROKEN), 0, id="some-cells-failed"),
        pytest.param(ClusterError("there is no BenchmarkRun 'nightly'"), 3, id="no-such-run"),
    ],
)
def test_get_tells_scripts_by_exit_code(
    answers: list[RunView | ClusterError], answer: RunView | ClusterError, expected: int
) -> None:
    answers.append(answer)
    code, shown = _get()
    assert code == expected
    assert shown
    if isinstance(answer, RunView):
        assert exit_of(answer) == expected


@pytest.mark.parametrize("words", [["get", "--watch"], ["get", "nightly", "-A"]])
def test_options_that_contradict_each_other_are_usage(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == Exit.USAGE
    assert "vidbench:" in done.stderr


def test_list_shows_the_newest_first_and_what_is_not_known_yet() -> None:
    old = run_view(_body("old", phase="Succeeded", progress="1/1", fastest={"cell": "0" * 8, "latencyMicroseconds": 1,
                                                                            "text": "a/b/c 1s"}))  # fmt: skip
    new = _body("new")
    new["metadata"]["creationTimestamp"] = "2026-01-02T04:04:05Z"
    now = datetime(2026, 1, 2, 5, 4, 5, tzinfo=UTC)
    page = runs_page([old, run_view(new)], now)
    assert [(row["name"], row["phase"], row["fastest"], row["ageSeconds"]) for row in page.tables[0].records] == [
        ("new", None, None, 3600),
        ("old", "Succeeded", "a/b/c 1s", 7200),
    ]
    assert page.tables[0].columns[0].wide
    assert not runs_page([old], now, everywhere=True).tables[0].columns[0].wide


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (119, "119s"), (600, "10m"), (3600, "1h"), (12_000, "3h20m"), (400_000, "4d")]
)
def test_ages(seconds: int, text: str) -> None:
    assert age_text(seconds) == text


def test_status_of_another_version_is_said_to_be_one() -> None:
    with pytest.raises(ClusterError, match="another version") as caught:
        run_view(_body(phase="Dreaming"))
    assert "kubectl get br nightly -o yaml" in caught.value.remedy


def test_gates_and_hypotheses_are_shown_with_their_verdicts() -> None:
    gate = {"name": "no-slower", "verdict": "Fail", "reason": "Worse", "message": "3 % slower", "passed": 1, "cells": 2}
    hypothesis = {
        "name": "tiling-helps",
        "role": "Primary",
        "verdict": "Supported",
        "message": "it does",
        "supported": 2,
        "cells": 2,
    }
    view = run_view(_body(gates=[gate], hypotheses=[hypothesis], gatesText="0/1"))
    tables = {table.title: table for table in run_page(view).tables}
    [row] = tables["Gates"].rows
    assert [entry.text for entry in row] == ["no-slower", "Fail", "1/2", "2", "Worse", "3 % slower"]
    assert tables["Hypotheses"].records[0]["verdict"] == "Supported"
    [listed] = runs_page([view], datetime(2026, 1, 3, tzinfo=UTC)).tables[0].rows
    assert "0/1" in [entry.text for entry in listed]
    assert len(run_page(run_view(_body())).tables) == 1
