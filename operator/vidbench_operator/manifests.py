"""Builds the objects that the operator creates, as plain dictionaries: ConfigMap, Job, BenchmarkResult, Event.

A pod is made from zero out of the frozen request document, so nothing in a run can reach a field of it that is not
named here. Knows no cluster, no clock and no configuration.
"""

from __future__ import annotations

from typing import Any, Final

from vidbench_api.identity import attempt_name, digest_of, harvest_name, request_name
from vidbench_api.kinds import BENCHMARK_RESULT, BENCHMARK_RUN, Resources
from vidbench_api.names import (
    ANNOTATION_REQUEST_DIGEST,
    ANNOTATION_SAMPLES,
    ANNOTATION_SECONDS,
    API_VERSION,
    ARTIFACTS_MOUNT,
    ENV_ARTIFACTS,
    ENV_ATTEMPT,
    ENV_CELL,
    ENV_HARVEST,
    ENV_IMAGE,
    ENV_MESSAGE_LIMIT,
    ENV_MESSAGE_PATH,
    ENV_NODE_NAME,
    ENV_POD_NAME,
    ENV_POD_UID,
    ENV_REQUEST_DIGEST,
    ENV_REQUEST_PATH,
    ENV_SERVICE_API_KEY,
    ENV_SHARD,
    FIELD_MANAGER,
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_HARDWARE,
    LABEL_HARVEST,
    LABEL_MANAGED_BY,
    LABEL_MODEL,
    LABEL_QUEUE,
    LABEL_RUN,
    LABEL_RUN_UID,
    LABEL_RUNG,
    LABEL_SERVICE,
    LABEL_SHARD,
    LABEL_VARIANT,
    MANAGED_BY,
    MESSAGE_LIMIT,
    REQUEST_KEY,
    REQUEST_MOUNT,
    RUNNER_CONTAINER,
    TERMINATION_MESSAGE_PATH,
    Comparability,
    ExitCode,
)
from vidbench_api.request import Cell, RequestDocument, RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import Hardware, Timeouts
from vidbench_api.services import API_KEY

from .core.estimates import runner_seconds
from .core.plan import EmitEvent, Placement
from .core.services import access_of
from .core.timestamps import format_time

Manifest = dict[str, Any]

SCRATCH_MOUNT: Final = "/vidbench/scratch"
TEMPORARY_MOUNT: Final = "/tmp"  # noqa: S108 - a mount point in the runner's container, not a file of ours
POD_DEADLINE_MARGIN_SECONDS: Final = 60
"""What the pod gets beyond its limits, so that the runner's own deadline, which gives a verdict, comes first."""

HARVEST_SECONDS: Final = 300
"""What a harvest gets beyond the image pull: it mounts a claim and reads two small files."""

GRACE_SECONDS: Final = 30
SILENT_NODE_SECONDS: Final = 10
"""How long a pod stays on a node that is not ready before it is told to go; the default of Kubernetes is 300."""

_HARVEST_RESOURCES: Final = {
    "requests": {"cpu": "100m", "memory": "512Mi"},
    "limits": {"cpu": "1", "memory": "512Mi"},
}
_HARVEST_SCRATCH: Final = "64Mi"
_SILENT_NODE: Final = [
    {
        "key": f"node.kubernetes.io/{state}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": SILENT_NODE_SECONDS,
    }
    for state in ("not-ready", "unreachable")
]
_CLAIM_SCHEME: Final = "claim://"
_ANYWHERE: Final = Placement()
_WEIGHT_OF_PREFERENCE: Final = 20
_WEIGHT_OF_AVOIDANCE: Final = 100
_SCRATCH_ENVIRONMENT: Final = {
    "HOME": SCRATCH_MOUNT,
    "TMPDIR": TEMPORARY_MOUNT,
    "XDG_CACHE_HOME": f"{SCRATCH_MOUNT}/cache",
    "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH_MOUNT}/cache/torchinductor",
    "TRITON_CACHE_DIR": f"{SCRATCH_MOUNT}/cache/triton",
    "HF_HOME": f"{SCRATCH_MOUNT}/cache/huggingface",
}


