"""What a seed begins with: runs, nodes, what the names of the runs resolve to, and how often things go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from support.builders import NOW, observed_run, references, run_spec

from vidbench_operator.core.observed import ObservedNode, ObservedRun, References

LONG = 100_000
SHORT = 400
TIMEOUTS = {
    "schedulingSeconds": 60,
    "imagePullSeconds": 60,
    "loadSeconds": 60,
    "shardSeconds": 120,
    "noProgressSeconds": 60,
}
LONGEST_ATTEMPT = 60 + 60 + 120 + 400 + 300
"""Seconds that an attempt may take with all limits of ours and of the cluster, and the longest wait before it."""

MODELS = ("wan", "ltx", "hunyuan")


@dataclass(frozen=True)
class Scenario:
    """What a seed begins with."""

    runs: tuple[ObservedRun, ...]
    references: tuple[References, ...]
    broken: tuple[str | None, ...]
    nodes: tuple[ObservedNode, ...]
    calm: float
    """Share of pods that succeed if nothing else happens."""

    unhappy_model: str | None
    """A model that always runs out of memory."""

    unhappy_node: str | None
    """A node whose GPU is faulty."""

    replicas: int
    """Operators that act at the same time from the start."""

    restores: bool
    """Whether the world is put right at the end; else every run has to end by its limits."""


def make_scenario(chance: Random) -> Scenario:
    """Return the scenario of a seed: mostly one run, sometimes two, sometimes beside one that cannot be read."""
    runs = [make_run(chance, "nightly", 0)]
    broken: list[str | None] = [None]
    if chance.random() < 0.2:
        runs.append(make_run(chance, "weekly", 1))
        broken.append("spec.models: a field of another version" if chance.random() < 0.5 else None)
    found = tuple(
        references(run.spec) if chance.random() < 0.9 else References(None, references(run.spec).models) for run in runs
    )
    nodes = tuple(make_node(f"node-{number}", chance.choice((1, 2, 8))) for number in range(chance.choice((1, 2, 3))))
    return Scenario(
        runs=tuple(runs),
        references=found,
        broken=tuple(broken),
        nodes=nodes,
        calm=chance.choice((0.9, 0.6, 0.3)),
        unhappy_model=chance.choice(MODELS) if chance.random() < 0.15 else None,
        unhappy_node=chance.choice(nodes).name if chance.random() < 0.15 else None,
        replicas=chance.choice((1, 1, 2)),
        restores=chance.random() < 0.7,
    )


def make_run(chance: Random, name: str, number: int) -> ObservedRun:
    """Return a run of one to six cells with one to three shards each, that was just created."""
    models = list(MODELS[: chance.choice((1, 1, 2, 3))])
    hardware: list[dict[str, Any]] = [{"name": "gpu", "gpus": chance.choice((1, 1, 2))}]
    if chance.random() < 0.3:
        hardware.append({"name": "cpu", "gpus": 0})
    spec = run_spec(
        models=models,
        hardware=hardware,
        measurement={"shards": chance.choice((1, 1, 2, 3)), "pairing": chance.choice(("None", "None", "None", "Node"))},
        parallelism=chance.choice((0, 1, 2, 4, 8)),
        failurePolicy={
            "infrastructureRetries": chance.choice((0, 1, 3)),
            "unknownRetries": chance.choice((0, 1)),
            "outOfMemory": chance.choice(("Record", "Record", "Fallback")),
            "maxFailedCells": chance.choice(("100%", "100%", "30%")),
        },
        autoscaling={"mode": chance.choice(("Capacity", "Off"))},
        scheduling={"queueName": "gpus"} if chance.random() < 0.15 else {},
        artifacts={"storageUri": "claim://videos"} if chance.random() < 0.25 else {},
        reuse={"policy": chance.choice(("Never", "IfIdentical"))},
        timeouts=TIMEOUTS | {"runSeconds": chance.choice((LONG, LONG, SHORT))},
        ttl=chance.choice(({}, {"jobsSeconds": 0, "failedJobsSeconds": 0}, {"jobsSeconds": 30, "runSeconds": 60})),
    )
    uid = f"0d9c2f5e-0000-4000-8000-{number:012d}"
    return observed_run(spec, name=name, uid=uid, created_at=NOW)


def make_node(name: str, gpus: int) -> ObservedNode:
    """Return a ready node."""
    return ObservedNode(name, {"kubernetes.io/hostname": name}, ready=True, allocatable={"nvidia.com/gpu": str(gpus)})
