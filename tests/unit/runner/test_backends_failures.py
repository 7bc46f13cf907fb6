from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import errors

from vidbench_api.names import Reason
from vidbench_api.verdict import Phase
from vidbench_runner.backends.failures import generation_failure, load_failure


def hub_error(kind, status: int):
    return kind("refused", response=SimpleNamespace(status_code=status, headers={}, request=None))


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(hub_error(errors.GatedRepoError, 403), Reason.MODEL_ACCESS_DENIED, id="gated repository"),
        pytest.param(hub_error(errors.HfHubHTTPError, 401), Reason.MODEL_ACCESS_DENIED, id="bad token"),
        pytest.param(
            caused(OSError("cannot load"), hub_error(errors.GatedRepoError, 403)),
            Reason.MODEL_ACCESS_DENIED,
            id="gated, wrapped by the library",
        ),
        pytest.param(hub_error(errors.RepositoryNotFoundError, 404), Reason.MODEL_NOT_FOUND, id="no such repository"),
        pytest.param(
            hub_error(errors.RepositoryNotFoundError, 401), Reason.MODEL_NOT_FOUND, id="not shown without a token"
        ),
        pytest.param(hub_error(errors.RevisionNotFoundError, 404), Reason.MODEL_NOT_FOUND, id="no such commit"),
        pytest.param(errors.LocalEntryNotFoundError("offline"), Reason.MODEL_NOT_FOUND, id="offline and not cached"),
        pytest.param(OSError("no file named config.json"), Reason.MODEL_LOAD_FAILED, id="missing file"),
        pytest.param(hub_error(errors.HfHubHTTPError, 500), Reason.MODEL_LOAD_FAILED, id="hub down"),
        pytest.param(torch.OutOfMemoryError("CUDA out of memory"), Reason.OUT_OF_MEMORY_CUDA, id="weights too big"),
        pytest.param(MemoryError(), Reason.OUT_OF_MEMORY_HOST, id="host memory"),
    ],
)
def test_load_failure_has_the_reason_of_its_cause(error, reason):
    failure = load_failure(error, "owner/model")
    assert failure.reason == reason
    assert "owner/model" in failure.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory."), Reason.OUT_OF_MEMORY_CUDA, id="allocator"),
        pytest.param(RuntimeError("CUDA error: out of memory"), Reason.OUT_OF_MEMORY_CUDA, id="driver"),
        pytest.param(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), Reason.OUT_OF_MEMORY_CUDA, id="cuBLAS"),
        pytest.param(
            RuntimeError("DefaultCPUAllocator: can't allocate memory"), Reason.OUT_OF_MEMORY_HOST, id="host allocator"
        ),
        pytest.param(
            torch.AcceleratorError("CUDA error: uncorrectable ECC error"),
            Reason.DEVICE_FAULT,
            id="the device is broken",
        ),
        pytest.param(
            torch.AcceleratorError("CUDA error: device-side assert triggered"),
            Reason.GENERATION_FAILED,
            id="the model is",
        ),
        pytest.param(ValueError("shapes differ"), Reason.GENERATION_FAILED, id="anything else"),
    ],
)
def test_generation_failure_has_the_reason_and_the_phase(error, reason):
    failure = generation_failure(error, Phase.VAE_DECODE)
    assert (failure.reason, failure.phase) == (reason, Phase.VAE_DECODE)
    assert "vae_decode" in failure.message


def test_failure_tells_the_root_cause_on_one_line_and_is_bounded():
    failure = load_failure(caused(OSError("a\nb" * 5000), ValueError("the root")), "x")
    assert "\n" not in failure.message
    assert len(failure.message) < 2100
    assert "the root" in load_failure(caused(OSError("outer"), ValueError("the root")), "x").message