def request_manifest(run: RunIdentity, name: str, text: str) -> Manifest:
    """Return the immutable ConfigMap of a run's request document."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": run.namespace,
            "labels": _run_labels(run),
            "annotations": {ANNOTATION_REQUEST_DIGEST: digest_of(text)},
            "ownerReferences": [owner_reference(run)],
        },
        "immutable": True,
        "data": {REQUEST_KEY: text},
    }


def result_manifest(namespace: str, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]) -> Manifest:
    """Return a BenchmarkResult. It has no owner: results outlive their run."""
    metadata = {"name": name, "namespace": namespace, "labels": {**labels, LABEL_MANAGED_BY: MANAGED_BY}}
    seconds = runner_seconds(spec)
    if seconds is not None:
        metadata["annotations"] = {ANNOTATION_SECONDS: f"{seconds:.0f}", ANNOTATION_SAMPLES: str(spec.samples_done)}
    return {
        "apiVersion": API_VERSION,
        "kind": BENCHMARK_RESULT.kind,
        "metadata": metadata,
        "spec": spec.to_wire(),
    }


def event_manifest(run: RunIdentity, event: EmitEvent, now: float, instance: str = FIELD_MANAGER) -> Manifest:
    """Return an Event about a run. Its name hashes what it says, so that saying it again finds the first one."""
    moment = format_time(now)
    digest = digest_of("\0".join((run.uid, event.reason, event.message)))[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{run.name}.{digest}", "namespace": run.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": BENCHMARK_RUN.kind,
            "namespace": run.namespace,
            "name": run.name,
            "uid": run.uid,
        },
        "type": event.type,
        "reason": event.reason.value,
        "message": event.message[:1024],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": instance,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def job_manifest(
    document: RequestDocument, cell_id: str, shard: int, attempt: int, placement: Placement = _ANYWHERE
) -> Manifest:
    """Return the Job of one attempt: one pod, never restarted, that ends by itself or at its deadline.

    With a queue it is created suspended: the queue says when its pod may be made.

    Raises:
        ValueError: if the document has no such cell.
    """
    cell = _find_cell(document, cell_id)
    digest = document.digest
    queue = document.scheduling.queue_name
    marks = ({LABEL_QUEUE: queue} if queue else {}) | (
        {LABEL_SERVICE: "true"} if cell.comparability is Comparability.SERVICE else {}
    )
    job = _job(
        document,
        attempt_name(document.run.name, cell.id, shard, attempt),
        _attempt_labels(document.run, cell, shard, attempt) | marks,
        digest,
        _pod_spec(document, cell, digest, shard, attempt) | _scheduling(document, placement),
    )
    if queue:
        job["spec"]["suspend"] = True
    return job


def harvest_manifest(document: RequestDocument, cell_id: str, shard: int, attempt: int) -> Manifest:
    """Return the Job that reads what an attempt has stored among its artifacts and reports it as its own message.

    It may run wherever the claim can be mounted: it takes no GPU and asks for no node, but tolerates what the attempt's
    pod tolerated, because a claim may be bound to a node with such a taint.

    Raises:
        ValueError: if the document has no such cell, or its run stores no artifacts.
    """
    cell = _find_cell(document, cell_id)
    if not document.artifacts.storage_uri:
        raise ValueError(f"run {document.run.name!r} stores no artifacts: there is nothing to harvest")
    digest = document.digest
    return _job(
        document,
        harvest_name(attempt_name(document.run.name, cell.id, shard, attempt)),
        {**_attempt_labels(document.run, cell, shard, attempt), LABEL_HARVEST: "true"},
        digest,
        _harvest_pod_spec(document, cell, digest, shard, attempt),
    )


def _find_cell(document: RequestDocument, cell_id: str) -> Cell:
    cell = document.find_cell(cell_id)
    if cell is None:
        raise ValueError(f"the request document of run {document.run.name!r} has no cell {cell_id!r}")
    return cell


def _attempt_labels(run: RunIdentity, cell: Cell, shard: int, attempt: int) -> dict[str, str]:
    return {
        **_run_labels(run),
        LABEL_CELL: cell.id,
        LABEL_MODEL: cell.model,
        LABEL_HARDWARE: cell.hardware,
        LABEL_VARIANT: cell.variant,
        LABEL_SHARD: str(shard),
        LABEL_ATTEMPT: str(attempt),
        **({LABEL_RUNG: cell.rung} if cell.rung else {}),
    }


def _job(document: RequestDocument, name: str, labels: dict[str, str], digest: str, pod_spec: Manifest) -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": document.run.namespace,
            "labels": labels,
            "annotations": {ANNOTATION_REQUEST_DIGEST: digest},
            "ownerReferences": [owner_reference(document.run)],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": _pod_failure_policy(),
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        ANNOTATION_REQUEST_DIGEST: digest,
                        "karpenter.sh/do-not-disrupt": "true",
                        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                    },
                },
                "spec": pod_spec,
            },
        },
    }


def pod_deadline_seconds(timeouts: Timeouts) -> int:
    """Return `activeDeadlineSeconds` of a pod.

    The kubelet counts it from when the node takes the pod in, so the image pull is inside; the runner counts
    shardSeconds from its own start. The sum makes the runner's deadline the first one however long the pull took.
    """
    return timeouts.image_pull_seconds + timeouts.shard_seconds + POD_DEADLINE_MARGIN_SECONDS


def owner_reference(run: RunIdentity) -> Manifest:
    """Return the reference by which the garbage collector removes a child with its run."""
    return {
        "apiVersion": API_VERSION,
        "kind": BENCHMARK_RUN.kind,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _run_labels(run: RunIdentity) -> dict[str, str]:
    return {LABEL_RUN: run.name, LABEL_RUN_UID: run.uid, LABEL_MANAGED_BY: MANAGED_BY}


def _pod_failure_policy() -> Manifest:
    """Say in the Job's condition which exit code or disruption ended it: that outlives the pod."""
    codes = sorted(code.value for code in ExitCode if code is not ExitCode.SUCCEEDED)
    return {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": RUNNER_CONTAINER, "operator": "In", "values": codes},
            },
            {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]
    }


