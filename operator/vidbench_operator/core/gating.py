"""What the status says of a run's gates and hypotheses: verdicts when the run ends, what there is of them before.

Decides which results are wanted for that, and what of the evidence fits into a status. The verdicts are those of
`vidbench_analysis`, which is imported only when a run that states something has ended: numpy and scipy are not small.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from vidbench_api.gates import MAX_EVIDENCE, Statement
from vidbench_api.names import (
    LABEL_BASELINE,
    LABEL_HARDWARE,
    LABEL_MODEL,
    LABEL_OUTCOME,
    LABEL_VALIDITY,
    LABEL_VARIANT,
    ConditionReason,
    Outcome,
    RowPhase,
    Validity,
)
from vidbench_api.request import RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus, CellRow, Evidence, GateStatus, HypothesisStatus

from .observed import Ledger

if TYPE_CHECKING:
    from vidbench_analysis import gates as analysis

MOST_BASELINE_RESULTS: Final = 1_000
"""Results that are read for all baselines of a run; one that does not fit is Inconclusive, as what is left out would decide."""

BASELINE_PATIENCE_SECONDS: Final = 600.0
"""So long after runSeconds a run waits for a server that cannot list its baselines now; then it ends without them."""

_LATENCY = "latency"
"""The metric whose shard means stand in the status."""


@dataclass(frozen=True)
class Judgement:
    """What the status says of gates and hypotheses. `passed` is None while the run goes on."""

    gates: tuple[GateStatus, ...]
    hypotheses: tuple[HypothesisStatus, ...]
    text: str | None
    passed: bool | None
    reason: ConditionReason
    message: str

    @property
    def condition(self) -> tuple[Literal["True", "False", "Unknown"], str, str]:
        """Return status, reason and message of GatesPassed."""
        value: Literal["True", "False", "Unknown"] = "True" if self.passed else "False"
        return ("Unknown" if self.passed is None else value), self.reason.value, self.message


def states_something(spec: BenchmarkRunSpec) -> bool:
    """Whether a run has gates or hypotheses."""
    return bool(spec.gates or spec.analysis.hypotheses)


def selectors_of(spec: BenchmarkRunSpec) -> dict[str, str]:
    """Return the label selector of each baseline that a gate or hypothesis names: valid results of the run's names."""
    statements = (*spec.gates, *spec.analysis.hypotheses)
    named = {statement.against.baseline for statement in statements}
    return {
        baseline.name: _selector(
            baseline.selector.match_labels if baseline.selector else {LABEL_BASELINE: baseline.name},
            {
                label: names
                for label, axis, names in (
                    (LABEL_MODEL, "Model", [model.name for model in spec.models]),
                    (LABEL_HARDWARE, "Hardware", [hardware.name for hardware in spec.hardware]),
                    (LABEL_VARIANT, "Variant", [variant.name for variant in spec.variants]),
                )
                if axis != baseline.across
            },
        )
        for baseline in spec.baselines
        if baseline.name in named
    }


