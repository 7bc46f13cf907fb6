"""`vidbench get`: what a person sees of a run, and what a script gets as exit code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from vidbench_api.measured import Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.names import Comparability, Outcome, RowPhase, RunPhase, Validity
from vidbench_api.result import BenchmarkResultSpec, CellReference, Origin, RunReference
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, Condition
from vidbench_cli import __main__ as cli
from vidbench_cli.cluster import ClusterAwayError, ClusterError, RunView
from vidbench_cli.tables import cell_lines

ENDED = Condition(type="Complete", status="True", reason="SomeCellsFailed", last_transition_time="2026-01-02T03:04:05Z")
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
    series=(
        _series(SeriesName.LATENCY, 2_000_000, 2_000_000),
        _series(SeriesName.DENOISE, 1_200_000, 1_204_000),
        _series(SeriesName.OTHER, 20_000, 20_000),
    ),
)


def _view(phase: RunPhase, *rows: CellRow, ended: bool = True) -> RunView:
    status = BenchmarkRunStatus(phase=phase, progress="2/2", rows=rows, conditions=(ENDED,) if ended else ())
    return RunView("nightly", "team", "u-1", status, (RESULT,))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RunView | ClusterError]]:
    """What the cluster answers, one after another; all of it is asked for. Nobody waits."""
    queue: list[RunView | ClusterError] = []

    class PlayedReader:
        def __init__(self, *_: Any) -> None:
            pass

        def read_run(self, name: str) -> RunView:
            answer = queue.pop(0)
            if isinstance(answer, ClusterError):
                raise answer
            return answer

    monkeypatch.setattr(cli, "Reader", PlayedReader)
    monkeypatch.setattr(cli.time, "sleep", lambda _: None)
    yield queue
    assert queue == []


def _get(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["get", "nightly", *words], env={"COLUMNS": "80"})
    return done.exit_code, done.output


def test_get_shows_row_and_phases_and_cuts_nothing_in_a_pipe(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.PARTIALLY_SUCCEEDED, MEASURED, BROKEN))
    code, shown = _get()
    assert code == 0
    line = next(line for line in shown.splitlines() if line.startswith("wan21"))
    assert line.split("  ")[0] == "wan21-1-3b-with-a-long-name/h100/short"
    for figure in ("1.681 s ± 0.153 (5)", "1.202 s", "1.00 %", "1978 MiB host"):
        assert figure in line
    assert next(line for line in shown.splitlines() if "ModelLoadFailed" in line).endswith("at all")


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
    [line] = cell_lines(BenchmarkRunStatus(rows=(row,)), ())
    assert line.state == words


def test_get_lets_no_object_drive_the_terminal(answers: list[RunView | ClusterError]) -> None:
    answers.append(_view(RunPhase.PARTIALLY_SUCCEEDED, BROKEN))
    assert "\x1b[31m" not in _get()[1]


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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(_view(RunPhase.FAILED, BROKEN), cli.EXIT_RUN_FAILED, id="a-run-that-failed"),
        pytest.param(ClusterError("there is no BenchmarkRun 'nightly'"), cli.EXIT_CLUSTER, id="no-such-run"),
    ],
)
def test_get_tells_scripts_by_exit_code(
    answers: list[RunView | ClusterError], answer: RunView | ClusterError, expected: int
) -> None:
    answers.append(answer)
    code, shown = _get()
    assert code == expected
    assert shown