def _pod_spec(document: RequestDocument, cell: Cell, digest: str, shard: int, attempt: int) -> Manifest:
    runner_class = document.runner_class
    hardware = document.find_hardware(cell.hardware)
    volumes, mounts = _volumes(document)
    container = {
        "env": _env_entries(_environment(document, cell, digest, shard, attempt) | _api_key(document, cell)),
        "resources": _resources(runner_class.resources, hardware),
        "volumeMounts": mounts,
    }
    spec = _pod(document, hardware, pod_deadline_seconds(document.timeouts), volumes, container)
    spec["nodeSelector"] = dict(hardware.node_selector)
    if runner_class.runtime_class_name:
        spec["runtimeClassName"] = runner_class.runtime_class_name
    return spec


def _harvest_pod_spec(document: RequestDocument, cell: Cell, digest: str, shard: int, attempt: int) -> Manifest:
    hardware = document.find_hardware(cell.hardware)
    volumes, mounts = _base_volumes(document, _HARVEST_SCRATCH)
    _add_artifacts(document, {}, volumes, mounts, read_only=True)
    # Where a runtime gives GPUs to whoever asks by this variable, an image may ask; a harvest takes none.
    alone = {ENV_HARVEST: "true", "NVIDIA_VISIBLE_DEVICES": "void"}
    container = {
        "env": _env_entries(_environment(document, cell, digest, shard, attempt) | alone),
        "resources": _HARVEST_RESOURCES,
        "volumeMounts": mounts,
    }
    deadline = document.timeouts.image_pull_seconds + HARVEST_SECONDS
    return _pod(document, hardware, deadline, volumes, container)


