"""Which shards of a new run need not be measured, because the ledger holds what they would give.

A result stands for a shard if what decides pixels (generation hash) and what decides time (environment hash, as all
nodes of the hardware entry show it) are the same, if it succeeded, is Valid and young enough. Never one of a service, which
changes unseen, nor of a mock. Says why where it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vidbench_api.names import Comparability, Outcome, Validity
from vidbench_api.request import Cell, RequestDocument
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import Reuse

from .environment import common_environment
from .observed import ObservedNode
from .timestamps import parse_time

_NAMED_RUNS = 3


@dataclass(frozen=True)
class Reusable:
    """Results that stand for shards, by cell id and shard; `message` says whose, and why not more."""

    shards: Mapping[tuple[str, int], tuple[str, BenchmarkResultSpec]] = field(default_factory=dict)
    message: str | None = None


def find_reusable(
    document: RequestDocument,
    policy: Reuse,
    ledger: Mapping[str, BenchmarkResultSpec],
    nodes: Mapping[str, ObservedNode] | None,
    now: float,
) -> Reusable:
    """Match shards with results of the run's namespace, the newest first. No result stands for two shards."""
    if policy.policy == "Never":
        return Reusable()
    shards: dict[tuple[str, int], tuple[str, BenchmarkResultSpec]] = {}
    reasons: dict[str, None] = {}
    for cell in document.cells:
        hardware = document.find_hardware(cell.hardware)
        environment = common_environment(nodes, hardware, document.runner_class.image)
        if environment.digest is None:
            reasons[environment.why] = None
            continue
        taken = {name for name, _ in shards.values()}
        rest = {name: spec for name, spec in ledger.items() if name not in taken}
        fitting = _fitting(cell, document, policy, rest, environment.digest, now)
        if len(fitting) < document.shards:
            reasons[f"{cell.model}/{cell.hardware}/{cell.variant}: {_why(cell, ledger, len(fitting))}"] = None
        shards.update({(cell.id, index): entry for index, entry in enumerate(fitting[: document.shards], start=1)})
    return Reusable(shards, _message(document, shards, tuple(reasons)))


def _fitting(
    cell: Cell,
    document: RequestDocument,
    policy: Reuse,
    ledger: Mapping[str, BenchmarkResultSpec],
    environment: str,
    now: float,
) -> list[tuple[str, BenchmarkResultSpec]]:
    def fits(spec: BenchmarkResultSpec) -> bool:
        ended_at = parse_time(spec.origin.finished_at)
        return (
            spec.generation_hash == cell.generation_hash
            and spec.environment_hash == environment
            and spec.outcome is Outcome.SUCCEEDED
            and spec.validity.state is Validity.VALID
            and spec.rung is None
            and spec.comparability is Comparability.DEVICE
            and (spec.setup is None or _warmed_up(spec.setup.warmups, document))
            and _measured_as_asked(spec, document)
            and ended_at is not None
            and now - ended_at <= policy.max_age_seconds
        )

    found = [(name, spec) for name, spec in ledger.items() if fits(spec)]
    return sorted(found, key=lambda entry: (-(parse_time(entry[1].origin.finished_at) or 0.0), entry[0]))


def _warmed_up(warmups: int, document: RequestDocument) -> bool:
    most = document.warmup if document.warmup_max is None else document.warmup_max
    return document.warmup <= warmups <= most


def _measured_as_asked(spec: BenchmarkResultSpec, document: RequestDocument) -> bool:
    """Whether the result's plan gave what this run's plan would accept. A result that states none is of plan Fixed."""
    protocol = spec.protocol
    if document.precision is None:
        return document.plan == (protocol.plan if protocol is not None else "Fixed")
    return (
        protocol is not None
        and protocol.plan == "Precision"
        and protocol.metric == document.precision.metric
        and protocol.half_width_ppm is not None
        and protocol.half_width_ppm <= document.precision.parts_per_million
        and spec.samples_done >= document.required_samples()
    )


def _why(cell: Cell, ledger: Mapping[str, BenchmarkResultSpec], fitting: int) -> str:
    if cell.comparability is not Comparability.DEVICE:
        return f"results of a {cell.comparability.lower()} are never reused"
    same = sum(spec.generation_hash == cell.generation_hash for spec in ledger.values())
    if not same:
        return "no result of the same model, variant, prompts, seeds and image"
    return f"{fitting} of {same} results of the same content are valid, young enough and of the same hardware"


def _message(
    document: RequestDocument,
    shards: Mapping[tuple[str, int], tuple[str, BenchmarkResultSpec]],
    reasons: tuple[str, ...],
) -> str:
    total = len(document.cells) * document.shards
    text = f"{len(shards)} of {total} shards show results of earlier runs"
    if shards:
        text += f" ({_named(spec.run.name for _, spec in shards.values())})"
    if reasons:
        text += f"; not the others: {'; '.join(reasons[:_NAMED_RUNS])}"
        text += f"; and {len(reasons) - _NAMED_RUNS} more reasons" if len(reasons) > _NAMED_RUNS else ""
    return text[:1024]


def _named(names: Iterable[str]) -> str:
    known = sorted(set(names))
    rest = f" and {len(known) - _NAMED_RUNS} more" if len(known) > _NAMED_RUNS else ""
    return ", ".join(known[:_NAMED_RUNS]) + rest
