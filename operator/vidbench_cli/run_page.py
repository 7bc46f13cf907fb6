"""A run and its results to pages: pure, shows only what the objects hold.

A figure that was not measured is `-`, and null in data. Of several shards a figure is the mean of what their results say,
as the status does it for the latency; superseded results are none of a run's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from vidbench_api.measured import SeriesName
from vidbench_api.names import Comparability, ConditionType, Outcome, RunPhase
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, GateStatus, HypothesisStatus

from .errors import Exit
from .output import NOT_KNOWN, Cell, Column, Line, Page, Table, cell, number_text
from .runs import RunView
from .texts import _, ngettext

_SMALLEST_SHOWN = 10_000
"""Microseconds of which three decimals of a second show two digits."""

GATES_PASSED = ConditionType.GATES_PASSED
STYLES = {
    "Succeeded": "green", "PartiallySucceeded": "yellow", "OutOfMemory": "yellow", "Failed": "red", "Cancelled": "red",
    "Active": "cyan", "Running": "cyan", "Pass": "green", "Supported": "green", "True": "green",
    "Fail": "red", "Refuted": "red", "False": "red",
}  # fmt: skip

GATE_COLUMNS = (
    Column("name", _("NAME")),
    Column("verdict", _("VERDICT")),
    Column("passedCells", _("CELLS")),
    Column("cells", _("OF"), wide=True),
    Column("reason", _("REASON"), wide=True),
    Column("message", _("MESSAGE"), folds=True),
)
RUN_COLUMNS = (
    Column("namespace", _("NAMESPACE"), wide=True),
    Column("name", _("NAME")),
    Column("phase", _("PHASE")),
    Column("progress", _("PROGRESS")),
    Column("activeJobs", _("ACTIVE")),
    Column("failedCells", _("FAILED")),
    Column("outOfMemoryCells", _("OOM")),
    Column("fastest", _("FASTEST")),
    Column("gatesPassed", _("GATES")),
    Column("ageSeconds", _("AGE")),
    Column("limitedBy", _("LIMITED-BY"), wide=True),
    Column("usedGpuSeconds", _("GPU-SECONDS"), wide=True),
    Column("queue", _("QUEUE"), wide=True),
    Column("message", _("MESSAGE"), wide=True, folds=True),
)
CELL_COLUMNS = (
    Column("cell", _("CELL")),
    Column("state", _("STATE")),
    Column("latencySeconds", _("LATENCY ± SD (N)")),
    Column("latencySpreadSeconds", _("SD"), wide=True),
    Column("samples", _("SAMPLES"), wide=True),
    Column("denoiseSeconds", _("DENOISE")),
    Column("vaeDecodeSeconds", _("DECODE")),
    Column("otherPercent", _("OTHER")),
    Column("framesPerVideo", _("FRAMES")),
    Column("memoryMebibytes", _("MEMORY")),
    Column("videoSecondsPerSecond", _("REAL-TIME"), wide=True),
    Column("videosPerHour", _("VIDEOS/H"), wide=True),
    Column("energyJoulesPerVideo", _("ENERGY"), wide=True),
    Column("costPerVideo", _("COST"), wide=True),
    Column("carbonGramsPerVideo", _("CARBON"), wide=True),
    Column("device", _("DEVICE"), wide=True),
    Column("validity", _("VALIDITY"), wide=True),
    Column("source", _("SOURCE"), wide=True),
    Column("reason", _("REASON"), wide=True),
)


def exit_of(view: RunView) -> Exit:
    """Return the exit code that a run's end stands for; 0 while it runs, and for a run with results but failed cells."""
    if view.condition(ConditionType.FAILED) == "True":
        return Exit.RUN_FAILED
    return Exit.GATE_FAILED if view.ended and view.condition(GATES_PASSED) == "False" else Exit.DONE


def runs_page(views: Sequence[RunView], now: datetime, *, everywhere: bool = False) -> Page:
    """Return the list of runs, newest first."""
    newest = sorted(views, key=lambda view: (_created(view), view.namespace, view.name), reverse=True)
    first = Column("namespace", _("NAMESPACE"), wide=not everywhere)
    rows = tuple(_run_cells(view, now) for view in newest)
    return Page(tables=(Table((first, *RUN_COLUMNS[1:]), rows),))


def _run_cells(view: RunView, now: datetime) -> tuple[Cell, ...]:
    status = view.status
    phase = status.phase.value if status.phase else None
    cells, parallelism, gpu = status.cells, status.parallelism, status.gpu_seconds
    age = max(0, int((now - _created(view)).total_seconds()))
    queue = (view.body.get("spec", {}).get("scheduling") or {}).get("queueName")
    passed = view.condition(GATES_PASSED)
    return (
        cell(view.namespace),
        cell(view.name),
        cell(phase, style=STYLES.get(phase or "", "")),
        cell(status.progress),
        cell(parallelism.active if parallelism else None),
        cell(cells.failed if cells else None),
        cell(cells.out_of_memory if cells else None),
        cell(status.fastest.text if status.fastest else None),
        cell(passed, status.gates_text, STYLES.get(passed or "", "")),
        cell(age, age_text(age)),
        cell(parallelism.limited_by.value if parallelism else None),
        cell(gpu.used if gpu else None),
        cell(queue or None),
        cell(status.message),
    )