def _pod(
    document: RequestDocument, hardware: Hardware, deadline: int, volumes: list[Manifest], container: Manifest
) -> Manifest:
    """Return what all our pods share: one container of the class's image that may do nothing to its node."""
    runner_class = document.runner_class
    spec: Manifest = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": deadline,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [
            *(entry.to_wire() for entry in (*runner_class.default_tolerations, *hardware.tolerations)),
            *_SILENT_NODE,
        ],
        "volumes": volumes,
        "containers": [
            {
                "name": RUNNER_CONTAINER,
                "image": runner_class.image,
                "imagePullPolicy": runner_class.image_pull_policy,
                **container,
                "terminationMessagePath": TERMINATION_MESSAGE_PATH,
                "terminationMessagePolicy": "File",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                },
            }
        ],
    }
    if runner_class.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret.name} for secret in runner_class.image_pull_secrets]
    return spec


def _scheduling(document: RequestDocument, placement: Placement) -> Manifest:
    """Return what the pod says to the scheduler beside selector and tolerations."""
    affinity = _node_affinity(placement)
    priority = document.scheduling.priority_class_name
    return {
        **({"priorityClassName": priority} if priority else {}),
        **({"affinity": {"nodeAffinity": affinity}} if affinity else {}),
    }


def _node_affinity(placement: Placement) -> Manifest:
    """Return the placement as node affinity on the names of nodes: the label kubernetes.io/hostname may say another.

    A requirement on a name takes one value, so several nodes to keep away from are several requirements of one term.
    """
    required = [_named("NotIn", node) for node in placement.avoid]
    if placement.require is not None:
        required.append(_named("In", placement.require))
    preferred = [_preference(_WEIGHT_OF_PREFERENCE, _named("In", node)) for node in placement.prefer]
    if placement.avoid_if_possible:
        elsewhere = [_named("NotIn", node) for node in placement.avoid_if_possible]
        preferred.append(_preference(_WEIGHT_OF_AVOIDANCE, *elsewhere))
    affinity: Manifest = {}
    if required:
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [{"matchFields": required}]}
    if preferred:
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return affinity


def _named(operator: str, node: str) -> Manifest:
    return {"key": "metadata.name", "operator": operator, "values": [node]}


def _preference(weight: int, *requirements: Manifest) -> Manifest:
    return {"weight": weight, "preference": {"matchFields": list(requirements)}}


def _environment(document: RequestDocument, cell: Cell, digest: str, shard: int, attempt: int) -> dict[str, Any]:
    """Return the environment: cache folders, which the class may move; the class's own; the contract's, which win."""
    contract: dict[str, Any] = {
        ENV_REQUEST_PATH: f"{REQUEST_MOUNT}/{REQUEST_KEY}",
        ENV_REQUEST_DIGEST: digest,
        ENV_CELL: cell.id,
        ENV_SHARD: str(shard),
        ENV_ATTEMPT: str(attempt),
        ENV_MESSAGE_PATH: TERMINATION_MESSAGE_PATH,
        ENV_MESSAGE_LIMIT: str(MESSAGE_LIMIT),
        ENV_IMAGE: document.runner_class.image,
        ENV_NODE_NAME: {"fieldRef": {"fieldPath": "spec.nodeName"}},
        ENV_POD_NAME: {"fieldRef": {"fieldPath": "metadata.name"}},
        ENV_POD_UID: {"fieldRef": {"fieldPath": "metadata.uid"}},
    }
    if document.artifacts.storage_uri:
        contract[ENV_ARTIFACTS] = f"file://{ARTIFACTS_MOUNT}"
    given = {entry.name: entry.value for entry in document.runner_class.env}
    return {**_SCRATCH_ENVIRONMENT, **given, **contract}


