"""A run as a document for a paper: question, methods, results, tests, what does not count and why, limits, provenance.

Everything follows from the objects that are given, the dates too: the same input gives the same document. Nothing here
decides: intervals, tests and verdicts are those of `intervals`, `comparison` and `gates`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vidbench_analysis.gates import Evidence, HypothesisVerdict, evaluate_hypotheses
from vidbench_analysis.intervals import CONFIDENCE, Doubt, Estimate, estimate
from vidbench_analysis.metrics import METRICS, Metric, Pairing
from vidbench_analysis.multiplicity import holm
from vidbench_analysis.observations import CellObservations, PromptAndSeed, observe
from vidbench_analysis.references import Cell, Seen
from vidbench_analysis.side_by_side import Axis, Row, compare_pairs, has_metric, line_up, split
from vidbench_analysis.units import Scope
from vidbench_api.gates import Hypothesis, Statement
from vidbench_api.identity import canonical_json, digest_of
from vidbench_api.names import Comparability
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec

from .beyond_means import OBJECTIVES, fleet_blocks, frontier_blocks, percentile_blocks
from .document import Block, Bullet, Bullets, Column, Document, Heading, Paragraph, Table
from .figures import NOT_KNOWN, change_share, change_text, effect_text, estimate_text, figure_text, p_text, share_text

_SHOWN = 12
"""Names that a line lists; of more it says how many."""


@dataclass(frozen=True)
class Study:
    """All that a report is made of. `samples` are those of the request, empty where it is not known."""

    name: str
    uid: str
    namespace: str
    spec: BenchmarkRunSpec
    cells: tuple[Cell, ...]
    baselines: Mapping[str, tuple[BenchmarkResultSpec, ...]] = field(default_factory=dict)
    samples: Sequence[PromptAndSeed] = ()
    metrics: tuple[Metric, ...] = tuple(METRICS.values())
    objectives: tuple[Metric, ...] = OBJECTIVES
    """At most three, each with a better direction: what the frontier is over."""

    @property
    def results(self) -> tuple[BenchmarkResultSpec, ...]:
        """Return all results of the run."""
        return tuple(result for cell in self.cells for result in cell.results)


def research_report(study: Study) -> Document:
    """Return the report."""
    observed = {cell.id: _observed(study, cell) for cell in study.cells}
    return Document(
        f"Benchmark report: {study.name}",
        (
            *_question(study),
            *_methods(study),
            *_results(study, observed),
            *_tests(study),
            *_exploration(study),
            *frontier_blocks(_by_label(study), _samples(study), study.objectives),
            *fleet_blocks(tuple(observed.values())),
            *_validity(study, observed),
            *_limits(study, observed),
            *_provenance(study),
        ),
    )


def statement_text(statement: Statement) -> str:
    """Return what a hypothesis says, in a sentence."""
    against = statement.against
    other = (
        against.bound
        if against.bound is not None
        else f"variant {against.variant}"
        if against.variant is not None
        else f"baseline {against.baseline}"
    )
    words = {
        "NoWorseThan": "is no worse than",
        "Equivalent": "is equivalent to",
        "AtMost": "is at most",
        "AtLeast": "is at least",
    }
    margin = f", by a margin of {statement.margin}" if statement.margin else ""
    where = statement.where
    cells = [
        f"{what} {', '.join(names)}"
        for what, names in (("models", where.models), ("hardware", where.hardware), ("variants", where.variants))
        if names
    ]
    return f"{statement.metric} {words[statement.test]} {other}{margin}, for {'; '.join(cells) or 'every cell'}"


def _observed(study: Study, cell: Cell) -> CellObservations:
    return observe(cell.results, samples=_samples(study), label=cell.label)


def _samples(study: Study) -> dict[str, Sequence[PromptAndSeed]] | None:
    digests = {result.request_digest for result in study.results}
    return dict.fromkeys(digests, study.samples) if study.samples else None


def _by_label(study: Study) -> dict[str, tuple[BenchmarkResultSpec, ...]]:
    return {cell.label: cell.results for cell in study.cells}


def _question(study: Study) -> Iterable[Block]:
    hypotheses = study.spec.analysis.hypotheses
    yield Heading("Question")
    if not hypotheses:
        yield Paragraph(
            "No hypothesis was registered with the run (spec.analysis). All that follows is exploratory: it may suggest a"
            " hypothesis for another run, and confirms none."
        )
        return
    yield Paragraph(
        "The hypotheses were written into the run before it began and could not be changed after that (spec.analysis is immutable)."
    )
    yield Table(
        "Hypotheses",
        (Column("name"), Column("role"), Column("statement")),
        tuple((entry.name, entry.role, statement_text(entry)) for entry in hypotheses),
    )


def _methods(study: Study) -> Iterable[Block]:
    spec = study.spec
    measurement = spec.measurement
    yield Heading("Methods")
    yield Bullets(
        (
            Bullet(f"{len(study.cells)}, of {_list(model.name for model in spec.models)}", term="Cells"),
            Bullet(_list(_hardware(study)), term="Hardware"),
            Bullet(_list(variant.name for variant in spec.variants), term="Variants"),
            Bullet(_workload(spec), term="Workload"),
            Bullet(
                f"plan {measurement.plan}, {measurement.shards} shards a cell, each a process of its own; warm-up"
                f" {measurement.warmup.min} to {measurement.warmup.max or measurement.warmup.min}; pairing {measurement.pairing};"
                f" GPUs of others: {spec.validity.exclusive_gpu}; Invalid shards: {spec.validity.on_invalid}",
                term="Measurement",
            ),
            Bullet(
                "samples of one process are not independent. A shard counts once, by its mean; a GPU once, where shards share some"
                " of three or more; for quality a prompt.",
                term="Unit",
            ),
            Bullet(
                f"{CONFIDENCE:.0%} by Student's t on the units. Of one process alone they are of that process, and nothing is"
                " concluded from them.".replace("%", " %"),
                term="Intervals",
            ),
            Bullet(
                "Welch's t, within GPUs where both sides ran on the same ones, paired by prompt for quality; times, energy and memory"
                " as logarithms, so that ratios are of geometric means; equivalence by two one-sided tests; effect size: Hedges' g.",
                term="Tests",
            ),
            Bullet(
                "by Holm over all tests of the hypotheses of one role"
                if spec.analysis.correction == "Holm"
                else "none, as the run says",
                term="Correction",
            ),
        )
    )


def _hardware(study: Study) -> Iterable[str]:
    for entry in study.spec.hardware:
        seen = sorted(
            {
                result.environment.device
                for result in study.results
                if result.environment is not None and result.cell.hardware == entry.name
            }
        )
        yield f"{entry.name} ({entry.gpus} x {' or '.join(seen) or 'not seen'})"


def _workload(spec: BenchmarkRunSpec) -> str:
    workload = spec.workload
    return f"{len(workload.prompts)} prompts ({_list(prompt.id for prompt in workload.prompts)}), {workload.seeds.count} seeds from {workload.seeds.base}"


def _results(study: Study, observed: Mapping[str, CellObservations]) -> Iterable[Block]:
    yield Heading("Results")
    columns = (
        Column("cell"),
        Column("mean (95 % interval)", numeric=True),
        Column("shards", numeric=True),
        Column("GPUs", numeric=True),
        Column("samples", numeric=True),
        Column("outliers", numeric=True),
        Column("remarks"),
    )
    shown = [metric for metric in study.metrics if any(cell.reading(metric) for cell in observed.values())]
    if not shown:
        yield Paragraph("No result counts: see below what was left out and why.")
    for metric in shown:
        rows = tuple(_result_row(observed[cell.id], metric) for cell in study.cells)
        yield Table(f"{metric.name}: {metric.description}", columns, rows)
    yield from percentile_blocks([observed[cell.id] for cell in study.cells])


def _result_row(cell: CellObservations, metric: Metric) -> tuple[str, ...]:
    found = estimate(cell, metric)
    return (
        cell.label,
        estimate_text(found),
        str(found.shards),
        _gpus(cell),
        str(found.samples),
        NOT_KNOWN if found.outlier_share is None else share_text(found.outlier_share),
        _remarks(found, cell, metric),
    )


def _remarks(found: Estimate, cell: CellObservations, metric: Metric) -> str:
    parts = [found.reason] if found.reason else []
    parts += [doubt.value for doubt in found.doubts]
    if any(shard.weights_random for shard in cell.shards):
        parts.append("random weights")
    if cell.comparability not in (None, Comparability.DEVICE):
        parts.append(str(cell.comparability))
    if Doubt.OUTLIERS in found.doubts:
        parts.append(f"largest {figure_text(found.largest, metric.unit)}")
    return ", ".join(parts)


def _gpus(cell: CellObservations) -> str:
    uuids = {shard.gpu_uuid for shard in cell.shards}
    return NOT_KNOWN if None in uuids or not uuids else str(len(uuids))


def _tests(study: Study) -> Iterable[Block]:
    analysis = study.spec.analysis
    if not analysis.hypotheses:
        return
    yield Heading("Tests of the hypotheses")
    seen = Seen(
        cells=study.cells,
        baselines=study.baselines,
        samples=study.samples,
        pairing=Pairing(study.spec.measurement.pairing),
        run_uid=study.uid,
    )
    baselines = {baseline.name: baseline for baseline in study.spec.baselines}
    verdicts = evaluate_hypotheses(analysis, seen, baselines)
    raw = evaluate_hypotheses(analysis.model_copy(update={"correction": "None"}), seen, baselines)
    yield Table(
        "Verdicts",
        (
            Column("hypothesis"),
            Column("role"),
            Column("verdict"),
            Column("cells that hold", numeric=True),
            Column("reason"),
        ),
        tuple(_verdict_row(found) for found in verdicts),
    )
    yield Table(
        "Evidence: change against what is compared with, or the mean for a bound; p is one-sided against the contrary",
        (
            Column("hypothesis"),
            Column("cell"),
            Column("found (95 % interval)", numeric=True),
            Column("shards", numeric=True),
            Column("p", numeric=True),
            Column("p corrected", numeric=True),
            Column("g", numeric=True),
            Column("verdict"),
            Column("reason"),
        ),
        tuple(
            _evidence_row(found.hypothesis, entry, before)
            for found, uncorrected in zip(verdicts, raw, strict=True)
            for entry, before in zip(found.evidence, uncorrected.evidence, strict=True)
        ),
    )
    decides = [
        Bullet(entry.decides, term=f"{found.hypothesis.name}, {entry.cell.label}")
        for found in verdicts
        for entry in found.evidence
        if entry.decides and entry.verdict == "Inconclusive"
    ]
    if decides:
        yield Paragraph("What would decide where nothing is decided:")
        yield Bullets(tuple(decides))


def _verdict_row(found: HypothesisVerdict) -> tuple[str, ...]:
    held = sum(entry.verdict == "Pass" for entry in found.evidence)
    return (
        found.hypothesis.name,
        found.hypothesis.role,
        found.verdict.value,
        f"{held} of {len(found.evidence)}",
        found.reason or "",
    )


def _evidence_row(hypothesis: Hypothesis, entry: Evidence, before: Evidence) -> tuple[str, ...]:
    shards = str(entry.shards) if entry.against_shards is None else f"{entry.shards} and {entry.against_shards}"
    return (
        hypothesis.name,
        entry.cell.label,
        _found_text(entry),
        shards,
        p_text(before.p),
        p_text(entry.p),
        NOT_KNOWN if entry.compared is None else effect_text(entry.compared),
        entry.verdict.value,
        "; ".join(part for part in (entry.reason, entry.message) if part),
    )


def _found_text(entry: Evidence) -> str:
    found = entry.found
    if found is None:
        return NOT_KNOWN

    def shown(value: float) -> str:
        return change_share(value) if entry.unit == "share" else figure_text(value, entry.unit or "")

    if found.low is None or found.high is None:
        return shown(found.value)
    return f"{shown(found.value)} ({shown(found.low)} to {shown(found.high)})"


def _exploration(study: Study) -> Iterable[Block]:
    """Every other variant against the first: what was not asked in advance, and is said so."""
    sides = {side.label: side for side in split(study.results, Axis.VARIANT)}
    order = [variant.name for variant in study.spec.variants if variant.name in sides]
    if len(order) < 2:
        return
    reference = sides[order[0]]
    pairs = [
        pair
        for name in order[1:]
        for pair in line_up(sides[name], reference, (Axis.MODEL, Axis.HARDWARE))
        if pair.subject.results and pair.reference.results
    ]
    metrics = [metric for metric in study.metrics if not metric.is_quality]
    pairing = Pairing(study.spec.measurement.pairing)
    rows = [row for row in compare_pairs(pairs, metrics, {}, pairing) if has_metric(row)]
    if not rows:
        return
    adjusted = holm({str(at): row.comparison.p for at, row in enumerate(rows) if row.comparison.p is not None})
    yield Heading(f"Exploration: variants against {reference.label}")
    yield Paragraph(
        "These comparisons were not registered in advance. p is two-sided; the corrected one is by Holm over this table."
    )
    yield Table(
        "Variants",
        (
            Column("cell"),
            Column("variant"),
            Column("metric"),
            Column("change (95 % interval)", numeric=True),
            Column("p", numeric=True),
            Column("p corrected", numeric=True),
            Column("g", numeric=True),
            Column("verdict"),
            Column("reason"),
        ),
        tuple(_exploration_row(row, adjusted.get(str(at))) for at, row in enumerate(rows)),
    )


def _exploration_row(row: Row, adjusted: float | None) -> tuple[str, ...]:
    found = row.comparison
    return (
        row.pair.label,
        row.pair.subject.label,
        row.metric.name,
        change_text(found),
        p_text(found.p),
        p_text(adjusted),
        effect_text(found),
        found.verdict.value,
        found.reason.value if found.reason else "",
    )


def _validity(study: Study, observed: Mapping[str, CellObservations]) -> Iterable[Block]:
    yield Heading("Validity, and what was left out")
    counted = sum(len(cell.shards) for cell in observed.values())
    yield Paragraph(
        f"Of {len(study.results)} results of {len(study.cells)} cells {counted} count."
        " A result counts if its shard succeeded and its measurement is valid."
    )
    rows = tuple(
        (cell.label, left.reason.value, str(left.count), ", ".join(left.details))
        for cell in observed.values()
        for left in cell.left_out
    )
    if rows:
        columns = (Column("cell"), Column("reason"), Column("results", numeric=True), Column("details"))
        yield Table("Results that were left out", columns, rows)
    missing = [cell.label for cell in study.cells if not cell.results]
    if missing:
        yield Paragraph(f"Cells without any result: {_list(missing)}.")
    notes = Counter(note for result in study.results for note in result.validity.notes)
    if notes:
        yield Paragraph("Notes on results that count (docs/validity.md has every word):")
        yield Bullets(tuple(Bullet(f"{notes[note]} results", term=note) for note in sorted(notes)))
    absent = [
        (metric, cell.label, reason)
        for metric in study.metrics
        if any(other.reading(metric) for other in observed.values())
        for cell in observed.values()
        if (reason := cell.why_absent(metric)) is not None
    ]
    if absent:
        yield Table(
            "What was not measured in some cells",
            (Column("metric"), Column("cell"), Column("reason")),
            tuple((metric.name, label, reason) for metric, label, reason in absent),
        )


def _limits(study: Study, observed: Mapping[str, CellObservations]) -> Iterable[Block]:
    yield Heading("Limits")
    cells = [cell for cell in observed.values() if cell.shards]
    found = {scope: [cell.label for cell in cells if _scope(cell) == scope] for scope in Scope}
    limits = []
    if found[Scope.PROCESS]:
        limits.append(
            Bullet(
                f"{_list(found[Scope.PROCESS])}: another process may differ by more than the interval says.",
                term="One process",
            )
        )
    if found[Scope.DEVICES]:
        limits.append(
            Bullet(
                f"{_list(found[Scope.DEVICES])}: fewer than three GPUs of one product were seen, so figures are of these GPUs and not of the product.",
                term="These GPUs",
            )
        )
    limits += [bullet for condition, bullet in _circumstances(study, cells) if condition]
    limits.append(
        Bullet("figures are of this workload; other prompts, sizes and step counts were not measured.", term="Workload")
    )
    yield Bullets(tuple(limits))


def _circumstances(study: Study, cells: Sequence[CellObservations]) -> Iterable[tuple[bool, Bullet]]:
    shards = [shard for cell in cells for shard in cell.shards]
    yield (
        any(shard.weights_random for shard in shards),
        Bullet(
            "time, memory and energy are those of the configuration; quality was not compared.", term="Random weights"
        ),
    )
    yield (
        any(cell.comparability == Comparability.SERVICE for cell in cells),
        Bullet(
            "queues, network and other clients are in the figures of services; they are compared with no device.",
            term="Services",
        ),
    )
    yield (
        not study.samples
        and any(cell.reading(metric) for cell in cells for metric in study.metrics if metric.is_quality),
        Bullet(
            "the request document was not given, so that samples could not be told by prompt; quality has no intervals.",
            term="Prompts",
        ),
    )
    yield (
        study.spec.measurement.plan == "Precision",
        Bullet(
            "shards stopped when their own mean was known well enough; their numbers of samples differ.",
            term="Stopping",
        ),
    )
    runs = {result.run.uid for result in study.results}
    yield len(runs) > 1, Bullet("some results were measured by earlier runs and reused.", term="Reuse")


def _scope(cell: CellObservations) -> Scope | None:
    from vidbench_analysis.units import scope_of

    return scope_of(cell.shards) if cell.shards else None


_VERSIONS: Mapping[str, Callable[[BenchmarkResultSpec], str | None]] = {
    "Devices": lambda result: result.environment.device if result.environment else None,
    "GPU UUIDs": lambda result: result.environment.gpu_uuid if result.environment else None,
    "Nodes": lambda result: result.origin.node,
    "Drivers": lambda result: result.environment.driver if result.environment else None,
    "CUDA": lambda result: result.environment.cuda if result.environment else None,
    "PyTorch": lambda result: result.environment.torch if result.environment else None,
    "diffusers": lambda result: result.environment.diffusers if result.environment else None,
    "vidbench": lambda result: result.environment.vidbench if result.environment else None,
    "Images": lambda result: result.origin.image_id,
    "Request digests": lambda result: result.request_digest,
}


def _provenance(study: Study) -> Iterable[Block]:
    results = study.results
    spans = sorted(
        moment for result in results for moment in (result.origin.started_at, result.origin.finished_at) if moment
    )
    yield Heading("Provenance")
    yield Bullets(
        (
            Bullet(f"{study.name} in namespace {study.namespace}, UID {study.uid}", term="Run"),
            Bullet(f"{spans[0]} to {spans[-1]}" if spans else NOT_KNOWN, term="Measured"),
            *(Bullet(_list(_values(results, read)), term=name) for name, read in _VERSIONS.items()),
            Bullet(digest_of(canonical_json(study.spec.to_wire())), term="SHA-256 of the spec"),
            Bullet(
                digest_of("".join(sorted(canonical_json(result.to_wire()) for result in results))),
                term="SHA-256 of the results",
            ),
            *(
                Bullet(
                    f"{len(found)} results of {_list(sorted({result.run.name for result in found}))}",
                    term=f"Baseline {name}",
                )
                for name, found in sorted(study.baselines.items())
            ),
        )
    )
    yield Table(
        "What decides pixels (generation hash), by cell",
        (Column("cell"), Column("generation hash"), Column("clip")),
        tuple((cell.label, ", ".join(_hashes(cell)) or NOT_KNOWN, _clip(cell)) for cell in study.cells),
    )


def _hashes(cell: Cell) -> list[str]:
    return sorted({result.generation_hash[:16] for result in cell.results} or ({cell.generation_hash[:16]} - {""}))


def _clip(cell: Cell) -> str:
    clips = {
        f"{clip.width}x{clip.height}, {clip.frames_requested} frames, {clip.steps} steps"
        for result in cell.results
        if (clip := result.clip) is not None
    }
    return " or ".join(sorted(clips)) or NOT_KNOWN


def _values(results: Iterable[BenchmarkResultSpec], read: Callable[[BenchmarkResultSpec], str | None]) -> list[str]:
    return sorted({value for result in results if (value := read(result)) is not None})


def _list(names: Iterable[str]) -> str:
    found = list(names)
    rest = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (", ".join(found[:_SHOWN]) + rest) or NOT_KNOWN
