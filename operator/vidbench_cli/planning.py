"""What a run will take, before anything of it is applied: from what is known of it to figures, each with its source.

Says the same as the operator, as both ask its core: which cells there are (`expand`), what is in the way (`preflight`), what need not be
measured (`reuse`), how long a shard takes (`estimates`). A figure that nothing is known of is None, with the reason. Pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vidbench_analysis.metrics import Pairing, find_metric
from vidbench_analysis.observations import observe
from vidbench_analysis.references import Cell as StatedCell
from vidbench_analysis.research_plan import Baselines, Prospect, foresee_gates
from vidbench_analysis.stopping import expected_half_width
from vidbench_api.accounting import ANY_DEVICE, find_price
from vidbench_api.architectures import ARCHITECTURES
from vidbench_api.figures import SECONDS_PER_HOUR
from vidbench_api.kinds import RunnerClassSpec, VideoModelSpec
from vidbench_api.names import Comparability, Outcome
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_operator.core.avoidance import usable_nodes
from vidbench_operator.core.capacity import slots_on
from vidbench_operator.core.environment import matching_nodes
from vidbench_operator.core.estimates import LedgerHead, ShardEstimate, estimate_shards
from vidbench_operator.core.expand import Accepted, Refusal, Waiting, accept
from vidbench_operator.core.observed import ObservedNode, ObservedRun, References
from vidbench_operator.core.preflight import MEMORY_LABEL, check_before_start
from vidbench_operator.core.quantities import parse_quantity
from vidbench_operator.core.results import headline_memory
from vidbench_operator.core.reuse import Reusable, find_reusable

from .texts import _, ngettext

_PRODUCT = "nvidia.com/gpu.product"
_MEBIBYTE = 1024 * 1024
_CHANNELS = 3
_NAMED_NODES = 4


@dataclass(frozen=True)
class Figure:
    """A value and where it is from; without a value, `source` is empty and `reason` says why."""

    value: float | None
    source: str = ""
    reason: str = ""

    def to_data(self) -> dict[str, float | str | None]:
        """Return the figure for JSON: null with a reason, or a value with its source."""
        if self.value is None:
            return {"value": None, "reason": self.reason}
        return {"value": self.value, "source": self.source}


def unknown(reason: str) -> Figure:
    """Return a figure that nothing is known of."""
    return Figure(None, reason=reason)


@dataclass(frozen=True)
class Knowledge:
    """What is known of the place where a run would go.

    `results` and `heads` are the ledger of its namespace, None where it cannot be read; `baselines` has the results of each baseline that could
    be read; `nodes` is None where they are not visible; `why`
    says why, by `ledger` and `nodes`; by `class` it says why the references' class is none that was read (`permissive_class`). `queue_exists` as in `check_before_start`. `now` is in seconds since the epoch.
    """

    references: References
    catalogue: Mapping[str, VideoModelSpec]
    now: float
    results: Mapping[str, BenchmarkResultSpec] | None = None
    heads: tuple[LedgerHead, ...] = ()
    baselines: Baselines = field(default_factory=dict)
    nodes: Mapping[str, ObservedNode] | None = None
    queue_exists: bool | None = None
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CellPlan:
    """One cell. Samples and warm-ups are of a shard, at least and at most; costs are of the shards that are measured."""

    cell: Cell
    shards: int
    reused: int
    samples: tuple[int, int]
    warmups: tuple[int, int]
    shard_seconds: Figure
    gpu_hours: Figure
    cost: Figure
    currency: str | None
    memory_mebibytes: Figure
    half_width: Figure
    """Of the 95 % interval of the mean latency over shards, as a share of the mean."""

    @property
    def name(self) -> str:
        """Return the cell's name for people."""
        return f"{self.cell.model}/{self.cell.hardware}/{self.cell.variant}"


@dataclass(frozen=True)
class HardwarePlan:
    """One hardware entry and the nodes that there are for it; `slots` are the shards that its empty nodes hold at once."""

    name: str
    gpus: int
    resource: str
    matching: int | None
    usable: int | None
    slots: int | None
    nodes: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class DiskPlan:
    """Bytes at one place."""

    what: str
    where: str
    size: Figure