def _api_key(document: RequestDocument, cell: Cell) -> dict[str, Any]:
    """Return the variable with the API key of the cell's endpoint, if the class ties one to it. The kubelet reads it."""
    access = access_of(document.runner_class, cell.source)
    if access is None or access.api_key_secret is None:
        return {}
    return {ENV_SERVICE_API_KEY: {"secretKeyRef": {"name": access.api_key_secret, "key": API_KEY}}}


def _env_entries(environment: dict[str, Any]) -> list[Manifest]:
    return [
        {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": value}
        for name, value in environment.items()
    ]


def _resources(resources: Resources, hardware: Hardware) -> Manifest:
    """Return requests and limits. Equal for all but the CPU of a class without a CPU limit, so Guaranteed."""
    limits = {"memory": resources.memory}
    if resources.ephemeral_storage:
        limits["ephemeral-storage"] = resources.ephemeral_storage
    if hardware.gpus:
        limits[hardware.resource_name] = str(hardware.gpus)
    requests = {"cpu": resources.cpu, **limits}
    if resources.cpu_limit == "Equal":
        limits["cpu"] = resources.cpu
    return {"requests": requests, "limits": limits}


def _volumes(document: RequestDocument) -> tuple[list[Manifest], list[Manifest]]:
    """Return volumes and mounts. A claim is one volume however often it is mounted: two of the same never mount."""
    resources = document.runner_class.resources
    volumes, mounts = _base_volumes(document, resources.scratch)
    volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": resources.shared_memory}})
    mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})  # noqa: S108 - as above
    names: dict[str, str] = {}
    mounts.extend(
        {
            "name": _claim_volume(names, volumes, claim.claim_name),
            "mountPath": claim.mount_path,
            "readOnly": claim.read_only,
        }
        for claim in document.runner_class.claims
    )
    _add_artifacts(document, names, volumes, mounts, read_only=False)
    return volumes, mounts


def _base_volumes(document: RequestDocument, scratch: str) -> tuple[list[Manifest], list[Manifest]]:
    """Return the request document and a place to write, as volumes and mounts."""
    run = document.run
    volumes: list[Manifest] = [
        {
            "name": "request",
            "configMap": {
                "name": request_name(run.name, run.uid),
                "items": [{"key": REQUEST_KEY, "path": REQUEST_KEY}],
            },
        },
        {"name": "scratch", "emptyDir": {"sizeLimit": scratch}},
    ]
    mounts: list[Manifest] = [
        {"name": "request", "mountPath": REQUEST_MOUNT, "readOnly": True},
        {"name": "scratch", "mountPath": SCRATCH_MOUNT},
        {"name": "scratch", "mountPath": TEMPORARY_MOUNT, "subPath": "tmp"},
    ]
    return volumes, mounts


def _add_artifacts(
    document: RequestDocument,
    names: dict[str, str],
    volumes: list[Manifest],
    mounts: list[Manifest],
    *,
    read_only: bool,
) -> None:
    artifacts = _artifacts_claim(document.artifacts.storage_uri)
    if artifacts is None:
        return
    claim_name, path = artifacts
    mount: Manifest = {"name": _claim_volume(names, volumes, claim_name), "mountPath": ARTIFACTS_MOUNT}
    mounts.append(mount | ({"subPath": path} if path else {}) | ({"readOnly": True} if read_only else {}))


def _claim_volume(names: dict[str, str], volumes: list[Manifest], claim_name: str) -> str:
    if claim_name not in names:
        names[claim_name] = f"claim-{len(names)}"
        volumes.append({"name": names[claim_name], "persistentVolumeClaim": {"claimName": claim_name}})
    return names[claim_name]


def _artifacts_claim(storage_uri: str) -> tuple[str, str] | None:
    """Return claim and path of `claim://NAME/PATH`; None for no storage."""
    if not storage_uri:
        return None
    claim_name, _, path = storage_uri.removeprefix(_CLAIM_SCHEME).partition("/")
    return claim_name, path
