"""What becomes of a runner's pod, and what it leaves: one word for each way to end, and the message that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from vidbench_api.identity import digest_of
from vidbench_api.measured import Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.message import encode
from vidbench_api.names import (
    ANNOTATION_REQUEST_DIGEST,
    EXIT_CODE_OF_REASON,
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_SHARD,
    ExitCode,
    Outcome,
    Reason,
    Validity,
)
from vidbench_api.validity import ValidityReason
from vidbench_api.verdict import Verdict

CODES = tuple(code for code in ExitCode if code is not ExitCode.SUCCEEDED)
EXITS = tuple(f"exits {code.value}" for code in CODES)
SILENT_EXITS = tuple(f"exits {code.value} without a verdict" for code in CODES)
STARTS = (
    "image cannot be pulled", "image is pulled late", "container cannot be configured", "container never starts",
    "refused by the device plugin", "turned away by the node",
)  # fmt: skip
ENDS = (
    "succeeds", "succeeds in part", "measures what passes", "measures what stays", "killed at the memory limit", "killed at once", "leaves garbage", "leaves nothing",
    "gives an unknown reason", "speaks for another attempt", "leaves impossible figures", "hangs", "evicted by the kubelet", "node shuts down",
)  # fmt: skip
PASSES = (ValidityReason.OTHER_PROCESSES.value,)
STAYS = (ValidityReason.CALL_COUNT_MISMATCH.value,)
FATES = (*STARTS, *ENDS, *EXITS, *SILENT_EXITS)


@dataclass(frozen=True)
class Fate:
    """How a pod will end if nothing else happens to it. Durations are seconds."""

    word: str
    pull_seconds: float
    run_seconds: float
    on_signal: str
    """What it does when it is told to go: `interrupted`, `killed`, `succeeds`."""

    reason: Reason | None = None
    """Of an exit by a code, what the verdict says."""


def choose(chance: Random, calm: float) -> Fate:
    """Return a fate: the share `calm` of pods succeeds, all other fates are equally likely within their group."""
    word = "succeeds"
    if chance.random() >= calm:
        word = chance.choice(chance.choice((STARTS, ENDS, ENDS, EXITS, SILENT_EXITS)))
    reason = None
    if word in EXITS:
        code = int(word.split()[1])
        reason = chance.choice([reason for reason, value in EXIT_CODE_OF_REASON.items() if value == code])
    return Fate(
        word,
        pull_seconds=chance.choice((0.5, 2.0, 20.0)),
        run_seconds=chance.choice((0.2, 5.0, 30.0, 90.0)),
        on_signal=chance.choice(("interrupted", "interrupted", "killed", "succeeds")),
        reason=reason,
    )


def force(word: str, fate: Fate) -> Fate:
    """Return the fate with another word, for scenarios in which something always goes wrong."""
    forced = {"exits 81": Reason.OUT_OF_MEMORY_CUDA, "exits 91": Reason.DEVICE_FAULT, "exits 96": Reason.RESULT_LOST}
    reason = fate.reason if word == fate.word else forced.get(word)
    return Fate(word, fate.pull_seconds, fate.run_seconds, fate.on_signal, reason)


@dataclass(frozen=True)
class Ending:
    """What a container, or its pod, leaves in the pod's status."""

    exit_code: int | None
    reason: str | None = None
    message: str | None = None
    pod_reason: str | None = None
    disruption: str | None = None

    @property
    def phase(self) -> str:
        """Return the phase of the pod after it."""
        return "Succeeded" if self.exit_code == 0 else "Failed"