@dataclass(frozen=True)
class RunPlan:
    """The whole plan. `obstacle` is what the operator would say instead of accepting the run; `waits` whether it would wait for it."""

    run: str
    namespace: str
    obstacle: str | None = None
    waits: bool = False
    reason: str | None = None
    cells: tuple[CellPlan, ...] = ()
    hardware: tuple[HardwarePlan, ...] = ()
    disk: tuple[DiskPlan, ...] = ()
    reuse: str | None = None
    gpu_hours: Figure = Figure(None)
    costs: Mapping[str, Figure] = field(default_factory=dict)
    """By currency."""
    gates: tuple[Prospect, ...] = ()
    """The chance of each gate to pass for each cell, by the spread of earlier results of the same clip."""

    @property
    def shards(self) -> int:
        """Return how many shards there are, reused ones included."""
        return sum(cell.shards for cell in self.cells)

    @property
    def reused(self) -> int:
        """Return how many of them would be taken from the ledger."""
        return sum(cell.reused for cell in self.cells)


def plan_run(run: ObservedRun, known: Knowledge) -> RunPlan:
    """Plan a run that does not exist yet. Without its class its cells are planned as far as they go: it will be waited for."""
    outcome = accept(run, known.references, known.catalogue, known.now)
    missing = outcome if isinstance(outcome, Waiting) and known.references.runner_class is None else None
    if missing is not None:
        known = replace(
            known,
            references=replace(known.references, runner_class=permissive_class()),
            why={**known.why, "class": missing.message},
        )
        outcome = accept(run, known.references, known.catalogue, known.now)
    if not isinstance(outcome, Accepted):
        return _obstructed(run, missing or outcome)
    document = outcome.document
    obstacle = missing or check_before_start(run.spec, document, known.nodes, known.queue_exists)
    reusable = find_reusable(document, run.spec.reuse, known.results or {}, known.nodes, known.now)
    estimates = estimate_shards(document, known.heads)
    cells = tuple(_cell_plan(cell, document, known, estimates.get(cell.id), reusable) for cell in document.cells)
    return RunPlan(
        run=run.name,
        namespace=run.namespace,
        obstacle=obstacle.message if obstacle else None,
        waits=isinstance(obstacle, Waiting),
        reason=obstacle.reason.value if obstacle else None,
        cells=cells,
        hardware=tuple(_hardware_plan(entry.name, document, known) for entry in document.hardware),
        disk=_disk(document, cells, known),
        reuse=reusable.message,
        gpu_hours=_total([(cell.name, cell.gpu_hours) for cell in cells]),
        costs=_costs(cells),
        gates=_gates(run, document, known),
    )


def _obstructed(run: ObservedRun, outcome: Waiting | Refusal) -> RunPlan:
    return RunPlan(run.name, run.namespace, outcome.message, isinstance(outcome, Waiting), outcome.reason.value)


def _cell_plan(
    cell: Cell, document: RequestDocument, known: Knowledge, estimate: ShardEstimate | None, reusable: Reusable
) -> CellPlan:
    reused = sum(key[0] == cell.id for key in reusable.shards)
    seconds = _shard_seconds(cell, document, known, estimate)
    measured = document.shards - reused
    gpus = document.find_hardware(cell.hardware).gpus
    earlier = _earlier(cell, known.results or {})
    gpu_hours = _gpu_hours(seconds, _start_seconds(cell, known.results or {}), measured, gpus)
    cost, currency = _cost(cell, document, known, earlier, measured, gpu_hours)
    most_warmups = document.warmup if document.warmup_max is None else document.warmup_max
    return CellPlan(
        cell=cell,
        shards=document.shards,
        reused=reused,
        samples=(document.required_samples(), len(document.samples())),
        warmups=(document.warmup, max(document.warmup, most_warmups)),
        shard_seconds=seconds,
        gpu_hours=gpu_hours,
        cost=cost,
        currency=currency,
        memory_mebibytes=_memory(cell, gpus, earlier),
        half_width=_half_width(cell, document, known, earlier),
    )


