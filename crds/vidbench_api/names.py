"""The words that operator, runner, chart and tests must spell alike: group, labels, reasons, exit codes, paths.

Imports nothing of the project. A word that is used in two packages stands here once.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

GROUP: Final = "vidbench.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "vidbench-operator"

LABEL_RUN: Final = "vidbench.io/run"
LABEL_RUN_UID: Final = "vidbench.io/run-uid"
LABEL_CELL: Final = "vidbench.io/cell"
LABEL_MODEL: Final = "vidbench.io/model"
LABEL_HARDWARE: Final = "vidbench.io/hardware"
LABEL_VARIANT: Final = "vidbench.io/variant"
LABEL_SHARD: Final = "vidbench.io/shard"
LABEL_ATTEMPT: Final = "vidbench.io/attempt"
LABEL_OUTCOME: Final = "vidbench.io/outcome"
LABEL_VALIDITY: Final = "vidbench.io/validity"
LABEL_SUPERSEDED: Final = "vidbench.io/superseded"
"""`true` on the result of an Invalid attempt whose shard was measured again."""

LABEL_KEEP: Final = "vidbench.io/keep"
"""`true` on a result: the ledger's limits are not for it."""

LABEL_BASELINE: Final = "vidbench.io/baseline"
"""On a result: the name of the baseline that it belongs to. People set it; the ledger's limits are not for it."""

LABEL_GENERATION: Final = "vidbench.io/generation"
"""The first digits of a result's generation hash: how reuse finds it."""

GENERATION_CHARACTERS: Final = 32
"""Of a generation hash in a label: a value may have 63 characters, a hash has 64."""

LABEL_WEIGHTS: Final = "vidbench.io/weights"
"""`Random` on the results of cells with random weights: never compare their quality."""

LABEL_RUNG: Final = "vidbench.io/rung"
"""On the Jobs and results of a fallback: which rung it is."""

LABEL_HARVEST: Final = "vidbench.io/harvest"
"""`true` on the Job that reads an attempt's stored verdict; it has the attempt's other labels too."""

LABEL_SERVICE: Final = "vidbench.io/service"
"""`true` on the pods that call a service: for network policies, as no other measured pod needs the network."""

LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "vidbench"

ANNOTATION_REQUEST_DIGEST: Final = "vidbench.io/request-digest"
ANNOTATION_SECONDS: Final = "vidbench.io/seconds"
"""On results: how long the runner took. Estimates read it without the body."""

ANNOTATION_SAMPLES: Final = "vidbench.io/samples"

RUNNER_CONTAINER: Final = "runner"
REQUEST_KEY: Final = "request.json"
"""The key of the request document in its ConfigMap, and its file name in the pod."""

REQUEST_MOUNT: Final = "/vidbench/request"
ARTIFACTS_MOUNT: Final = "/vidbench/artifacts"
TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"

ENV_REQUEST_PATH: Final = "VIDBENCH_REQUEST_PATH"
ENV_REQUEST_DIGEST: Final = "VIDBENCH_REQUEST_DIGEST"
ENV_CELL: Final = "VIDBENCH_CELL"
ENV_SHARD: Final = "VIDBENCH_SHARD"
ENV_ATTEMPT: Final = "VIDBENCH_ATTEMPT"
ENV_MESSAGE_PATH: Final = "VIDBENCH_MESSAGE_PATH"
ENV_MESSAGE_LIMIT: Final = "VIDBENCH_MESSAGE_LIMIT"
ENV_ARTIFACTS: Final = "VIDBENCH_ARTIFACTS"
ENV_NODE_NAME: Final = "VIDBENCH_NODE_NAME"
ENV_POD_NAME: Final = "VIDBENCH_POD_NAME"
ENV_POD_UID: Final = "VIDBENCH_POD_UID"
ENV_IMAGE: Final = "VIDBENCH_IMAGE"
ENV_SERVICE_API_KEY: Final = "VIDBENCH_SERVICE_API_KEY"
"""The API key of the endpoint that the cell's model names, from the Secret that the RunnerClass ties to it."""

ENV_HARVEST: Final = "VIDBENCH_HARVEST"
"""`true`: the runner measures nothing; it reads the attempt's stored verdict and reports it. As the command `harvest`."""

ENV_PRETENDED_GPUS: Final = "VIDBENCH_PRETENDED_GPUS"
"""`true` in a RunnerClass whose nodes only pretend to have GPUs: running on the CPU then is no defect."""

MAX_RUN_NAME: Final = 40
MAX_CELLS: Final = 200
MAX_SHARDS_OF_RUN: Final = 600
MAX_SAMPLES: Final = 64
MESSAGE_LIMIT: Final = 2457
"""Bytes of a termination message that survive next to four injected sidecars (12,288 bytes a pod, shared)."""

REQUEST_LIMIT: Final = 512 * 1024
SPEC_LIMIT: Final = 64 * 1024


