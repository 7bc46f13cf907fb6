"""The table of failures: every reason with its class, the words by which it is recognised, and what a user does about it.

Data, and look-ups over it. Which evidence comes before which is decided in `evidence`, what follows in `retry`;
docs/failures.md is generated from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vidbench_api.names import EXIT_CODE_OF_REASON, Reason


class FailureClass(StrEnum):
    """What a reason says about a further attempt. Each class has a budget of its own."""

    FINDING = "Finding"
    """Out of memory: the answer to the question that the cell asked."""

    DETERMINISTIC = "Deterministic"
    """It would fail again: never another attempt."""

    DISRUPTION = "Disruption"
    """Somebody wanted the pod or its place for something else: again, charged to no budget; the run's deadline bounds it."""

    INFRASTRUCTURE = "Infrastructure"
    """The place failed, not the model: failurePolicy.infrastructureRetries, on another node."""

    LOST = "Lost"
    """It ended, and nobody knows how: Policy.lost_result_retries."""

    INVALID = "Invalid"
    """It succeeded, and its figures may not be believed: measured again, Policy.invalid_retries."""

    UNKNOWN = "Unknown"
    """Evidence that fits nothing else: failurePolicy.unknownRetries."""


@dataclass(frozen=True)
class Failure:
    """One reason. The words are those of Kubernetes; what needs more than a word is told in `seen_as`."""

    reason: Reason
    failure_class: FailureClass
    next_step: str
    seen_as: str = ""
    container_reasons: tuple[str, ...] = ()
    """`reason` of the terminated runner container."""

    pod_reasons: tuple[str, ...] = ()
    """`status.reason` of the pod."""

    disruptions: tuple[str, ...] = ()
    """`reason` of the pod's True DisruptionTarget condition."""

    waiting_reasons: tuple[str, ...] = ()
    """`reason` of the waiting runner container, beyond timeouts.imagePullSeconds; what can never heal at once."""

    @property
    def exit_code(self) -> int | None:
        """The runner's exit code; several reasons may share one, and then only the verdict tells them apart."""
        code = EXIT_CODE_OF_REASON.get(self.reason)
        return None if code is None else int(code)


_FINDING, _DETERMINISTIC, _DISRUPTION = FailureClass.FINDING, FailureClass.DETERMINISTIC, FailureClass.DISRUPTION
_INFRASTRUCTURE, _LOST, _UNKNOWN = FailureClass.INFRASTRUCTURE, FailureClass.LOST, FailureClass.UNKNOWN