def _shard_seconds(cell: Cell, document: RequestDocument, known: Knowledge, estimate: ShardEstimate | None) -> Figure:
    if estimate is not None:
        text = ngettext(
            "ledger: {count} result of the same names",
            "ledger: median of {count} results of the same names, {shortest} to {longest} s",
            estimate.results,
        )
        return Figure(
            estimate.seconds,
            text.format(count=estimate.results, shortest=estimate.shortest, longest=estimate.longest),
        )
    if cell.source.mock is not None:
        clips = document.required_samples() + document.warmup
        sleep = (cell.source.mock.load_milliseconds + clips * cell.source.mock.clip_milliseconds) / 1000
        return Figure(round(sleep, 3), _("model: what the mock sleeps, without the start of its process"))
    if known.results is None:
        return unknown(known.why.get("ledger", _("the ledger was not asked")))
    return unknown(_("no earlier result of this model, hardware and variant here, and no catalogue knows times"))


def _gpu_hours(seconds: Figure, start: float | None, shards: int, gpus: int) -> Figure:
    """Return what the shards hold GPUs for: from a node to a running container, and then until the runner has ended."""
    if not shards:
        return Figure(0.0, _("reused"))
    if not gpus:
        return Figure(0.0, _("the run: gpus is 0"))
    if seconds.value is None:
        return unknown(seconds.reason)
    source = seconds.source + (
        _("; without the time to a running container, which no result tells")
        if start is None
        else _("; and {start:g} s to a running container").format(start=start)
    )
    return Figure(shards * gpus * (seconds.value + (start or 0.0)) / SECONDS_PER_HOUR, source)


def _gates(run: ObservedRun, document: RequestDocument, known: Knowledge) -> tuple[Prospect, ...]:
    cells = [
        StatedCell(cell.id, cell.model, cell.hardware, cell.variant, cell.generation_hash) for cell in document.cells
    ]
    earlier = [result for cell in document.cells for result in _earlier(cell, known.results or {})]
    prospects = foresee_gates(run.spec, cells, earlier, baselines=known.baselines)
    if known.results is not None:
        return prospects
    why = known.why.get("ledger", _("the ledger was not asked"))
    return tuple(each if each.metric.pairing == Pairing.PROMPT else replace(each, reason=why) for each in prospects)


def _start_seconds(cell: Cell, results: Mapping[str, BenchmarkResultSpec]) -> float | None:
    """Return the median time from a node to a running container over results of the same names."""
    known = [
        result.figures.start_seconds
        for result in results.values()
        if (result.cell.model, result.cell.hardware, result.cell.variant) == (cell.model, cell.hardware, cell.variant)
        and result.figures is not None
        and result.figures.start_seconds is not None
    ]
    return statistics.median(known) if known else None


def _earlier(cell: Cell, results: Mapping[str, BenchmarkResultSpec]) -> tuple[BenchmarkResultSpec, ...]:
    """Return the results of the same names and the same clip: what a figure of this cell may be expected from."""

    def is_alike(result: BenchmarkResultSpec) -> bool:
        clip = result.clip
        return (
            (result.cell.model, result.cell.hardware, result.cell.variant) == (cell.model, cell.hardware, cell.variant)
            and result.rung is None
            and result.comparability is cell.comparability
            and clip is not None
            and (clip.height, clip.width, clip.frames_requested, clip.steps)
            == (cell.height, cell.width, cell.frames, cell.steps)
        )

    return tuple(result for _name, result in sorted(results.items()) if is_alike(result))


def _memory(cell: Cell, gpus: int, earlier: Sequence[BenchmarkResultSpec]) -> Figure:
    """Return what the cell needs of one shard's GPU memory."""
    if not gpus:
        return unknown(_("no GPU is asked for"))
    peaks = [
        memory.bytes / _MEBIBYTE
        for result in earlier
        if result.outcome is Outcome.SUCCEEDED
        and (memory := headline_memory(result)) is not None
        and memory.of == "Device"
    ]
    if peaks:
        text = ngettext(
            "ledger: device peak of {count} result", "ledger: highest device peak of {count} results", len(peaks)
        )
        return Figure(round(max(peaks)), text.format(count=len(peaks)))
    if cell.estimated_memory_mebibytes is not None:
        return Figure(
            cell.estimated_memory_mebibytes,
            _("model: at least; its estimatedMemoryMebibytes, or its weights alone by their counted parameters"),
        )
    return unknown(_("no earlier result, and the model states no estimatedMemoryMebibytes"))