def ending_of(fate: Fate, manifest: dict[str, Any], pod_uid: str) -> Ending:
    """Return how a pod of that fate ends by itself."""
    says, word = _Speaker(manifest, pod_uid), fate.word
    if word in EXITS:
        assert fate.reason is not None
        return Ending(int(word.split()[1]), "Error", says.failure(fate.reason))
    if word in SILENT_EXITS:
        return Ending(int(word.split()[1]), "Error")
    endings: dict[str, Callable[[], Ending]] = {
        "succeeds in part": lambda: Ending(0, "Completed", says.success(Validity.PARTIAL)),
        "measures what passes": lambda: Ending(0, "Completed", says.success(Validity.INVALID, reasons=PASSES)),
        "measures what stays": lambda: Ending(0, "Completed", says.success(Validity.INVALID, reasons=STAYS)),
        "killed at the memory limit": lambda: Ending(137, "OOMKilled", says.ahead()),
        "killed at once": lambda: Ending(137, "Error", says.ahead()),
        "leaves garbage": lambda: Ending(1, "Error", "x" * 4096),
        "leaves nothing": lambda: Ending(0, "Completed"),
        "gives an unknown reason": lambda: Ending(1, "Error", says.failure("FromAnotherVersion")),
        "speaks for another attempt": lambda: Ending(0, "Completed", says.success(Validity.VALID, attempt=999)),
        "leaves impossible figures": lambda: Ending(0, "Completed", says.nonsense()),
        "evicted by the kubelet": lambda: Ending(137, "Error", says.ahead(), "Evicted", "TerminationByKubelet"),
        "node shuts down": lambda: Ending(137, "Error", None, "Terminated", "TerminationByKubelet"),
    }
    ends = endings.get(word)
    return ends() if ends is not None else Ending(0, "Completed", says.success(Validity.VALID))


def ending_on_signal(fate: Fate, manifest: dict[str, Any], pod_uid: str, *, started: bool) -> Ending:
    """Return how a pod ends that is told to go."""
    if not started:
        return Ending(None)
    says = _Speaker(manifest, pod_uid)
    match fate.on_signal:
        case "interrupted":
            return Ending(int(ExitCode.INTERRUPTED), "Error", says.failure(Reason.INTERRUPTED))
        case "succeeds":
            return Ending(0, "Completed", says.success(Validity.PARTIAL))
    return Ending(137, "Error", says.ahead())


class _Speaker:
    """Writes the verdicts of one pod. Its figures are the pod's own, so that it can be told whose they are."""

    def __init__(self, manifest: dict[str, Any], pod_uid: str) -> None:
        metadata = manifest["metadata"]
        first = 1_000_000 + int(digest_of(pod_uid)[:6], 16)
        values = (first, first + 100_000)
        self._series = Series(
            name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values
        )
        self._who: dict[str, Any] = {
            "request_digest": metadata["annotations"][ANNOTATION_REQUEST_DIGEST][:16],
            "cell": metadata["labels"][LABEL_CELL],
            "shard": int(metadata["labels"][LABEL_SHARD]),
            "attempt": int(metadata["labels"][LABEL_ATTEMPT]),
        }

    def success(self, validity: Validity, attempt: int | None = None, reasons: tuple[str, ...] = ()) -> str:
        who = self._who if attempt is None else {**self._who, "attempt": attempt}
        return encode(
            Verdict(
                **who,
                final=True,
                outcome=Outcome.SUCCEEDED,
                validity=ValidityVerdict(state=validity, reasons=reasons),
                samples_done=2,
                series=(self._series,),
            )
        )

    def nonsense(self) -> str:
        beyond = Statistics(count=2, mean=-1e300, min=0, median=0, max=0)
        return encode(
            Verdict(
                **self._who,
                final=True,
                outcome=Outcome.SUCCEEDED,
                validity=ValidityVerdict(state=Validity.VALID),
                samples_done=2,
                series=(self._series.model_copy(update={"statistics": beyond}),),
            )
        )

    def failure(self, reason: str) -> str:
        memory = reason in (Reason.OUT_OF_MEMORY_CUDA, Reason.OUT_OF_MEMORY_HOST)
        return encode(
            Verdict(
                **self._who,
                final=True,
                outcome=Outcome.OUT_OF_MEMORY if memory else Outcome.FAILED,
                validity=ValidityVerdict(state=Validity.INVALID, reasons=("NotMeasured",)),
                reason=str(reason),
                message=f"it was {reason}",
            )
        )

    def ahead(self) -> str:
        return encode(Verdict(**self._who, samples_done=2, series=(self._series,)))
