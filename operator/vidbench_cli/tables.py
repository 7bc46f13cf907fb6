"""A run and its results to the lines of a screen: pure, shows only what the objects hold.

A figure that an object does not hold is shown as `-`. Never computes a statistic: it formats those of the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from vidbench_api.measured import SeriesName
from vidbench_api.names import Comparability
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, CellRow

from .texts import _, printable

_STYLES = {"Succeeded": "green", "OutOfMemory": "yellow", "Failed": "red", "Cancelled": "red", "Active": "cyan"}


@dataclass(frozen=True)
class CellLine:
    """One line of the per-cell table."""

    cell: str
    state: str
    latency: str
    denoise: str
    decode: str
    other: str
    frames: str
    memory: str
    note: str


def cell_lines(status: BenchmarkRunStatus, results: Sequence[BenchmarkResultSpec]) -> list[CellLine]:
    """Return a line for each row; phases are those of the cell's first result that has them."""
    by_cell: dict[str, list[BenchmarkResultSpec]] = {}
    for result in sorted(results, key=lambda result: result.shard):
        by_cell.setdefault(result.cell.id, []).append(result)
    return [_cell_line(row, by_cell.get(row.id, [])) for row in status.rows]


def _cell_line(row: CellRow, results: Sequence[BenchmarkResultSpec]) -> CellLine:
    measured = next((result for result in results if result.series), None)
    frames = measured.clip.frames_delivered if measured and measured.clip else None
    return CellLine(
        cell=f"{row.model}/{row.hardware}/{row.variant}"
        + (f"+{row.rung}" if row.rung else "")
        + (f" ({_('random weights')})" if row.weights == "Random" else ""),
        state=_state(row),
        latency=_latency(row),
        denoise=_seconds_of(measured, SeriesName.DENOISE),
        decode=_seconds_of(measured, SeriesName.VAE_DECODE),
        other=_share_of_other(measured),
        frames=str(frames) if frames is not None else "-",
        memory=f"{row.memory_mebibytes} MiB {(row.memory_of or '').lower()}"
        if row.memory_mebibytes is not None
        else "-",
        note=printable(f"{row.reason}: {row.message or ''}" if row.reason else ""),
    )


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
        return "-"
    text = f"{row.latency_microseconds / 1e6:.3f} s"
    if row.spread_microseconds is not None:
        text += f" ± {row.spread_microseconds / 1e6:.3f}"
    return f"{text} ({row.samples})"


def _seconds_of(result: BenchmarkResultSpec | None, name: SeriesName) -> str:
    series = result.find_series(name) if result else None
    return f"{series.statistics.mean / 1e6:.3f} s" if series else "-"


def _share_of_other(result: BenchmarkResultSpec | None) -> str:
    if result is None:
        return "-"
    other, whole = result.find_series(SeriesName.OTHER), result.find_series(SeriesName.LATENCY)
    if other is None or whole is None or not whole.statistics.mean:
        return "-"
    return f"{100 * other.statistics.mean / whole.statistics.mean:.2f} %"


def render_run(name: str, namespace: str, status: BenchmarkRunStatus, results: Sequence[BenchmarkResultSpec]) -> Group:
    """Return the screen of one run: a headline, the cells, and where to look next when something failed."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    headings = (
        _("CELL"),
        _("STATE"),
        _("LATENCY ± SD (N)"),
        _("DENOISE"),
        _("DECODE"),
        _("OTHER"),
        _("FRAMES"),
        _("MEMORY"),
    )
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    lines = cell_lines(status, results)
    for line in lines:
        style = _STYLES.get(line.state.split(" ")[0], "")
        table.add_row(
            escape(line.cell), Text(line.state, style=style), line.latency, line.denoise, line.decode, line.other,
            line.frames, line.memory,
        )  # fmt: skip
    phase = status.phase.value if status.phase else _("not seen by the operator yet")
    headline = Text.assemble((f"{namespace}/{name}", "bold"), f"  {phase}  {status.progress or ''}")
    notes = [Text(f"  {line.cell}: {line.note}", style="red") for line in lines if line.note]
    return Group(headline, Text(printable(status.message or ""), style="dim"), table, *notes)