def _half_width(
    cell: Cell, document: RequestDocument, known: Knowledge, earlier: Sequence[BenchmarkResultSpec]
) -> Figure:
    """Return t x spread / sqrt(shards), the spread being that of earlier shards' means, as a share of the mean."""
    if document.plan == "Repro":
        return unknown(_("plan Repro is never timed"))
    if cell.comparability is Comparability.MOCK:
        return unknown(_("a mock times nothing"))
    if document.shards < 2:
        return unknown(
            _("one shard says nothing about another process (OneShard): set measurement.shards to 3 or more")
        )
    if known.results is None:
        return unknown(known.why.get("ledger", _("the ledger was not asked")))
    metric = find_metric("latency")
    means = [reading.mean for _shard, reading in observe(earlier).reading(metric)]
    if len(means) < 2 or not statistics.fmean(means):
        text = _(
            "the spread between shards is not known: {count} earlier valid shards of the same names and clip, and 2 are needed"
        )
        return unknown(text.format(count=len(means)))
    spread = statistics.stdev(means) / statistics.fmean(means)
    return Figure(
        expected_half_width(spread, document.shards),
        _("ledger: spread of {count} earlier shards, t for {shards}").format(count=len(means), shards=document.shards),
    )


def _cost(
    cell: Cell,
    document: RequestDocument,
    known: Knowledge,
    earlier: Sequence[BenchmarkResultSpec],
    shards: int,
    gpu_hours: Figure,
) -> tuple[Figure, str | None]:
    http = cell.source.http
    if http is not None:
        if http.price_per_video is None:
            return unknown(_("the VideoModel has no source.http.pricePerVideo")), None
        videos = shards * (document.required_samples() + document.warmup)
        text = _("model: pricePerVideo x at least {videos} videos").format(videos=videos)
        return Figure(float(http.price_per_video) * videos, text), http.currency
    if not document.find_hardware(cell.hardware).gpus:
        return unknown(_("no GPU is asked for, and only GPUs have prices")), None
    if "class" in known.why:
        return unknown(known.why["class"]), None
    prices = document.runner_class.accounting.prices
    if not prices:
        return unknown(_("the runner class has no prices (accounting.prices)")), None
    device = _device(cell, document, known, earlier)
    price = find_price(prices, device or ANY_DEVICE)
    if price is None:
        where = _("GPU {device!r}").format(device=device) if device else _("a GPU whose name is not known")
        return unknown(_("the runner class has no price for {where}").format(where=where)), None
    if gpu_hours.value is None:
        return unknown(gpu_hours.reason), price.currency
    text = _("runner class: {price} {currency} a GPU-hour of {device} ({source})").format(
        price=price.per_gpu_hour, currency=price.currency, device=price.device, source=price.source
    )
    return Figure(gpu_hours.value * float(price.per_gpu_hour), text), price.currency


def _device(
    cell: Cell, document: RequestDocument, known: Knowledge, earlier: Sequence[BenchmarkResultSpec]
) -> str | None:
    """Return the GPU's name if nodes or earlier results agree on one."""
    nodes = matching_nodes(known.nodes or {}, document.find_hardware(cell.hardware))
    shown = {node.labels[_PRODUCT] for node in nodes if _PRODUCT in node.labels}
    shown = shown or {result.environment.device for result in earlier if result.environment is not None}
    return shown.pop() if len(shown) == 1 else None


def _hardware_plan(name: str, document: RequestDocument, known: Knowledge) -> HardwarePlan:
    entry = document.find_hardware(name)
    if known.nodes is None:
        why = known.why.get("nodes", _("the nodes are not visible"))
        return HardwarePlan(name, entry.gpus, entry.resource_name, None, None, None, note=why)
    matching = matching_nodes(known.nodes, entry)
    usable = usable_nodes(known.nodes, entry, document.runner_class)
    holds = [slots_on(node, entry, document.runner_class.resources) for node in usable]
    slots = sum(holds) if "class" not in known.why else None
    if not matching:
        note = _("no node matches the selector now; an autoscaler may bring one: kubectl get nodes --show-labels")
    elif not usable:
        note = _(
            "none of them takes pods: not ready, cordoned, or tainted with what hardware[].tolerations does not name"
        )
    elif slots == 0:
        note = _("none of them is large enough for a pod of this runner class: kubectl get rcl {name} -o yaml").format(
            name=document.runner_class_name
        )
    else:
        note = _memory_note(usable)
    names = tuple(node.name for node in usable[:_NAMED_NODES])
    return HardwarePlan(name, entry.gpus, entry.resource_name, len(matching), len(usable), slots, names, note)


