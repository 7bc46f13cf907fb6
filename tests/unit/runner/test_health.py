"""What becomes of a shard on a host that is not well: put together from two looks, judged, and never guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_api.health import Health, HealthFinding, HealthLimits, HostHealth
from vidbench_runner.core.endings import HostUnfit
from vidbench_runner.core.health import GPU_FIGURES, HOST_FIGURES, look_of, reasons_against, refusal_of
from vidbench_runner.ports import DeviceReading, HostLook

HOST = HostLook(cpu_percent=3, memory_available_bytes=2**36, cgroup_memory_bytes=2**30, scratch_free_bytes=2**33)
GPU = DeviceReading(temperature_celsius=34, foreign_memory_bytes=0, uncorrected_errors=0, xids=0)
COOL = HealthLimits(max_gpu_temperature_celsius=80)


def test_look_has_every_figure_of_host_and_gpu() -> None:
    look = look_of(HOST, replace(GPU, xids=1, last_xid=79))
    assert look.unmeasured == {}
    assert look.health == HostHealth(
        cpu_percent=3, memory_available_bytes=2**36, cgroup_memory_bytes=2**30, scratch_free_bytes=2**33,
        gpu_temperature_celsius=34, gpu_foreign_memory_bytes=0, gpu_uncorrected_errors=0, gpu_xids=1, gpu_last_xid=79,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "device", "unmeasured"),
    [
        pytest.param(HOST, DeviceReading(reason="no meter: x"), {"healthGpu": "no meter: x"}, id="no GPU: one reason"),
        pytest.param(
            HOST, replace(GPU, uncorrected_errors=None, reason="ecc errors: ECC is off"),
            {"healthGpuUncorrectedErrors": "ecc errors: ECC is off"}, id="one figure of the GPU",
        ),
        pytest.param(replace(HOST, cpu_percent=None), GPU, {"healthCpuPercent": "not_read"}, id="one of the host"),
    ],
)  # fmt: skip
def test_figure_that_was_not_read_has_its_reason(
    host: HostLook, device: DeviceReading, unmeasured: dict[str, str]
) -> None:
    assert look_of(host, device).unmeasured == unmeasured


_FIGURE = st.none() | st.integers(0, 100)


@given(st.builds(HostLook, _FIGURE, _FIGURE, _FIGURE, _FIGURE), st.lists(_FIGURE, min_size=4, max_size=4))
def test_every_figure_is_there_or_has_a_reason(host: HostLook, gpu: list[int | None]) -> None:
    fields: dict[str, Any] = dict(
        zip(("temperature_celsius", "foreign_memory_bytes", "uncorrected_errors", "xids"), gpu, strict=True)
    )
    look = look_of(host, DeviceReading(**fields))
    for name in (*HOST_FIGURES, *GPU_FIGURES):
        key = "health" + "".join(part.capitalize() for part in name.split("_"))
        reasoned = key in look.unmeasured or (name in GPU_FIGURES and "healthGpu" in look.unmeasured)
        assert (getattr(look.health, name) is None) == reasoned


def test_host_within_its_limits_gets_the_shard_and_one_beyond_does_not() -> None:
    assert refusal_of(COOL, look_of(HOST, GPU).health) is None
    refusal = refusal_of(COOL, look_of(HOST, replace(GPU, temperature_celsius=91)).health)
    assert isinstance(refusal, HostUnfit)
    assert str(refusal) == "the GPU has 91 °C, above health.maxGpuTemperatureCelsius: 80"


def test_what_the_host_showed_before_does_not_speak_against_what_was_measured() -> None:
    hot, cool = HostHealth(gpu_temperature_celsius=91), HostHealth(gpu_temperature_celsius=60)
    assert reasons_against(COOL, Health(before=hot, after=cool)) == ()
    assert reasons_against(COOL, Health(before=cool, after=hot)) == (HealthFinding.GPU_TOO_HOT.value,)
    assert reasons_against(HealthLimits(), Health(after=HostHealth(gpu_xids=1))) == (HealthFinding.XID_ERRORS.value,)
