"""Builders of whole API objects for tests. Each call returns a new one, so that a test may change what it got."""

from __future__ import annotations

import copy
from typing import Any

from vidbench_api.names import API_VERSION

Manifest = dict[str, Any]

LONGEST_NAME = "a" * 40
DIGEST = "0123456789abcdef" * 4


def _object(kind: str, name: str, namespace: str | None, spec: dict[str, Any]) -> Manifest:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": copy.deepcopy(spec)}


def benchmark_run(name: str = "run", namespace: str | None = None, **spec: Any) -> Manifest:
    """A run of one model and one prompt; `spec` adds to it or replaces, by the names of the API (camelCase)."""
    minimal = {"models": [{"name": "wan"}], "workload": {"prompts": [{"id": "cat", "text": "A cat walks."}]}}
    return _object("BenchmarkRun", name, namespace, minimal | spec)


def complete_run(name: str = "run", namespace: str | None = None) -> Manifest:
    """A run in which every field is given; its names are as long as they may be."""
    return _object(
        "BenchmarkRun",
        name,
        namespace,
        {
            "runnerClassName": "gpu",
            "models": [{"name": LONGEST_NAME, "modelRef": {"name": "my-finetune"}, "weights": "Random"}],
            "hardware": [
                {
                    "name": LONGEST_NAME,
                    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
                    "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes-it-is", "effect": "NoSchedule"}],
                    "gpus": 2,
                    "resourceName": "nvidia.com/gpu",
                }
            ],
            "variants": [
                {
                    "name": LONGEST_NAME,
                    "dtype": "bfloat16",
                    "clip": {"height": 480, "width": 832, "frames": 33},
                    "steps": 30,
                    "arguments": {"guidance_scale": "5.0"},
                    "offload": "Group",
                    "vaeTiling": True,
                    "memoryCapMebibytes": 24_576,
                    "componentDtypes": {"vae": "float32"},
                    "attention": "NativeFlash",
                    "compile": "MaxAutotune",
                    "onlyFor": [LONGEST_NAME],
                }
            ],
            "matrix": {"exclude": [{"model": LONGEST_NAME, "hardware": LONGEST_NAME, "variant": LONGEST_NAME}]},
            "workload": {
                "prompts": [{"id": LONGEST_NAME, "text": "A cat walks.", "negativeText": "blurry"}],
                "seeds": {"base": 7, "count": 1},
            },
            "measurement": {
                "plan": "Precision",
                "shards": 1,
                "warmup": {"min": 0, "max": 16},
                "samples": {"min": 5, "max": 64},
                "precision": {"metric": "latency", "halfWidth": "0.5%"},
                "pairing": "Node",
            },
            "validity": {"exclusiveGpu": "Ignore", "onInvalid": "Flag"},
            "parallelism": 4,
            "autoscaling": {"mode": "Off", "min": 2},
            "scheduling": {"queueName": "gpus", "priorityClassName": "low"},
            "failurePolicy": {
                "infrastructureRetries": 2,
                "unknownRetries": 2,
                "outOfMemory": "Fallback",
                "maxFailedCells": "20%",
            },
            "timeouts": {
                "runSeconds": 7200,
                "schedulingSeconds": 600,
                "imagePullSeconds": 600,
                "loadSeconds": 600,
                "shardSeconds": 3600,
                "noProgressSeconds": 120,
            },
            "artifacts": {"storageUri": "claim://videos/nightly", "keepVideos": "All"},
            "ttl": {"jobsSeconds": 60, "failedJobsSeconds": 120, "runSeconds": 86400},
            "reuse": {"policy": "IfIdentical", "maxAgeSeconds": 3600},
            "baselines": [
                {
                    "name": LONGEST_NAME,
                    "selector": {"matchLabels": {"vidbench.io/run": "last-night"}},
                    "across": "Hardware",
                }
            ],
            "gates": [statement() | {"onInconclusive": "Pass"}],
            "analysis": {"hypotheses": [statement() | {"role": "Secondary"}], "correction": "None"},
            "suspend": True,
            "cancel": "Graceful",
        },
    )