def _memory_note(nodes: Iterable[ObservedNode]) -> str:
    shown = sorted({node.labels[MEMORY_LABEL] for node in nodes if MEMORY_LABEL in node.labels})
    return _("GPU memory by label: {sizes} MiB").format(sizes=", ".join(shown)) if shown else ""


def _disk(document: RequestDocument, cells: Sequence[CellPlan], known: Knowledge) -> tuple[DiskPlan, ...]:
    uri = document.artifacts.storage_uri
    videos = _videos(document, cells) if uri else Figure(0.0, _("the run: no artifacts.storageUri, nothing is stored"))
    places = [
        DiskPlan(_("videos"), uri or "-", videos),
        DiskPlan(_("scratch of a pod"), _("the node"), _scratch(document, known)),
    ]
    weights: dict[str, DiskPlan] = {}
    for entry in cells:
        cell = entry.cell
        if cell.source.hub is not None and cell.weights == "Pretrained" and cell.model not in weights:
            weights[cell.model] = DiskPlan(
                _("weights of {model}").format(model=cell.model), cell.source.hub.id, _weights(cell)
            )
    return (*places, *weights.values())


def _scratch(document: RequestDocument, known: Knowledge) -> Figure:
    limit = parse_quantity(document.runner_class.resources.scratch)
    if "class" in known.why or limit is None:
        return unknown(known.why.get("class", _("the runner class states none")))
    return Figure(limit, _("runner class: resources.scratch, the most that a pod may write"))


def _videos(document: RequestDocument, cells: Sequence[CellPlan]) -> Figure:
    keep = document.artifacts.keep_videos
    if keep == "None":
        return Figure(0.0, _("the run: artifacts.keepVideos is None"))
    total = 0
    for entry in cells:
        cell, shards = entry.cell, entry.shards - entry.reused
        kept = entry.samples[1] if keep == "All" else 1
        total += shards * kept * cell.height * cell.width * cell.frames * _CHANNELS
    return Figure(float(total), _("the run: at most; frames before lossless compression"))


def _weights(cell: Cell) -> Figure:
    architecture = ARCHITECTURES.get(cell.architecture.name if cell.architecture else cell.model)
    if architecture is None:
        return unknown(_("the catalogue does not know the model's components"))
    size = architecture.weights_mebibytes(cell.dtype, cell.component_dtypes) * _MEBIBYTE
    return Figure(float(size), _("catalogue: at least; counted parameters x bytes of their types as they are loaded"))


def _total(figures: Sequence[tuple[str, Figure]]) -> Figure:
    """Return the sum; if a part is not known, so is the sum, and the reason has what the others make."""
    known = [figure.value for _name, figure in figures if figure.value is not None]
    missing = [name for name, figure in figures if figure.value is None]
    if not missing:
        sources = sorted({figure.source.split(":")[0] for _name, figure in figures if figure.source})
        return Figure(sum(known), ", ".join(sources))
    text = _("not known of {count} of {all} cells, e.g. {name}; the others: {sum:.3f}")
    return unknown(text.format(count=len(missing), all=len(figures), name=missing[0], sum=sum(known)))


def _costs(cells: Sequence[CellPlan]) -> dict[str, Figure]:
    """Return the cost by currency, of the cells that have one."""
    by_currency: dict[str, list[tuple[str, Figure]]] = {}
    for cell in cells:
        if cell.currency is not None:
            by_currency.setdefault(cell.currency, []).append((cell.name, cell.cost))
    return {currency: _total(figures) for currency, figures in sorted(by_currency.items())}


def permissive_class() -> RunnerClassSpec:
    """Return a class that allows everything, to look at a run where its class cannot be read. Its image is none."""
    return RunnerClassSpec.model_validate({
        "image": "unknown",
        "allowedResourceNames": ["*"],
        "allowedPriorityClasses": ["*"],
    })  # fmt: skip