def age_text(seconds: int) -> str:
    """Return a length of time in its two largest units, as kubectl does: 83s, 12m, 3h20m, 4d."""
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m"
    if seconds < 86_400:
        return f"{seconds // 3600}h" + (f"{seconds % 3600 // 60}m" if seconds % 3600 >= 60 else "")
    return f"{seconds // 86_400}d"


def _created(view: RunView) -> datetime:
    return moment(view.body["metadata"].get("creationTimestamp")) or datetime.fromtimestamp(0, UTC)


def moment(text: str | None) -> datetime | None:
    """Return an API time."""
    return datetime.fromisoformat(text) if text else None


def run_page(view: RunView) -> Page:
    """Return one run: a headline, its cells, and what to know about those that did not succeed."""
    status = view.status
    phase = status.phase.value if status.phase else _("not seen by the operator yet")
    heading = [Line(f"{view.namespace}/{view.name}  {phase}  {status.progress or ''}".rstrip(), "bold")]
    if status.message:
        heading.append(Line(status.message, "dim"))
    gates = next((entry for entry in status.conditions if entry.type == GATES_PASSED), None)
    if gates is not None:
        text = _("Gates passed: {status} ({reason}) {message}")
        line = text.format(status=gates.status, reason=gates.reason, message=gates.message).rstrip()
        heading.append(Line(line, STYLES.get(gates.status, "")))
    by_cell = results_by_cell(view)
    rows = tuple(_cell_cells(row, by_cell.get(row.id, ())) for row in status.rows)
    notes = tuple(
        Line(f"  {cell_name(row)}: {row.reason}: {row.message or ''}".rstrip(": "), "red")
        for row in status.rows
        if row.reason
    )
    if status.phase in (RunPhase.FAILED, RunPhase.PARTIALLY_SUCCEEDED) and notes:
        text = _("  The whole story of a cell: vidbench describe {run} MODEL/HARDWARE/VARIANT")
        notes += (Line(text.format(run=view.name), "dim"),)
    return Page((Table(CELL_COLUMNS, rows), *verdict_tables(status)), tuple(heading), notes, data=run_data(view))


def verdict_tables(status: BenchmarkRunStatus) -> tuple[Table, ...]:
    """Return the verdicts of gates and hypotheses, as far as the run has any."""
    gates = tuple(_verdict(gate, gate.passed) for gate in status.gates)
    hypotheses = tuple(_verdict(entry, entry.supported) for entry in status.hypotheses)
    found = ((_("Gates"), gates), (_("Hypotheses"), hypotheses))
    return tuple(Table(GATE_COLUMNS, rows, title) for title, rows in found if rows)


def _verdict(entry: GateStatus | HypothesisStatus, holds: int) -> tuple[Cell, ...]:
    return (
        cell(entry.name),
        cell(entry.verdict, style=STYLES.get(entry.verdict, "")),
        cell(holds, f"{holds}/{entry.cells}"),
        cell(entry.cells),
        cell(entry.reason),
        cell(entry.message),
    )


def run_data(view: RunView) -> dict[str, Any]:
    """Return the full data of a run: the object as the API has it, and the results that its shards name."""
    return {
        "run": {key: value for key, value in view.body.items() if key != "metadata"}
        | {"metadata": {key: value for key, value in view.body["metadata"].items() if key != "managedFields"}},
        "results": {name: result.model_dump(mode="json", by_alias=True, exclude_none=True)
                    for name, result in view.results.items()},
    }  # fmt: skip


def results_by_cell(view: RunView) -> dict[str, list[BenchmarkResultSpec]]:
    """Return the results that stand for each row, by its id and in the order of its shards."""
    return {
        row.id: [view.results[shard.result] for shard in row.shards if shard.result and shard.result in view.results]
        for row in view.status.rows
    }


def cell_name(row: CellRow) -> str:
    """Return model/hardware/variant of a row, with its fallback."""
    return f"{row.model}/{row.hardware}/{row.variant}" + (f"+{row.rung}" if row.rung else "")


