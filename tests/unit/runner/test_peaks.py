"""Which memory figures count as the peak of a shard, and what stands where one is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import CELL
from support.scripted_model import clip

from vidbench_api.measured import Memory
from vidbench_api.verdict import Verdict
from vidbench_runner.core.energy import Energy
from vidbench_runner.core.peaks import Failure, cold_memory, peak_memory, with_outer_peaks
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.ports import AcceleratorMemory, ClipRequest, DeviceReading, HostReading

REQUEST = ClipRequest("a cat", None, 7, 16, 32, 5, 2)
HOST = HostReading(peak_resident_bytes=100, cgroup_peak_bytes=200)
NO_GPU = DeviceReading(reason="no_gpu")


def sample(allocated: int | None, device: int | None = None, *, warmup: bool = False) -> MeasuredSample:
    made = clip(REQUEST, memory_allocated_bytes=allocated, memory_reserved_bytes=allocated)
    reading = DeviceReading(memory_used_bytes=device)
    return MeasuredSample(0, warmup, "cat", 7, made, "", Energy(None, 0, "x"), reading)


def failed(allocated: int | None, device: int | None = None) -> Failure:
    return Failure(AcceleratorMemory(allocated, allocated, None), DeviceReading(memory_used_bytes=device))


CASES: list[Any] = [
    pytest.param([], [], None, (None, None), id="nothing was generated"),
    pytest.param([sample(9, 90)], [], None, (9, 90), id="the warm-up is all there is"),
    pytest.param([sample(9, 90)], [sample(5, 50)], None, (5, 50), id="a cold pass counts no more once one is measured"),
    pytest.param([], [sample(5, 50), sample(7, 40)], None, (7, 50), id="the largest of each"),
    pytest.param([], [sample(5, 50)], failed(8, 80), (8, 80), id="the failure took more"),
    pytest.param([], [], failed(8, 80), (8, 80), id="failed in the load"),
    pytest.param([sample(9, 90)], [], failed(None, None), (9, 90), id="a device that does not answer hides nothing"),
    pytest.param([], [], Failure(None, NO_GPU), (None, None), id="a failure of which nothing is known"),
]


@pytest.mark.parametrize(("warmups", "samples", "failure", "expected"), CASES)
def test_peak_is_of_the_measured_samples_and_of_the_failure(
    warmups: Any, samples: Any, failure: Failure | None, expected: tuple[int | None, int | None]
) -> None:
    memory, reasons = peak_memory(warmups, samples, failure, NO_GPU, HOST)
    assert (memory.allocated, memory.device) == expected
    assert (memory.host, memory.cgroup) == (100, 200)
    assert ("memoryDevice" in reasons) is (memory.device is None)


GIBIBYTE = 2**30
OFFLOADED: list[Any] = [
    pytest.param(20, 0, 1, 21, id="offload by model took all of it off the device before it was read"),
    pytest.param(20, 20, 21, 21, id="nothing was given back"),
    pytest.param(20, None, 1, 1, id="what the allocator holds is not known: as the driver says"),
    pytest.param(None, 0, 1, 1, id="its peak is not known"),
    pytest.param(20, 0, None, None, id="the driver does not say"),
]


def offloaded(reserved: int | None, after: int | None, used: int | None) -> MeasuredSample:
    """A sample of a model that left the device, in GiB."""
    peak, held, device = (None if figure is None else figure * GIBIBYTE for figure in (reserved, after, used))
    made = clip(REQUEST, memory_reserved_bytes=peak, memory_reserved_after_bytes=held)
    return replace(sample(None, device), clip=made)


@pytest.mark.parametrize(("reserved", "after", "used", "expected"), OFFLOADED)
def test_device_peak_holds_what_the_allocator_gave_back_before_the_driver_was_asked(
    reserved: int | None, after: int | None, used: int | None, expected: int | None
) -> None:
    wanted = None if expected is None else expected * GIBIBYTE
    made = offloaded(reserved, after, used)
    assert peak_memory([], [made], None, NO_GPU, HOST)[0].device == wanted
    cold = cold_memory([made])
    assert (cold.device if cold is not None else None) == wanted


def test_device_peak_of_a_failure_holds_what_was_given_back_as_well() -> None:
    failure = Failure(AcceleratorMemory(70, 80, None, reserved_now=30), DeviceReading(memory_used_bytes=35))
    assert peak_memory([], [], failure, NO_GPU, HOST)[0].device == 85


_BYTES = st.none() | st.integers(0, 2**40)
_SAMPLES = st.lists(st.builds(sample, _BYTES, _BYTES), max_size=3)
_FAILURES = st.none() | st.builds(failed, _BYTES, _BYTES)


@given(warmups=_SAMPLES, samples=_SAMPLES, failure=_FAILURES, host=_BYTES, cgroup=_BYTES)
def test_every_figure_is_there_or_has_its_reason(
    warmups: Any, samples: Any, failure: Failure | None, host: int | None, cgroup: int | None
) -> None:
    memory, reasons = peak_memory(warmups, samples, failure, NO_GPU, HostReading(host, cgroup))
    by_columns = {"allocated", "reserved"} if samples else set()
    for name in set(Memory.model_fields) - {"cap"}:
        there = getattr(memory, name) is not None
        assert there is not (f"memory{name.capitalize()}" in reasons) or name in by_columns, name
    if failure is not None and failure.accelerator is not None and failure.accelerator.allocated is not None:
        assert memory.allocated is not None
        assert memory.allocated >= failure.accelerator.allocated


def verdict(**changes: Any) -> Verdict:
    return Verdict(request_digest="0" * 16, cell=CELL, shard=1, attempt=1, **changes)


@pytest.mark.parametrize(
    ("before", "host", "cgroup", "after"),
    [
        pytest.param(None, 5, 7, (5, 7), id="killed before it said anything"),
        pytest.param(Memory(allocated=1, host=9, cgroup=9), 5, 7, (9, 9), id="it said more"),
        pytest.param(Memory(allocated=1, host=2, cgroup=2), 5, None, (5, 2), id="a cgroup that shows nothing"),
    ],
)
def test_supervisor_adds_what_a_killed_worker_could_not_say(
    before: Memory | None, host: int | None, cgroup: int | None, after: tuple[int, int]
) -> None:
    unmeasured = {"memoryHost": "not_read", "energy": "no_gpu"}
    told = with_outer_peaks(verdict(memory=before, unmeasured=unmeasured), host, cgroup)
    assert told.memory is not None
    assert (told.memory.host, told.memory.cgroup) == after
    assert told.memory.allocated == (before.allocated if before else None)
    assert told.unmeasured["energy"] == "no_gpu"


def test_verdict_stays_as_it_is_where_the_supervisor_knows_no_more() -> None:
    known = verdict(memory=Memory(host=9, cgroup=9))
    assert with_outer_peaks(known, None, 9) is known
    assert with_outer_peaks(verdict(), None, None).memory is None