def _selector(labels: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> str:
    """Return a selector; what a user's labels say otherwise of outcome or validity matches nothing."""
    counts = {LABEL_OUTCOME: Outcome.SUCCEEDED.value, LABEL_VALIDITY: Validity.VALID.value}
    parts = [f"{key}={value}" for wanted in (labels, counts) for key, value in sorted(wanted.items())]
    return ",".join([*parts, *(f"{key} in ({','.join(sorted(values))})" for key, values in names.items())])


def judgement_of(
    spec: BenchmarkRunSpec,
    document: RequestDocument,
    rows: Sequence[CellRow],
    stored: BenchmarkRunStatus,
    ledger: Ledger | None,
    *,
    ended: bool,
) -> Judgement | None:
    """Return what there is to say; None for a run that states nothing, and for one that ended and whose ledger is not read."""
    if not states_something(spec):
        return None
    if not ended:
        return foresee(spec, rows, stored)
    return judge(spec, document, rows, ledger) if ledger is not None else None


def judge(spec: BenchmarkRunSpec, document: RequestDocument, rows: Sequence[CellRow], ledger: Ledger) -> Judgement:
    """Return the verdicts of a run that has ended."""
    from vidbench_analysis import gates as analysis
    from vidbench_analysis import references
    from vidbench_analysis.metrics import Pairing

    content = {cell.id: cell.generation_hash for cell in document.cells}
    seen = references.Seen(
        cells=tuple(
            references.Cell(
                row.id, row.model, row.hardware, row.variant, content[row.id], _results_of(row, ledger.results)
            )
            for row in rows
            if row.rung is None
        ),
        baselines=ledger.baselines,
        unread=ledger.unread,
        samples=document.samples(),
        pairing=Pairing(spec.measurement.pairing),
        run_uid=document.run.uid,
    )
    baselines = {baseline.name: baseline for baseline in spec.baselines}
    verdicts = [analysis.evaluate_gate(gate, seen, baselines) for gate in spec.gates]
    gates = tuple(_gate_status(verdict) for verdict in verdicts)
    hypotheses = tuple(
        _hypothesis_status(verdict) for verdict in analysis.evaluate_hypotheses(spec.analysis, seen, baselines)
    )
    return _judgement(verdicts, gates, hypotheses)


def _results_of(row: CellRow, results: Mapping[str, BenchmarkResultSpec]) -> tuple[BenchmarkResultSpec, ...]:
    return tuple(results[shard.result] for shard in row.shards if shard.result is not None and shard.result in results)


def _judgement(
    verdicts: Sequence[analysis.GateVerdict],
    gates: tuple[GateStatus, ...],
    hypotheses: tuple[HypothesisStatus, ...],
) -> Judgement:
    passed = sum(verdict.counts_as_passed for verdict in verdicts)
    text = f"{passed}/{len(gates)}" if gates else None
    if passed == len(gates):
        lenient = sum(verdict.verdict != "Pass" for verdict in verdicts)
        more = f"; {lenient} of them inconclusive, which onInconclusive lets pass" if lenient else ""
        message = f"{passed} of {len(gates)} gates passed{more}"
        return Judgement(gates, hypotheses, text, True, ConditionReason.ALL_PASSED, message)
    failed = any(gate.verdict == "Fail" for gate in gates)
    reason = ConditionReason.GATE_FAILED if failed else ConditionReason.GATE_INCONCLUSIVE
    word = "Fail" if failed else "Inconclusive"
    named = [
        f"{gate.name}: {gate.message}"
        for gate, verdict in zip(gates, verdicts, strict=True)
        if gate.verdict == word and not verdict.counts_as_passed
    ]
    rest = f"; and {len(named) - 2} more" if len(named) > 2 else ""
    message = f"{passed} of {len(gates)} gates passed; {word}: {'; '.join(named[:2])}{rest}"
    return Judgement(gates, hypotheses, text, False, reason, message[:1024])


def unjudged(spec: BenchmarkRunSpec, why: str) -> Judgement | None:
    """Return what is said of gates where a run ended without being measured; None for a run without any."""
    if not states_something(spec):
        return None
    message = f"not evaluated: {why}"
    gates = tuple(
        GateStatus(name=gate.name, verdict="Inconclusive", reason="NotEvaluated", message=message[:512])
        for gate in spec.gates
    )
    hypotheses = tuple(
        HypothesisStatus(
            name=entry.name, role=entry.role, verdict="Inconclusive", reason="NotEvaluated", message=message[:512]
        )
        for entry in spec.analysis.hypotheses
    )
    text = f"0/{len(gates)}" if gates else None
    return Judgement(gates, hypotheses, text, False, ConditionReason.NOT_EVALUATED, message[:1024])


def foresee(spec: BenchmarkRunSpec, rows: Sequence[CellRow], stored: BenchmarkRunStatus) -> Judgement:
    """Return what there is while the run goes on: shards that were measured, and of latency how it looks so far.

    It looks at the rows alone, and only when they changed: no interval, no baseline, no result is read.
    """
    gates, hypotheses = stored.gates, stored.hypotheses
    if not (gates or hypotheses) or tuple(rows) != stored.rows:
        asked = [row for row in rows if row.rung is None]
        gates = tuple(
            GateStatus(name=gate.name, verdict="Unknown", reason="Running", **_so_far(gate, asked))
            for gate in spec.gates
        )
        hypotheses = tuple(
            HypothesisStatus(
                name=entry.name, role=entry.role, verdict="Unknown", reason="Running", **_so_far(entry, asked)
            )
            for entry in spec.analysis.hypotheses
        )
    message = "gates are decided when the run has ended"
    text = f"?/{len(gates)}" if gates else None
    return Judgement(gates, hypotheses, text, None, ConditionReason.GATES_PENDING, message)


def _so_far(statement: Statement, rows: Sequence[CellRow]) -> dict[str, object]:
    by_name = {(row.model, row.hardware, row.variant): row for row in rows}
    meant = [row for row in rows if statement.is_about(row.model, row.hardware, row.variant)]
    variant = statement.against.variant
    others = {row.id: by_name.get((row.model, row.hardware, variant)) for row in meant} if variant else {}
    wanted = {row.id: row for row in (*meant, *others.values()) if row is not None}.values()
    done = sum(shard.phase is RowPhase.FINISHED for row in wanted for shard in row.shards)
    evidence: list[Evidence] = []
    if statement.metric == _LATENCY:
        evidence = [entry for row in meant if (entry := _looks(statement, row, others.get(row.id))) is not None]
    evidence.sort(key=lambda entry: (-(entry.estimate or 0.0), entry.cell))
    return {
        "message": f"{done} of {sum(len(row.shards) for row in wanted)} shards have ended; decided when the run has",
        "cells": len(meant),
        "evidence": tuple(evidence[:MAX_EVIDENCE]),
    }


def _looks(statement: Statement, row: CellRow, other: CellRow | None) -> Evidence | None:
    """Return how the mean latency of a row looks, by the shards that have ended."""
    mean, shards = row.latency_microseconds, _timed(row)
    if mean is None:
        return None
    if statement.against.bound is not None:
        return Evidence(cell=row.id, verdict="Unknown", unit="microseconds", estimate=float(mean), shards=shards)
    if other is None or not other.latency_microseconds:
        return None
    change = _rounded(mean / other.latency_microseconds - 1)
    return Evidence(
        cell=row.id, verdict="Unknown", unit="share", estimate=change, shards=shards, against_shards=_timed(other)
    )


def _timed(row: CellRow) -> int:
    return sum(shard.outcome is Outcome.SUCCEEDED and shard.latency_microseconds is not None for shard in row.shards)


def _gate_status(found: analysis.GateVerdict) -> GateStatus:
    return GateStatus(
        name=found.gate.name,
        verdict=found.verdict.value,
        reason=found.reason,
        message=_message(found.gate, found.evidence),
        passed=_count(found.evidence, "Pass"),
        cells=len(found.evidence),
        evidence=_shown(found.gate, found.evidence),
    )


def _hypothesis_status(found: analysis.HypothesisVerdict) -> HypothesisStatus:
    return HypothesisStatus(
        name=found.hypothesis.name,
        role=found.hypothesis.role,
        verdict=found.verdict.value,
        reason=found.reason,
        message=_message(found.hypothesis, found.evidence),
        supported=_count(found.evidence, "Pass"),
        cells=len(found.evidence),
        evidence=_shown(found.hypothesis, found.evidence, with_p=True),
    )


def _count(evidence: Iterable[analysis.Evidence], verdict: str) -> int:
    return sum(entry.verdict == verdict for entry in evidence)


_ORDER: Final = ("Fail", "Inconclusive", "Pass")


def _sorted(statement: Statement, evidence: Iterable[analysis.Evidence]) -> list[analysis.Evidence]:
    """Return what decides first: failed, inconclusive, passed, and within these what looks worst."""
    sign = 1.0 if statement.test == "AtLeast" else -1.0

    def key(entry: analysis.Evidence) -> tuple[int, float, str]:
        value = entry.found.value if entry.found is not None else 0.0
        if statement.test == "NoWorseThan" and entry.compared is not None and entry.compared.worsening is not None:
            # Of metrics of which more is better the change says the contrary.
            value = entry.compared.worsening.value
        badness = -abs(value) if statement.test == "Equivalent" else sign * value
        return _ORDER.index(entry.verdict), badness, entry.cell.id

    return sorted(evidence, key=key)


def _shown(
    statement: Statement, evidence: Iterable[analysis.Evidence], *, with_p: bool = False
) -> tuple[Evidence, ...]:
    return tuple(_to_status(entry, with_p=with_p) for entry in _sorted(statement, evidence)[:MAX_EVIDENCE])


def _to_status(entry: analysis.Evidence, *, with_p: bool) -> Evidence:
    found = entry.found
    return Evidence(
        cell=entry.cell.id,
        verdict=entry.verdict.value,
        unit=entry.unit if found is not None else None,
        estimate=_rounded(found.value) if found is not None else None,
        low=_rounded(found.low) if found is not None else None,
        high=_rounded(found.high) if found is not None else None,
        shards=entry.shards,
        against_shards=entry.against_shards,
        gpus=entry.gpus,
        device=", ".join(entry.products)[:64] or None,
        p_ppm=round(entry.p * 1_000_000) if with_p and entry.p is not None and math.isfinite(entry.p) else None,
        reason=entry.reason[:64] if entry.reason else None,
        decides=entry.decides[:256] if entry.decides else None,
    )


def _rounded(figure: float | None) -> float | None:
    """Return six significant digits; None for what is no number."""
    return None if figure is None or not math.isfinite(figure) else float(f"{figure:.6g}")


def _message(statement: Statement, evidence: Sequence[analysis.Evidence]) -> str:
    """Return the verdict in words: what was asked, how many cells pass, and the cell that decides."""
    asked = _asked(statement)
    if not evidence:
        return f"{asked}: no cell of the run is meant"
    first = _sorted(statement, evidence)[0]
    text = f"{asked}: {_count(evidence, 'Pass')} of {len(evidence)} cells pass; {first.cell.label}: {_story(first)}"
    others = sum(_is_doubtful(entry) for entry in evidence if entry is not first)
    if others:
        text += f"; intervals of {others} other cell{'s' if others > 1 else ''} are with outliers as well"
    return text[:512]


def _asked(statement: Statement) -> str:
    against = statement.against
    if against.bound is not None:
        return f"{statement.metric} {statement.test} {against.bound}"
    other = f"variant {against.variant}" if against.variant is not None else f"baseline {against.baseline}"
    return f"{statement.metric} {statement.test} {other}, margin {statement.margin}"


def _story(entry: analysis.Evidence) -> str:
    parts = []
    found, unit = entry.found, entry.unit or ""
    if found is not None:
        text = _figure(found.value, unit)
        if found.low is not None and found.high is not None:
            doubt = "; with outliers it may cover less" if _is_doubtful(entry) else ""
            text += f" (95 % interval {_figure(found.low, unit)} to {_figure(found.high, unit)}{doubt})"
        parts.append(f"{text}{_place(entry)}")
    if entry.reason is not None:
        parts.append(f"{entry.reason}{f': {entry.message}' if entry.message else ''}")
    if entry.decides is not None:
        parts.append(f"would decide: {entry.decides}")
    return "; ".join(parts) or entry.verdict.value


def _is_doubtful(entry: analysis.Evidence) -> bool:
    """Whether rare slow samples decide a mean: its interval may cover less than it says. One process decides nothing anyway."""
    return entry.found is not None and entry.found.low is not None and "Outliers" in entry.doubts


def _place(entry: analysis.Evidence) -> str:
    """Speak of a product from three GPUs on, and of the GPUs that were seen below that."""
    product = ", ".join(entry.products)
    if not product:
        return ""
    if entry.gpus is None:
        return f" on {product}"
    gpus = f"{entry.gpus} GPU{'s' if entry.gpus > 1 else ''}"
    return f" for {product} ({gpus})" if entry.scope == "Product" else f" on {gpus} ({product})"


_SCALES: Final = {"microseconds": (1e6, "s"), "millijoules": (1e3, "J"), "bytes": (2.0**20, "MiB")}


def _figure(value: float, unit: str) -> str:
    if unit == "share":
        digits = 1 if abs(value) >= 0.1 else 2
        return f"{round(value * 100, digits) + 0.0:+.{digits}f} %"
    scale, name = _SCALES.get(unit, (1.0, ""))
    return f"{value / scale:.4g}{f' {name}' if name else ''}"