def _cell_cells(row: CellRow, results: Sequence[BenchmarkResultSpec]) -> tuple[Cell, ...]:
    marked = f" ({_('random weights')})" if row.weights == "Random" else ""
    state = _state(row)
    spread = row.spread_microseconds
    return (
        cell(cell_name(row), cell_name(row) + marked),
        cell(state, style=STYLES.get(state.split(" ")[0], "")),
        cell(None if row.latency_microseconds is None else row.latency_microseconds / 1e6, _latency(row)),
        cell(None if spread is None else spread / 1e6, None if spread is None else f"{spread_text(spread)} s"),
        cell(row.samples),
        _figure(_mean_of(results, lambda result: _seconds_of(result, SeriesName.DENOISE)), "{:.3f} s"),
        _figure(_mean_of(results, lambda result: _seconds_of(result, SeriesName.VAE_DECODE)), "{:.3f} s"),
        _figure(_mean_of(results, _share_of_other), "{:.2f} %"),
        _figure(_mean_of(results, lambda result: result.clip.frames_delivered if result.clip else None), "{:g}"),
        _memory(row),
        _figure(_mean_of(results, lambda result: _of_figures(result, "video_seconds_per_second")), "{} x"),
        _figure(_mean_of(results, lambda result: _of_figures(result, "videos_per_hour")), "{}"),
        _figure(_mean_of(results, _energy), "{} J"),
        _cost(results),
        _figure(_mean_of(results, _carbon), "{} g"),
        cell(row.gpu),
        cell(row.validity.value if row.validity else None),
        cell(row.source),
        cell(row.reason),
    )  # fmt: skip


def _figure(value: float | None, pattern: str) -> Cell:
    """`pattern` takes a number as it formats it, or its text with `{}`."""
    if value is None:
        return cell(None)
    return cell(value, pattern.format(number_text(value) if "{}" in pattern else value))


def _mean_of(
    results: Iterable[BenchmarkResultSpec], figure: Callable[[BenchmarkResultSpec], float | None]
) -> float | None:
    known = [value for result in results if (value := figure(result)) is not None]
    return sum(known) / len(known) if known else None


def _state(row: CellRow) -> str:
    if row.outcome is None:
        return _marked(row.phase.value, row)
    if row.validity is not None and row.validity.value != "Valid" and row.outcome.value == "Succeeded":
        return _marked(f"{row.outcome.value} ({row.validity.value})", row)
    return _marked(row.outcome.value, row)


def _marked(state: str, row: CellRow) -> str:
    """Return the state with what was timed, where that is no device of ours: such figures compare with nothing else."""
    return state if row.comparability is Comparability.DEVICE else f"{state} [{row.comparability.value.lower()}]"


def _latency(row: CellRow) -> str:
    if row.reruns is not None:
        return _("{equal} of {reruns} reruns equal").format(equal=row.reruns_equal, reruns=row.reruns)
    if row.latency_microseconds is None:
        return NOT_KNOWN
    text = f"{row.latency_microseconds / 1e6:.3f} s"
    if row.spread_microseconds is not None:
        text += f" ± {spread_text(row.spread_microseconds)}"
    if row.spread_of == "Shards":
        counted = sum(shard.outcome is Outcome.SUCCEEDED for shard in row.shards)
        return ngettext("{text} ({count} shard)", "{text} ({count} shards)", counted).format(text=text, count=counted)
    return f"{text} ({row.samples})"


def spread_text(microseconds: int) -> str:
    """Return a spread in seconds: three decimals, or two digits where these are fewer."""
    seconds = microseconds / 1e6
    return f"{seconds:.3f}" if not microseconds or microseconds >= _SMALLEST_SHOWN else f"{seconds:.2g}"


def _memory(row: CellRow) -> Cell:
    text = f"{row.memory_mebibytes} MiB {(row.memory_of or '').lower()}".rstrip()
    return cell(row.memory_mebibytes, None if row.memory_mebibytes is None else text)


def _seconds_of(result: BenchmarkResultSpec, name: SeriesName) -> float | None:
    series = result.find_series(name)
    return series.statistics.mean / 1e6 if series else None


def _share_of_other(result: BenchmarkResultSpec) -> float | None:
    other, whole = result.find_series(SeriesName.OTHER), result.find_series(SeriesName.LATENCY)
    if other is None or whole is None or not whole.statistics.mean:
        return None
    return 100 * other.statistics.mean / whole.statistics.mean


def _of_figures(result: BenchmarkResultSpec, name: str) -> float | None:
    return getattr(result.figures, name) if result.figures else None


def _energy(result: BenchmarkResultSpec) -> float | None:
    series = result.find_series(SeriesName.ENERGY)
    return series.statistics.mean / 1e3 if series else None


def _carbon(result: BenchmarkResultSpec) -> float | None:
    return result.costs.carbon.grams_per_video if result.costs and result.costs.carbon else None


def _cost(results: Sequence[BenchmarkResultSpec]) -> Cell:
    costs = [result.costs.cost for result in results if result.costs and result.costs.cost]
    currencies = {cost.currency for cost in costs}
    if len(currencies) != 1:
        # None, or prices that cannot be added up.
        return cell(None)
    value = sum(cost.per_video for cost in costs) / len(costs)
    return cell(value, f"{number_text(value)} {currencies.pop()}")