class Outcome(StrEnum):
    """How a shard or a cell ended. Out of memory is a finding, not an error."""

    SUCCEEDED = "Succeeded"
    OUT_OF_MEMORY = "OutOfMemory"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Validity(StrEnum):
    """Whether a measurement may be believed; a thing apart from its outcome."""

    VALID = "Valid"
    INVALID = "Invalid"
    PARTIAL = "Partial"


class Comparability(StrEnum):
    """What a result timed. Results are compared with results of the same kind only."""

    DEVICE = "Device"
    """A model on a device of this cluster."""

    SERVICE = "Service"
    """A server, from outside: queues, network and other clients are in the figures."""

    MOCK = "Mock"
    """Nothing: a dry run."""


class RunPhase(StrEnum):
    """The one word of `status.phase`."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    PARTIALLY_SUCCEEDED = "PartiallySucceeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"


class RowPhase(StrEnum):
    """Where a cell, or a shard of it, is."""

    PENDING = "Pending"
    ACTIVE = "Active"
    FINISHED = "Finished"


class Reason(StrEnum):
    """Why an attempt, and with it perhaps its shard, did not succeed."""

    OUT_OF_MEMORY_CUDA = "OutOfMemoryCuda"
    OUT_OF_MEMORY_HOST = "OutOfMemoryHost"

    INVALID_REQUEST = "InvalidRequest"
    INVALID_ARGUMENTS = "InvalidArguments"
    UNSUPPORTED_OPTION = "UnsupportedOption"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_ACCESS_DENIED = "ModelAccessDenied"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    GENERATION_FAILED = "GenerationFailed"
    NAN_OUTPUT = "NaNOutput"
    OUTPUT_UNREADABLE = "OutputUnreadable"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    SERVICE_TIMEOUT = "ServiceTimeout"
    COST_CAP = "CostCapReached"
    LOAD_DEADLINE = "LoadDeadlineExceeded"
    SHARD_DEADLINE = "ShardDeadlineExceeded"
    NAME_CONFLICT = "NameConflict"
    CONTAINER_CONFIG = "ContainerConfigError"
    ADMISSION_REFUSED = "AdmissionRefused"
    QUOTA_EXCEEDED = "QuotaExceeded"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL = "ImagePullFailed"

    HUNG = "Hung"
    INTERRUPTED = "Interrupted"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    KILLED = "Killed"
    DEVICE_FAULT = "DeviceFault"
    STORAGE_FAILED = "StorageFailed"
    HOST_UNHEALTHY = "HostUnhealthy"
    NODE_SHUTDOWN = "NodeShutdown"
    DEVICE_REFUSED = "DeviceRefused"
    NODE_REFUSED = "NodeRefused"

    RESULT_LOST = "ResultLost"
    RESULT_GARBAGE = "ResultGarbage"
    RUNNER_CRASHED = "RunnerCrashed"
    INTERNAL_ERROR = "InternalError"
    RUN_DEADLINE = "RunDeadlineExceeded"
    SUSPENDED = "Suspended"
    RUN_CANCELLED = "RunCancelled"
    TOO_MANY_FAILED = "TooManyFailedCells"
    BREAKER_OPEN = "BreakerOpen"
    RUNG_SKIPPED = "RungSkipped"
    MEASUREMENT_INVALID = "MeasurementInvalid"


class ExitCode(IntEnum):
    """What the runner's process says by its exit code; each but 0 becomes a Job condition by podFailurePolicy."""

    SUCCEEDED = 0
    INVALID_REQUEST = 80
    OUT_OF_MEMORY_CUDA = 81
    OUT_OF_MEMORY_HOST = 82
    MODEL_UNAVAILABLE = 83
    MODEL_LOAD_FAILED = 84
    GENERATION_FAILED = 85
    NAN_OUTPUT = 86
    LOAD_DEADLINE = 87
    SHARD_DEADLINE = 88
    HUNG = 89
    INTERRUPTED = 90
    DEVICE_FAULT = 91
    STORAGE_FAILED = 92
    KILLED = 93
    INTERNAL_ERROR = 94
    HOST_UNHEALTHY = 95
    NOTHING_STORED = 96
    SERVICE_UNAVAILABLE = 97
    COST_CAP = 98