FAILURES: tuple[Failure, ...] = (
    Failure(Reason.OUT_OF_MEMORY_CUDA, _FINDING, "Use a variant that needs less (offload, VAE tiling, smaller clip), or outOfMemory: Fallback."),
    Failure(Reason.OUT_OF_MEMORY_HOST, _FINDING, "Raise resources.memory of the RunnerClass, or use a variant that needs less.", container_reasons=("OOMKilled",)),
    Failure(Reason.INVALID_REQUEST, _DETERMINISTIC, "Runner and operator differ in version: use the runner image of this release."),
    Failure(Reason.INVALID_ARGUMENTS, _DETERMINISTIC, "Correct variants[].arguments: the message names the argument and what the pipeline takes."),
    Failure(Reason.UNSUPPORTED_OPTION, _DETERMINISTIC, "Leave out the option that the message names; this model's class does not support it."),
    Failure(Reason.MODEL_NOT_FOUND, _DETERMINISTIC, "Correct source of the VideoModel, or put the weights where the RunnerClass mounts them. The runner image is offline: a hub id needs a filled cache, or HF_HUB_OFFLINE=0 in env of the RunnerClass (docs/models.md)."),
    Failure(Reason.MODEL_ACCESS_DENIED, _DETERMINISTIC, "Accept the model's licence and give access to it."),
    Failure(Reason.MODEL_LOAD_FAILED, _DETERMINISTIC, "See the pod's log: files are missing or damaged, or a library is too old."),
    Failure(Reason.GENERATION_FAILED, _DETERMINISTIC, "See the message and the pod's log: the pipeline raised an error."),
    Failure(Reason.NAN_OUTPUT, _DETERMINISTIC, "Use another dtype: the output held values that are no numbers."),
    Failure(Reason.OUTPUT_UNREADABLE, _DETERMINISTIC, "See the message: what the service delivered is no whole video."),
    Failure(Reason.SERVICE_UNAVAILABLE, _DETERMINISTIC, "See the service: it refused, failed or did not answer for as long as the runner tries. Apply a new run once it does."),
    Failure(Reason.SERVICE_TIMEOUT, _DETERMINISTIC, "See the service, or raise source.http.clipSeconds of the VideoModel."),
    Failure(Reason.COST_CAP, _DETERMINISTIC, "Raise source.http.maxCostPerAttempt of the VideoModel, or ask for fewer samples; what was measured stays, Partial."),
    Failure(Reason.LOAD_DEADLINE, _DETERMINISTIC, "Raise timeouts.loadSeconds, or bring the weights nearer to the node."),
    Failure(Reason.SHARD_DEADLINE, _DETERMINISTIC, "Raise timeouts.shardSeconds, or measure fewer samples.", "the pod outlives shardSeconds and a grace", pod_reasons=("DeadlineExceeded",)),
    Failure(Reason.NAME_CONFLICT, _DETERMINISTIC, "Delete the object that the message names and apply a new run.", "a Job or BenchmarkResult of the computed name belongs to somebody else"),
    Failure(Reason.CONTAINER_CONFIG, _DETERMINISTIC, "Create the claim, Secret or folder that the message names.", "no container within imagePullSeconds", waiting_reasons=("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "ContainerCreating")),
    Failure(Reason.IMAGE_PULL, _DETERMINISTIC, "Correct image or imagePullSecrets of the RunnerClass.", "beyond imagePullSeconds; `InvalidImageName` and `ErrImageNeverPull` at once", waiting_reasons=("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable")),
    Failure(Reason.ADMISSION_REFUSED, _DETERMINISTIC, "Ask the cluster's admins about the policy that the message names.", "Event FailedCreate of the Job, or the answer to its creation, beyond schedulingSeconds"),
    Failure(Reason.QUOTA_EXCEEDED, _DETERMINISTIC, "Raise the ResourceQuota, or wait until others have finished.", "as AdmissionRefused, where the text says `exceeded quota`"),
    Failure(Reason.UNSCHEDULABLE, _DETERMINISTIC, "Correct hardware[].nodeSelector, tolerations or gpus, or add nodes.", "condition PodScheduled=False beyond schedulingSeconds"),
    Failure(Reason.EVICTED, _DISRUPTION, "None: tried again.", pod_reasons=("Evicted",), disruptions=("EvictionByEvictionAPI", "TerminationByKubelet")),
    Failure(Reason.PREEMPTED, _DISRUPTION, "None: tried again. A higher scheduling.priorityClassName is preempted less.", pod_reasons=("Preempting",), disruptions=("PreemptionByScheduler",)),
    Failure(Reason.NODE_SHUTDOWN, _DISRUPTION, "None: tried again on another node.", pod_reasons=("Terminated", "NodeShutdown", "Shutdown")),
    Failure(Reason.POD_DELETED, _DISRUPTION, "None: tried again.", "the pod was deleted before its runner gave a final verdict"),
    Failure(Reason.JOB_DELETED, _DISRUPTION, "None: tried again.", "the recorded Job is gone from a live list, without a final verdict"),
    Failure(Reason.INTERRUPTED, _DISRUPTION, "None: tried again.", "told to stop, and nothing says by whom"),
    Failure(Reason.SUSPENDED, _DISRUPTION, "None: tried again once the run is resumed.", "the run was suspended"),
    Failure(Reason.NODE_LOST, _INFRASTRUCTURE, "See the node; the attempt goes to another one.", "the pod is Terminating or Unknown on a node that is NotReady or gone, for nodeLostSeconds", pod_reasons=("NodeLost",), disruptions=("DeletionByPodGC", "DeletionByTaintManager")),
    Failure(Reason.DEVICE_FAULT, _INFRASTRUCTURE, "See the node's GPU (Xid, ECC); the attempt goes to another node.", "or it failed for no known reason on a node whose condition or taint names a GPU fault"),
    Failure(Reason.DEVICE_REFUSED, _INFRASTRUCTURE, "See the device plugin of the node; the attempt goes to another one.", pod_reasons=("UnexpectedAdmissionError",)),
    Failure(Reason.NODE_REFUSED, _INFRASTRUCTURE, "None: the node was full or changed; the attempt goes to another one.", "the pod failed before its container ran, for any other word of the node, e.g. OutOfcpu", pod_reasons=("NodeAffinity", "NodeName", "NodePorts", "NodeUnschedulable", "TaintToleration", "TopologyAffinityError", "InvalidNodeInfo")),
    Failure(Reason.STORAGE_FAILED, _INFRASTRUCTURE, "See the claims, or raise scratch and ephemeralStorage of the RunnerClass.", "or evicted because the pod itself used more than its own limit of local storage"),
    Failure(Reason.HOST_UNHEALTHY, _INFRASTRUCTURE, "See the check in the message; the attempt goes to another node."),
    Failure(Reason.HUNG, _INFRASTRUCTURE, "See the pod's log for the stacks; raise timeouts.noProgressSeconds if it was only slow."),
    Failure(Reason.RESULT_LOST, _LOST, "With artifacts.storageUri the stored document stands in for the message.", "it ended without a termination message, or its pod vanished unseen, and nothing was stored either"),
    Failure(Reason.RESULT_GARBAGE, _LOST, "See whether another container of the pod writes termination messages.", "the termination message is no verdict of this attempt"),
    Failure(Reason.MEASUREMENT_INVALID, FailureClass.INVALID, "See its validity.reasons; `validity.onInvalid: Flag` keeps it without another attempt.", "the shard succeeded, is Invalid, and all that speaks against it may be gone in another attempt"),
    Failure(Reason.KILLED, _UNKNOWN, "See the node's log: all processes ended at once, perhaps out of the node's memory.", "a verdict written ahead is all that it left"),
    Failure(Reason.RUNNER_CRASHED, _UNKNOWN, "See the pod's log.", "a final verdict with a reason that a runner cannot give"),
    Failure(Reason.INTERNAL_ERROR, _UNKNOWN, "A defect of the runner: see the pod's log and report it."),
    Failure(Reason.RUN_DEADLINE, _DETERMINISTIC, "Raise timeouts.runSeconds, which may be changed while the run goes on.", "the run is older than runSeconds"),
    Failure(Reason.RUN_CANCELLED, _DETERMINISTIC, "None: it was asked for.", "spec.cancel"),
    Failure(Reason.TOO_MANY_FAILED, _DETERMINISTIC, "See the failed cells, or raise failurePolicy.maxFailedCells.", "more cells have failed than failurePolicy.maxFailedCells"),
    Failure(Reason.BREAKER_OPEN, _DETERMINISTIC, "See why the model's other shards failed.", "the model failed everywhere in this run, and again when it was probed"),
    Failure(Reason.RUNG_SKIPPED, _DETERMINISTIC, "None: the estimate says that it would not fit, or it cannot help here.", "the rung was not tried"),
)  # fmt: skip

CLASS_OF_REASON: dict[Reason, FailureClass] = {failure.reason: failure.failure_class for failure in FAILURES}

REASON_OF_EXIT_CODE: dict[int, Reason] = {}
for _reason, _code in EXIT_CODE_OF_REASON.items():
    REASON_OF_EXIT_CODE.setdefault(int(_code), _reason)
REASON_OF_CONTAINER: dict[str, Reason] = {word: row.reason for row in FAILURES for word in row.container_reasons}
REASON_OF_POD: dict[str, Reason] = {word: row.reason for row in FAILURES for word in row.pod_reasons}
REASON_OF_DISRUPTION: dict[str, Reason] = {word: row.reason for row in FAILURES for word in row.disruptions}
REASON_OF_WAITING: dict[str, Reason] = {word: row.reason for row in FAILURES for word in row.waiting_reasons}


def class_of(reason: str | None) -> FailureClass | None:
    """Return the class of a reason as the status holds it; None for none, and for a word that is no reason of ours."""
    known = next((entry for entry in CLASS_OF_REASON if entry.value == reason), None)
    return CLASS_OF_REASON[known] if known is not None else None
