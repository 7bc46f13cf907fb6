"""What an exception of the libraries means: the reason that a run's status will show.

Looks at the exception and at what caused it, since the libraries wrap each other's. Decides nothing about retries.
"""

from __future__ import annotations

from collections.abc import Iterator

from vidbench_api.names import Reason
from vidbench_api.verdict import LoadPhase, Phase
from vidbench_runner.ports import AcceleratorMemory, ModelFailure

MESSAGE_CHARACTERS = 2000
_CUDA_MEMORY_WORDS = ("CUDA error: out of memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_HOST_MEMORY_WORDS = ("DefaultCPUAllocator", "Cannot allocate memory")
_MODEL_FAULT_WORDS = ("device-side assert",)
"""CUDA errors that are the model's fault (an index out of range) and not the device's."""


def load_failure(
    error: Exception, source: str, phase: LoadPhase | None = None, memory: AcceleratorMemory | None = None
) -> ModelFailure:
    """The failure that an exception during a load is; `phase` is how far the load was."""
    from huggingface_hub import errors

    chain = list(_chain(error))
    resource = _exhausted(chain)
    if resource is not None:
        message = f"loading {source} ran out of memory: {_text(error)}"
        return ModelFailure(resource, message, phase=phase, memory=memory)
    if any(_is_refused(link) for link in chain):
        return ModelFailure(
            Reason.MODEL_ACCESS_DENIED,
            f"access to {source} is denied: accept its licence with the account whose token is used. {_text(error)}",
        )
    absent = (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.LocalEntryNotFoundError,
        errors.IncompleteSnapshotError,
        errors.OfflineModeIsEnabled,
        errors.HFValidationError,
    )
    if any(isinstance(link, absent) for link in chain):
        return ModelFailure(
            Reason.MODEL_NOT_FOUND,
            f"{source} is not in the local cache and was not found on the hub (or is private): {_text(error)}",
        )
    return ModelFailure(Reason.MODEL_LOAD_FAILED, f"{source} does not load: {_text(error)}", phase=phase)


def generation_failure(error: Exception, phase: Phase | None, memory: AcceleratorMemory | None = None) -> ModelFailure:
    """The failure that an exception during a call is; `phase` is where the sample was."""
    import torch

    chain = list(_chain(error))
    where = phase.value if phase is not None else "the call"
    resource = _exhausted(chain)
    if resource is not None:
        return ModelFailure(resource, f"out of memory in {where}: {_text(error)}", phase=phase, memory=memory)
    device_fault = any(
        isinstance(link, torch.AcceleratorError) and not any(word in str(link) for word in _MODEL_FAULT_WORDS)
        for link in chain
    )
    reason = Reason.DEVICE_FAULT if device_fault else Reason.GENERATION_FAILED
    return ModelFailure(reason, f"{where} failed: {_text(error)}", phase=phase, memory=memory)


def _exhausted(chain: list[BaseException]) -> Reason | None:
    import torch

    for link in chain:
        text = str(link)
        if isinstance(link, torch.OutOfMemoryError) or any(word in text for word in _CUDA_MEMORY_WORDS):
            return Reason.OUT_OF_MEMORY_CUDA
        if isinstance(link, MemoryError) or any(word in text for word in _HOST_MEMORY_WORDS):
            return Reason.OUT_OF_MEMORY_HOST
    return None


def _is_refused(error: BaseException) -> bool:
    """Whether the hub refused access; 401 of a repository that it does not show may as well mean that there is none."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in (401, 403) and not isinstance(error, errors.RepositoryNotFoundError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _text(error: BaseException) -> str:
    text = _one(error)
    root = list(_chain(error))[-1]
    if root is not error and str(root) not in str(error):
        text = f"{text} (because of {_one(root)})"
    return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"


def _one(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
