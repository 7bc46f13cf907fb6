"""Which limits of a class a host crosses: the same answer for the runner that measures and the operator that tells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_api.health import Health, HealthFinding, HealthLimits, HostHealth, crossings, faults

MIB = 1024 * 1024
LIMITS = HealthLimits(
    max_gpu_temperature_celsius=85,
    min_free_scratch_mebibytes=1000,
    min_available_memory_mebibytes=2000,
    max_host_cpu_percent=20,
    max_foreign_gpu_memory_mebibytes=0,
)
WELL = HostHealth(
    cpu_percent=20,
    memory_available_bytes=2000 * MIB,
    scratch_free_bytes=1000 * MIB,
    gpu_temperature_celsius=85,
    gpu_foreign_memory_bytes=0,
)
CASES: list[Any] = [
    pytest.param({}, [], "", id="just within every limit"),
    pytest.param({"gpu_temperature_celsius": 86}, [HealthFinding.GPU_TOO_HOT], "86 °C, above health.maxGpuTemperatureCelsius: 85", id="hot"),
    pytest.param({"cpu_percent": 21}, [HealthFinding.CPU_BUSY], "21 % busy, above health.maxHostCpuPercent: 20", id="busy"),
    pytest.param({"gpu_foreign_memory_bytes": 300 * MIB}, [HealthFinding.GPU_SHARED], "others use 300 MiB", id="shared"),
    pytest.param({"scratch_free_bytes": 999 * MIB}, [HealthFinding.DISK_LOW], "999 MiB of scratch", id="full"),
    pytest.param({"memory_available_bytes": 5 * MIB}, [HealthFinding.MEMORY_LOW], "5 MiB of memory", id="little memory"),
    pytest.param({"cpu_percent": 99, "scratch_free_bytes": 0}, [HealthFinding.CPU_BUSY, HealthFinding.DISK_LOW], "", id="two"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "findings", "words"), CASES)
def test_figure_beyond_its_limit_crosses_it_and_says_so(
    changes: dict[str, int], findings: list[HealthFinding], words: str
) -> None:
    found = crossings(LIMITS, WELL.model_copy(update=changes))
    assert [crossing.finding for crossing in found] == findings
    assert words in "; ".join(crossing.text for crossing in found)


_LOOKS = st.builds(
    HostHealth.model_construct,
    **{
        name: st.none() | st.integers(0, 2**40)
        for name in (
            "cpu_percent", "memory_available_bytes", "scratch_free_bytes", "gpu_temperature_celsius",
            "gpu_foreign_memory_bytes",
        )
    },
)  # fmt: skip


@given(look=_LOOKS)
def test_without_limits_nothing_is_crossed(look: HostHealth) -> None:
    assert crossings(HealthLimits(), look) == ()


@given(look=_LOOKS)
def test_each_finding_is_told_once_and_an_unread_figure_tells_none(look: HostHealth) -> None:
    found = [crossing.finding for crossing in crossings(LIMITS, look)]
    assert len(found) == len(set(found))
    read = sum(value is not None for value in look.__dict__.values())
    assert len(found) <= read
    assert crossings(LIMITS, HostHealth()) == ()


FAULTS: list[Any] = [
    pytest.param(Health(), [], id="never looked"),
    pytest.param(Health(before=HostHealth(gpu_uncorrected_errors=5), after=HostHealth(gpu_uncorrected_errors=5)), [], id="errors of before"),
    pytest.param(Health(before=HostHealth(gpu_uncorrected_errors=5), after=HostHealth(gpu_uncorrected_errors=7)), [HealthFinding.ECC_ERRORS], id="errors meanwhile"),
    pytest.param(Health(before=HostHealth(), after=HostHealth(gpu_uncorrected_errors=7)), [], id="nothing to compare with"),
    pytest.param(Health(before=HostHealth(gpu_uncorrected_errors=5), after=HostHealth(gpu_uncorrected_errors=0)), [], id="the driver was loaded anew"),
    pytest.param(Health(after=HostHealth(gpu_xids=0)), [], id="no Xid"),
    pytest.param(Health(after=HostHealth(gpu_xids=2, gpu_last_xid=79)), [HealthFinding.XID_ERRORS], id="two Xids"),
]  # fmt: skip


@pytest.mark.parametrize(("health", "findings"), FAULTS)
def test_errors_of_the_gpu_count_without_a_limit(health: Health, findings: list[HealthFinding]) -> None:
    assert [fault.finding for fault in faults(health)] == findings