def statement(**changes: Any) -> dict[str, Any]:
    """A gate or hypothesis of `complete_run` in which every field of both is given; `changes` replace, None takes away."""
    everywhere = {"models": [LONGEST_NAME], "hardware": [LONGEST_NAME], "variants": [LONGEST_NAME]}
    fields = {
        "name": LONGEST_NAME,
        # A metric without a unit: then any number is a margin.
        "metric": "flicker",
        "where": everywhere,
        "against": {"baseline": LONGEST_NAME},
        "test": "Equivalent",
        "margin": "2%",
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def statement_runs() -> list[Manifest]:
    """Runs whose statements are against what the complete run's are not: another variant, a bound."""
    variants = [{"name": LONGEST_NAME}, {"name": "other"}]
    kinds = (
        statement(where=None, against={"variant": LONGEST_NAME}),
        statement(where=None, against={"bound": "1"}, test="AtMost", margin=None),
    )
    return [
        benchmark_run(variants=variants, gates=[kind], analysis={"hypotheses": [kind]}) for kind in copy.deepcopy(kinds)
    ]


def evidence(number: int = 0) -> dict[str, Any]:
    """What was seen of a cell, as long as it gets: every field given."""
    return {
        "cell": f"{number:08x}",
        "verdict": "Inconclusive",
        "unit": "share",
        "estimate": 0.0345678,
        "low": -0.0123456,
        "high": 0.0876543,
        "shards": 3,
        "againstShards": 3,
        "gpus": 3,
        "device": "NVIDIA H100 80GB HBM3",
        "pPpm": 43_210,
        "reason": "IntervalHoldsMargin",
        "decides": "about 12 more shards of each cell at the spread that was seen",
    }


def complete_status() -> dict[str, Any]:
    """A status in which every field is given."""
    return {
        "observedGeneration": 1,
        "phase": "Running",
        "message": "1 of 1 cells has ended",
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Accepted",
                "message": "one cell",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
                "observedGeneration": 1,
            }
        ],
        "startTime": "2026-01-02T03:04:05Z",
        "completionTime": "2026-01-02T03:14:05Z",
        "requestName": "run-request-01234567",
        "requestDigest": DIGEST,
        "selector": "vidbench.io/run-uid=0",
        "cells": {"total": 1, "pending": 0, "active": 0, "succeeded": 1, "outOfMemory": 0, "failed": 0, "reused": 0},
        "shards": {"total": 1, "finished": 1},
        "progress": "1/1",
        "parallelism": {
            "active": 1,
            "running": 1,
            "waiting": 0,
            "queued": 0,
            "limitedBy": "Parallelism",
            "windows": [{"hardware": LONGEST_NAME, "probe": 4, "changedAt": "2026-01-02T03:04:05Z"}],
        },
        "breakers": [
            {"kind": "Node", "name": "node-1", "state": "Open", "failures": 3, "until": "2026-01-02T03:34:05Z"}
        ],
        "pausedSince": "2026-01-02T03:04:05Z",
        "pausedSeconds": 60,
        "reuseMessage": "2 of 3 shards are those of run last-night",
        "gpuSeconds": {"used": 600, "wasted": 30},
        "fastest": {"cell": "01234567", "latencyMicroseconds": 20_350_000, "text": "wan/default/default 20.35 s"},
        "gatesText": "0/1",
        "gates": [gate_status()],
        "hypotheses": [
            {
                "name": LONGEST_NAME,
                "role": "Primary",
                "verdict": "Inconclusive",
                "reason": "IntervalHoldsMargin",
                "message": "latency of 1 cell: the interval holds the margin",
                "supported": 0,
                "cells": 1,
                "evidence": [evidence()],
            }
        ],
        "rows": [status_row(0)],
    }


def gate_status(name: str = LONGEST_NAME, shown: int = 1) -> dict[str, Any]:
    """What came of a gate, with so many cells as evidence."""
    return {
        "name": name,
        "verdict": "Inconclusive",
        "reason": "IntervalHoldsMargin",
        "message": "latency of 1 cell: the interval holds the margin",
        "passed": 0,
        "cells": 1,
        "evidence": [evidence(number) for number in range(shown)],
    }


