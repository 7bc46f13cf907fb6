"""A run as its user wrote it to the run that one machine can measure, with a note for all that this changes. Pure.

What pods, nodes and queues alone can do is taken out of the spec, so that the run that is stored says under what it was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vidbench_api.kinds import EnvVar, Resources, RunnerClassSpec, VideoModelSpec
from vidbench_api.run_spec import BenchmarkRunSpec, Hardware
from vidbench_api.services import ServiceAccess
from vidbench_cli.texts import _

from .machine import GPU_RESOURCE, Machine

ARTIFACTS: Final = "claim://local"
"""Where results say that artifacts are; it stands for the folder `artifacts` of the run's directory."""

SCHEDULING_SECONDS: Final = 1
"""Nothing that is not on this machine now will come: no node, no model."""

_SERVICES: Final = 16


@dataclass(frozen=True)
class Fitted:
    """A spec that fits the machine, and what people should know about it."""

    spec: BenchmarkRunSpec
    notes: tuple[str, ...]


def fit(spec: BenchmarkRunSpec, machine: Machine, parallel: int) -> Fitted:
    """Return the spec as this machine can honour it.

    Entries of hardware that it cannot be keep what rules them out, so that their cells end as Unschedulable.
    """
    labels = machine.labels()
    hardware = tuple(_fit_hardware(entry, labels) for entry in spec.hardware)
    fitted = spec.model_copy(
        update={
            "hardware": hardware,
            "parallelism": parallel,
            "autoscaling": spec.autoscaling.model_copy(update={"mode": "Off"}),
            "scheduling": spec.scheduling.model_copy(update={"queue_name": "", "priority_class_name": ""}),
            "timeouts": spec.timeouts.model_copy(update={"scheduling_seconds": SCHEDULING_SECONDS}),
            "artifacts": spec.artifacts.model_copy(update={"storage_uri": spec.artifacts.storage_uri or ARTIFACTS}),
            "ttl": spec.ttl.model_copy(update={"run_seconds": None}),
            "reuse": spec.reuse.model_copy(update={"policy": "Never"}),
        }
    )
    return Fitted(fitted, tuple(_notes(spec, fitted, machine, parallel)))


def _fit_hardware(entry: Hardware, labels: Mapping[str, str]) -> Hardware:
    known = {key: value for key, value in entry.node_selector.items() if key in labels}
    return entry.model_copy(update={"node_selector": known, "tolerations": ()})


def _notes(spec: BenchmarkRunSpec, fitted: BenchmarkRunSpec, machine: Machine, parallel: int) -> Iterator[str]:
    for before, after in zip(spec.hardware, fitted.hardware, strict=True):
        ignored = sorted(before.node_selector.keys() - after.node_selector.keys())
        against = why_not(after, machine)
        if against:
            text = _("hardware {name!r} is not this machine, its cells end as Unschedulable: {why}")
            yield text.format(name=before.name, why=against)
        elif ignored:
            text = _(
                "hardware {name!r}: nodeSelector {keys} cannot be honoured without a cluster; this machine stands in"
            )
            yield text.format(name=before.name, keys=", ".join(ignored))
    if parallel > 1 and any(not entry.gpus for entry in fitted.hardware):
        text = _("--parallel {count}: shards on the CPU share its cores and disturb each other's figures")
        yield text.format(count=parallel)
    if spec.scheduling.queue_name:
        yield _("scheduling.queueName is not looked at: there is no queue without a cluster")
    if spec.reuse.policy != "Never":
        yield _("reuse is not done without a cluster: every shard is measured")


def why_not(entry: Hardware, machine: Machine) -> str | None:
    """Return why a hardware entry cannot be this machine, or None. `entry` is fitted: its selector has known labels only."""
    labels = machine.labels()
    for key, value in entry.node_selector.items():
        if labels.get(key) != value:
            return _("it asks for {key}={value}, and this machine has {own}").format(
                key=key, value=value, own=labels.get(key)
            )
    if entry.gpus and entry.resource_name != GPU_RESOURCE:
        return _("it asks for {resource}, and a machine has whole GPUs").format(resource=entry.resource_name)
    if entry.gpus > len(machine.gpus):
        return _("it asks for {wanted} GPUs, and this machine has {own}").format(
            wanted=entry.gpus, own=len(machine.gpus)
        )
    return None


def local_class(machine: Machine, image: str, threads: int, models: Iterable[VideoModelSpec]) -> RunnerClassSpec:
    """Return the RunnerClass of a machine without a cluster: no limits, no pods, and every endpoint that the models name.

    `image` stands for the installed libraries, which decide pixels as an image does. No endpoint gets a key: that takes a class
    of one's own, so that no manifest can have a key sent to a server of its author.
    """
    endpoints = dict.fromkeys(model.source.http.endpoint for model in models if model.source.http is not None)
    return RunnerClassSpec(
        image=image,
        image_pull_policy="Never",
        resources=Resources(cpu=str(machine.cpus), memory=f"{machine.memory_mebibytes}Mi", cpu_limit="None"),
        env=(EnvVar(name="OMP_NUM_THREADS", value=str(threads)),),
        services=tuple(ServiceAccess(endpoint=endpoint) for endpoint in list(endpoints)[:_SERVICES]),
        allowed_resource_names=("*",),
        allowed_priority_classes=("*",),
    )


def image_of(versions: Mapping[str, str]) -> str:
    """Return the name that stands for an image where there is none: the libraries by version."""
    words = [f"{name}-{version.replace('+', '_')}" for name, version in sorted(versions.items())]
    return "local/" + "-".join(words)