EXIT_CODE_OF_REASON: Final[dict[Reason, ExitCode]] = {
    Reason.INVALID_REQUEST: ExitCode.INVALID_REQUEST,
    Reason.INVALID_ARGUMENTS: ExitCode.INVALID_REQUEST,
    Reason.UNSUPPORTED_OPTION: ExitCode.INVALID_REQUEST,
    Reason.OUT_OF_MEMORY_CUDA: ExitCode.OUT_OF_MEMORY_CUDA,
    Reason.OUT_OF_MEMORY_HOST: ExitCode.OUT_OF_MEMORY_HOST,
    Reason.MODEL_NOT_FOUND: ExitCode.MODEL_UNAVAILABLE,
    Reason.MODEL_ACCESS_DENIED: ExitCode.MODEL_UNAVAILABLE,
    Reason.MODEL_LOAD_FAILED: ExitCode.MODEL_LOAD_FAILED,
    Reason.GENERATION_FAILED: ExitCode.GENERATION_FAILED,
    Reason.NAN_OUTPUT: ExitCode.NAN_OUTPUT,
    Reason.OUTPUT_UNREADABLE: ExitCode.GENERATION_FAILED,
    Reason.SERVICE_UNAVAILABLE: ExitCode.SERVICE_UNAVAILABLE,
    Reason.SERVICE_TIMEOUT: ExitCode.SERVICE_UNAVAILABLE,
    Reason.COST_CAP: ExitCode.COST_CAP,
    Reason.LOAD_DEADLINE: ExitCode.LOAD_DEADLINE,
    Reason.SHARD_DEADLINE: ExitCode.SHARD_DEADLINE,
    Reason.HUNG: ExitCode.HUNG,
    Reason.INTERRUPTED: ExitCode.INTERRUPTED,
    Reason.DEVICE_FAULT: ExitCode.DEVICE_FAULT,
    Reason.STORAGE_FAILED: ExitCode.STORAGE_FAILED,
    Reason.KILLED: ExitCode.KILLED,
    Reason.INTERNAL_ERROR: ExitCode.INTERNAL_ERROR,
    Reason.HOST_UNHEALTHY: ExitCode.HOST_UNHEALTHY,
    Reason.RESULT_LOST: ExitCode.NOTHING_STORED,
}


class ConditionType(StrEnum):
    """Types of the conditions of a run; `COMPLETE` and `FAILED` are terminal and exclude each other."""

    ACCEPTED = "Accepted"
    SUSPENDED = "Suspended"
    GATES_PASSED = "GatesPassed"
    COMPLETE = "Complete"
    FAILED = "Failed"
    RECONCILING = "Reconciling"
    READY = "Ready"
    STALLED = "Stalled"


class ConditionReason(StrEnum):
    """Reasons of the conditions of a run."""

    ACCEPTED = "Accepted"
    WAITING = "WaitingForReferences"
    RUNNER_CLASS_NOT_FOUND = "RunnerClassNotFound"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    SELECTOR_NOT_ALLOWED = "SelectorNotAllowed"
    TOLERATION_NOT_ALLOWED = "TolerationNotAllowed"
    RESOURCE_NOT_ALLOWED = "ResourceNotAllowed"
    PRIORITY_CLASS_NOT_ALLOWED = "PriorityClassNotAllowed"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_NOT_RUNNABLE = "ModelNotRunnable"
    ENDPOINT_NOT_ALLOWED = "EndpointNotAllowed"
    ARCHITECTURE_NOT_KNOWN = "ArchitectureNotKnown"
    NO_CELLS = "NoCells"
    INVALID_VARIANT = "InvalidVariant"
    REQUEST_TOO_LARGE = "RequestTooLarge"
    REQUEST_CONFLICT = "RequestConflict"
    REQUEST_LOST = "RequestLost"
    INVALID_SPEC = "InvalidSpec"
    PENDING = "Pending"
    RUNNING = "Running"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    HELD = "HeldByParallelism"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    QUEUED = "Queued"
    CANCELLED = "Cancelled"
    CANCELLING = "Cancelling"
    TOO_MANY_FAILED = "TooManyFailedCells"
    GPUS_PER_NODE = "NotEnoughGpusOnANode"
    MEMORY_ESTIMATE = "EstimateExceedsGpuMemory"
    QUEUE_NOT_FOUND = "QueueNotFound"
    ALL_SUCCEEDED = "AllSucceeded"
    SOME_CELLS_FAILED = "SomeCellsFailed"
    NO_RESULT = "NoResult"
    RUN_DEADLINE = "RunDeadlineExceeded"
    GATES_PENDING = "GatesPending"
    ALL_PASSED = "AllPassed"
    GATE_FAILED = "GateFailed"
    GATE_INCONCLUSIVE = "GateInconclusive"
    NOT_EVALUATED = "NotEvaluated"


class LimitedBy(StrEnum):
    """Why not more Jobs run at this moment."""

    NOTHING = "Nothing"
    PARALLELISM = "Parallelism"
    CAPACITY = "Capacity"
    QUOTA = "Quota"
    QUEUE = "Queue"
    BREAKER = "Breaker"
    BACK_OFF = "BackOff"
    PAIRING = "Pairing"
    SUSPENDED = "Suspended"


class EventReason(StrEnum):
    """Reasons of the Events that the operator writes about a run."""

    ACCEPTED = "Accepted"
    REFUSED = "Refused"
    ATTEMPT_FAILED = "AttemptFailed"
    SHARD_FINISHED = "ShardFinished"
    RUN_COMPLETE = "RunComplete"
    RUN_FAILED = "RunFailed"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    CANCELLED = "Cancelled"
    REUSED = "Reused"
    BREAKER_OPENED = "BreakerOpened"
    FALLBACK = "Fallback"
    HEALTH_ALERT = "HealthAlert"
    GATES_PASSED = "GatesPassed"
    GATES_NOT_PASSED = "GatesNotPassed"