def status_row(number: int, shards: int = 1) -> dict[str, Any]:
    """A row as long as a real one with long names gets: every field given."""
    cell = f"{number:08x}"
    return {
        "id": cell,
        "model": LONGEST_NAME,
        "hardware": LONGEST_NAME,
        "variant": LONGEST_NAME,
        "phase": "Finished",
        "outcome": "Failed",
        "validity": "Invalid",
        "reason": "OutOfMemoryCuda",
        "message": "CUDA out of memory in vaeDecode: tried to allocate 12.5 GiB, 3.1 GiB of 79.2 GiB are free",
        "latencyMicroseconds": 20_350_123,
        "spreadMicroseconds": 103_456,
        "spreadOf": "Shards",
        "plan": "Precision",
        "samples": 10,
        "reruns": 3,
        "rerunsEqual": 2,
        "memoryMebibytes": 43_518,
        "memoryOf": "Device",
        "gpu": "NVIDIA H100 80GB HBM3",
        "source": "Measured",
        "rung": "VaeTiling",
        "weights": "Random",
        "comparability": "Device",
        "estimateSeconds": 600,
        "shards": [
            {
                "index": index,
                "phase": "Finished",
                "attempt": 2,
                "jobUid": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
                "startedAt": "2026-01-02T03:04:05.123456Z",
                "endedAt": "2026-01-02T03:05:05.123456Z",
                "notBefore": "2026-01-02T03:06:05.123456Z",
                "node": "ip-10-0-123-45.eu-central-1.compute.internal",
                "failures": [
                    {
                        "attempt": 1,
                        "reason": "NodeLost",
                        "node": "ip-10-0-123-46.eu-central-1.compute.internal",
                        "endedAt": "2026-01-02T03:04:05.123456Z",
                    }
                ],
                "disruptions": 1,
                "harvestAt": "2026-01-02T03:04:05.123456Z",
                "retries": 1,
                "lostResults": 0,
                "unknownFailures": 0,
                "superseded": [f"{LONGEST_NAME}-{cell}-{index}-1"],
                "reason": "NodeLost",
                "outcome": "Succeeded",
                "validity": "Valid",
                "result": f"{LONGEST_NAME}-{cell}-{index}",
                "latencyMicroseconds": 20_350_123,
                "spreadMicroseconds": 103_456,
                "samples": 10,
                "reruns": 3,
                "rerunsEqual": 2,
                "memoryMebibytes": 43_518,
            }
            for index in range(1, shards + 1)
        ],
    }


def video_model(name: str = "wan", namespace: str | None = None, **spec: Any) -> Manifest:
    """A tiny model; `spec` adds to it or replaces."""
    minimal = {"source": {"tiny": "wan"}, "defaults": {"height": 32, "width": 32, "frames": 9, "steps": 4}}
    return _object("VideoModel", name, namespace, minimal | spec)


def complete_video_model(source: dict[str, Any], name: str = "wan", namespace: str | None = None) -> Manifest:
    """A model in which every field is given that its source allows."""
    if "http" in source:
        return video_model(name, namespace, source=source)
    return video_model(
        name,
        namespace,
        source=source,
        pipelineClass="WanPipeline",
        licence="Apache-2.0",
        architecture="wan21-14b",
        estimatedMemoryMebibytes=10_000,
        forbiddenDtypes=["float16"],
        componentDtypes={"vae": "float32"},
        defaults={
            "dtype": "bfloat16",
            "height": 480,
            "width": 832,
            "frames": 81,
            "steps": 50,
            "framesPerSecond": 16,
            "arguments": {"guidance_scale": "5.0"},
            "offload": "Model",
            "vaeTiling": True,
        },
    )


def http_source(**changes: Any) -> dict[str, Any]:
    """A server in which every field is given; `changes` replace, and None takes away."""
    fields = {
        "endpoint": "http://videos.lab.svc:30000/v1",
        "model": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        "encoding": "Form",
        "pollMilliseconds": 500,
        "clipSeconds": 600,
        "pricePerVideo": "0.35",
        "currency": "EUR",
        "maxCostPerAttempt": "10",
    } | changes
    return {"http": {name: value for name, value in fields.items() if value is not None}}


def runner_class(name: str = "default", **spec: Any) -> Manifest:
    """A class with an image; `spec` adds to it or replaces."""
    return _object("RunnerClass", name, None, {"image": "localhost/runner:1"} | spec)


def complete_runner_class(name: str = "default") -> Manifest:
    """A class in which every field is given."""
    return runner_class(
        name,
        imagePullPolicy="Never",
        imagePullSecrets=[{"name": "pull"}],
        runtimeClassName="nvidia",
        resources={
            "cpu": "8",
            "memory": "64Gi",
            "cpuLimit": "None",
            "ephemeralStorage": "1Gi",
            "sharedMemory": "2Gi",
            "scratch": "20Gi",
        },
        claims=[{"claimName": "weights", "mountPath": "/weights", "readOnly": True}],
        env=[{"name": "HTTPS_PROXY", "value": "proxy.example:3128"}],
        health={
            "maxGpuTemperatureCelsius": 85,
            "minFreeScratchMebibytes": 1024,
            "minAvailableMemoryMebibytes": 4096,
            "maxHostCpuPercent": 20,
            "maxForeignGpuMemoryMebibytes": 0,
        },
        accounting={
            "grid": {"gramsPerKilowattHour": "380", "source": "grid operator, 2025"},
            "prices": [
                {
                    "device": "NVIDIA H100 80GB HBM3",
                    "perGpuHour": "2.49",
                    "currency": "USD",
                    "source": "price list, 2026",
                }
            ],
        },
        services=[{"endpoint": "http://videos.lab.svc:30000/v1", "apiKeySecret": "vidbench-service-lab"}],
        defaultTolerations=[{"key": "gpu", "operator": "Equal", "value": "yes-it-is", "effect": "NoExecute"}],
        allowedNamespaces=["team-a"],
        allowedSelectorKeys=["nvidia.com/gpu.product"],
        allowedTolerationKeys=["gpu"],
        allowedResourceNames=["nvidia.com/gpu"],
        allowedPriorityClasses=["low"],
    )


def benchmark_result(name: str = "run-01234567-1", namespace: str | None = None, **spec: Any) -> Manifest:
    """A failed shard: what every result has; `spec` adds to it or replaces."""
    minimal = {
        "run": {"name": "run", "uid": "7c9e6679-7425-40de-944b-e07fc1f90ae7"},
        "cell": {"id": "01234567", "model": "wan", "hardware": "default", "variant": "default"},
        "shard": 1,
        "attempts": 1,
        "requestDigest": DIGEST,
        "generationHash": DIGEST,
        "outcome": "Failed",
        "validity": {"state": "Valid"},
        "origin": {"attempt": 1},
    }
    return _object("BenchmarkResult", name, namespace, minimal | spec)


def host_health() -> dict[str, Any]:
    """One look at a host in which every figure is given."""
    return {
        "cpuPercent": 3, "memoryAvailableBytes": 900_000_000_000, "cgroupMemoryBytes": 5_000_000_000,
        "scratchFreeBytes": 9_000_000_000, "gpuTemperatureCelsius": 34, "gpuForeignMemoryBytes": 0,
        "gpuUncorrectedErrors": 0, "gpuXids": 0, "gpuLastXid": 0,
    }  # fmt: skip


def complete_result(name: str = "run-01234567-1", namespace: str | None = None) -> Manifest:
    """A result in which every field is given."""
    statistics = {
        "count": 3, "mean": 2000.5, "standardDeviation": 1.25, "min": 1999, "median": 2000.0, "max": 2002,
    }  # fmt: skip
    return benchmark_result(
        name,
        namespace,
        protocol={
            "plan": "Precision", "stoppedBy": "Precision", "warm": True, "instrumentPpm": 50, "metric": "latency", "halfWidthPpm": 9_000,
        },
        reproducibility={"reruns": 3, "equal": 2, "firstDifference": "prompt cat, seed 7"},
        setup={
            "fetchMicroseconds": 5, "fetchBytes": 6, "loadMicroseconds": 1, "toDeviceMicroseconds": 2, "warmups": 1, "firstWarmupMicroseconds": 3,
            "warmupMicroseconds": 4,
        },
        environment={
            "device": "NVIDIA H100 80GB HBM3", "deviceCount": 1, "gpuUuid": "GPU-0", "driver": "570.1",
            "powerLimitMilliwatts": 700_000, "cpu": "a cpu", "cpuCount": 2, "kernel": "6.18", "python": "3.11.2",
            "torch": "2.15.0", "cuda": "13.0", "diffusers": "0.42.1", "transformers": "5.23.0", "vidbench": "0.1.0",
        },
        loaded={"pipelineClass": "WanPipeline", "parameters": 1_300_000_000, "dtypes": {"vae": "float32"}, "frameGrid": "4k+1", "weights": "Random", "tokenizer": "Synthetic", "inputs": ["Image"]},
        clip={"height": 480, "width": 832, "framesRequested": 33, "framesDelivered": 33, "steps": 30},
        compilation={"graphs": 2, "coldMicroseconds": 90_000_000, "compileMicroseconds": 60_000_000, "recompiles": 0},
        memory={"allocated": 1, "reserved": 2, "device": 3, "cap": 6, "host": 4, "cgroup": 5},
        memoryCold={"allocated": 1, "reserved": 2, "device": 3},
        figures={
            "denoiserCallsPerVideo": 60.0, "framesPerVideo": 33.0, "videoSecondsPerSecond": 0.1,
            "videoSecondsPerGpuSecond": 0.1, "videosPerHour": 177.5, "startSeconds": 12.0, "overheadPercent": 23.5,
            "neededGpuMemory": {"mebibytes": 24_576, "basis": "Measured"},
        },
        health={"before": host_health(), "after": host_health()},
        expectedCalls={"denoiserCalls": 60},
        cpuThrottledPeriods=0,
        service={
            "endpoint": "http://videos.lab.svc:30000/v1", "model": "wan", "resolutionMicroseconds": 1_000_000,
            "seedHonoured": "Yes", "videos": 4, "cost": "1.40", "currency": "EUR", "lastRequest": "video_gen_1",
        },
        comparability="Device",
        energy={
            "idleMilliwatts": 90_000, "perFrameMillijoules": 10, "perStepMillijoules": 12,
            "phaseMillijoules": {"denoise": 300}, "disagreementPpm": 1_500,
        },
        quality={"comparable": False, "reason": "random_weights", "microseconds": 20_000},
        steadiness={
            "driftPpm": 100, "trendPPpm": 400_000, "autocorrelationPpm": -20_000, "effectiveSamples": 3.0, "outliers": 0,
        },
        costs={
            "carbon": {"gramsPerVideo": 6.3, "gramsPerKilowattHour": "380", "source": "grid operator, 2025"},
            "cost": {
                "perVideo": 0.014, "currency": "USD", "perGpuHour": "2.49", "device": "NVIDIA H100 80GB HBM3",
                "source": "price list, 2026",
            },
        },
        watch={
            "readings": 600, "throttledPpm": {"powerCap": 1_000}, "smClockMegahertz": 1_900, "smClockMinMegahertz": 1_800,
            "memoryClockMegahertz": 2_600, "temperatureCelsius": 60, "temperatureMaxCelsius": 70, "samplerPpm": 300,
        },
        outputDigest=DIGEST,
        environmentHash=DIGEST,
        rung="VaeTiling",
        weights="Random",
        superseded=True,
        artifacts={"uri": "claim://videos/x", "digest": DIGEST},
        series=[
            {"name": "latency", "unit": "microseconds", "statistics": statistics, "step": 1, "values": [1999, 2000, 2002]}
        ],
        columnsDropped=["frames"],
        unmeasured={"energy": "no NVML on this node"},
        validity={"state": "Partial", "reasons": ["SoftDeadline"], "notes": ["SwPowerCap"]},
        source="Measured",
        reason="GenerationFailed",
        message="the third sample failed",
        stage="sampling",
        phase="denoise",
        samplesDone=3,
        latencyText="2.00 ms ± 0.00 (3)",
        origin={
            "attempt": 1, "jobName": "run-01234567-1-1", "jobUid": "job", "podName": "pod", "podUid": "pod-uid",
            "node": "node-1", "imageId": "sha256:0", "scheduledAt": "2026-01-02T03:03:05Z", "startedAt": "2026-01-02T03:04:05Z",
            "finishedAt": "2026-01-02T03:05:05Z", "exitCode": 85, "gpuSeconds": 60,
        },
    )  # fmt: skip
