from __future__ import annotations

import inspect
import os
from types import SimpleNamespace

import pynvml
import pytest
from unit.runner.nvml_replay import H100, RESERVED, NvmlReplay, error

from vidbench_runner.meters.null import NullMeter
from vidbench_runner.meters.nvml import NoDeviceError, NvmlMeter, detect_meter, visible_device

OTHER = {**H100, "nvmlDeviceGetUUID": "GPU-11111111-0000-0000-0000-000000000000", "nvmlDeviceGetTemperature": 77}


def detect(replay: NvmlReplay, environment: dict[str, str] | None = None, **options):
    return detect_meter(environment or {}, lambda: replay, **options)


def test_replay_has_the_signatures_of_pynvml():
    replay = NvmlReplay(H100)
    names = [*H100, *(name for name in dir(NvmlReplay) if name.startswith("nvml"))]
    for name in names:
        real = inspect.signature(getattr(pynvml, name)).parameters.values()
        needed = [p for p in real if p.default is inspect.Parameter.empty]
        double = inspect.signature(getattr(replay, name)).parameters
        assert len(double) in (len(needed), len(list(real))), name


def test_reading_holds_every_figure_of_a_whole_gpu():
    reading = detect(NvmlReplay(H100)).read()
    assert reading.name == "NVIDIA H100 80GB HBM3"
    assert reading.uuid == "GPU-7f1c9f0e-2f3f-4c38-a3a5-6ed6b8ba0f11"
    assert reading.driver == "580.65.06"
    assert (reading.memory_used_bytes, reading.memory_total_bytes) == (1_073_741_824, 85_520_809_984)
    assert reading.total_energy_millijoules == 123_456_789
    assert (reading.power_milliwatts, reading.power_limit_milliwatts) == (71_250, 700_000)
    assert (reading.temperature_celsius, reading.sm_clock_megahertz, reading.throttle_reasons) == (31, 1980, 1)
    assert (reading.mig, reading.ecc, reading.other_processes) == (False, True, 0)
    assert reading.reason is None


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetName", "name"),
        ("nvmlDeviceGetUUID", "uuid"),
        ("nvmlDeviceGetMemoryInfo", "memory_used_bytes"),
        ("nvmlDeviceGetTotalEnergyConsumption", "total_energy_millijoules"),
        ("nvmlDeviceGetPowerUsage", "power_milliwatts"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_milliwatts"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetClockInfo", "sm_clock_megahertz"),
        ("nvmlDeviceGetComputeRunningProcesses", "other_processes"),
        ("nvmlDeviceGetMigMode", "mig"),
        ("nvmlDeviceGetEccMode", "ecc"),
    ],
)
def test_figure_that_a_gpu_does_not_give_is_none_with_a_reason_and_spares_the_others(function, field):
    device = dict(H100)
    meter = detect(NvmlReplay(device))
    device[function] = error("NOT_SUPPORTED")
    reading = meter.read()
    assert getattr(reading, field) is None
    assert "Not Supported" in (reading.reason or "")
    others = {name for name in ("name", "temperature_celsius", "ecc", "driver") if name != field}
    assert all(getattr(reading, name) is not None for name in others)


def test_throttle_reasons_come_by_the_old_name_on_an_old_driver():
    device = {
        **H100,
        "nvmlDeviceGetCurrentClocksEventReasons": error("FUNCTION_NOT_FOUND"),
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x20,
    }
    assert detect(NvmlReplay(device)).read().throttle_reasons == 0x20


def test_gpu_that_is_lost_reads_all_none_and_does_not_raise():
    device = dict(H100)
    meter = detect(NvmlReplay(device, driver=error("GPU_IS_LOST")))
    device.update(dict.fromkeys(H100, error("GPU_IS_LOST")), xids=[error("GPU_IS_LOST")])
    reading = meter.read()
    figures = {name: value for name, value in vars(reading).items() if name != "reason"}
    assert set(figures.values()) == {None}
    assert "GPU is lost" in (reading.reason or "")


def test_closed_meter_reads_none_and_closes_again_without_harm():
    replay = NvmlReplay(H100)
    meter = detect(replay)
    meter.close()
    assert replay.open == 0
    assert meter.read().name is None
    meter.close()


def process(pid: int, memory: int | None = 7) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


@pytest.mark.parametrize(
    ("pids", "holds_context", "others"),
    [
        pytest.param([], False, 0, id="empty GPU before our context"),
        pytest.param([4711], False, 1, id="a foreign process before our context"),
        pytest.param([os.getpid()], True, 0, id="only ourselves, seen by our own number"),
        pytest.param([os.getpid(), 4711], True, 1, id="ourselves and a foreign one"),
        pytest.param([9999, 4711], True, 1, id="ourselves under the host's number and a foreign one"),
        pytest.param([], True, None, id="not even ourselves: the list is not complete"),
    ],
)
def test_other_processes_are_counted_only_where_the_list_can_be_trusted(pids, holds_context, others):
    device = {**H100, "nvmlDeviceGetComputeRunningProcesses": [process(pid) for pid in pids]}
    reading = detect(NvmlReplay(device), holds_context=lambda: holds_context).read()
    assert reading.other_processes == others
    assert ("processes:" in (reading.reason or "")) == (others is None)


US = os.getpid()


@pytest.mark.parametrize(
    ("processes", "holds_context", "foreign"),
    [
        pytest.param([], False, 1_073_741_824 - RESERVED, id="before our context: all that is used, but not the driver's"),
        pytest.param([process(US)], True, 0, id="ours alone"),
        pytest.param([process(US), process(1, 30), process(2, 12)], True, 42, id="ours, and two more"),
        pytest.param([process(1)], True, None, id="which one is ours cannot be told"),
        pytest.param([], True, None, id="none is listed"),
        pytest.param([process(US), process(1, None)], True, None, id="the driver does not say how much"),
    ],
)  # fmt: skip
def test_memory_of_others_is_told_only_where_it_can_be(processes, holds_context, foreign):
    device = {**H100, "nvmlDeviceGetComputeRunningProcesses": processes}
    reading = detect(NvmlReplay(device), holds_context=lambda: holds_context).read()
    assert reading.foreign_memory_bytes == foreign
    assert ("foreign memory:" in (reading.reason or "")) == (foreign is None)


def test_xids_are_counted_from_the_meters_start_and_the_last_one_is_named():
    device = {**H100, "xids": []}
    meter = detect(NvmlReplay(device))
    assert (meter.read().xids, meter.read().last_xid) == (0, None)
    device["xids"].extend([31, 79])
    assert (meter.read().xids, meter.read().last_xid) == (2, 79)
    device["xids"].append(48)
    assert (meter.read().xids, meter.read().last_xid) == (3, 48)


@pytest.mark.parametrize("code", ["NOT_SUPPORTED", "INSUFFICIENT_RESOURCES"])
def test_driver_without_events_is_no_count_of_xids(code):
    reading = detect(NvmlReplay({**H100, "events": error(code)})).read()
    assert reading.xids is None
    assert "xids:" in (reading.reason or "")


@pytest.mark.parametrize(
    ("device", "errors", "reason"),
    [
        pytest.param({"nvmlDeviceGetTotalEccErrors": 3}, 3, None, id="counted"),
        pytest.param({"nvmlDeviceGetEccMode": [0, 0]}, None, "ECC is off", id="off"),
        pytest.param({"nvmlDeviceGetEccMode": error("NOT_SUPPORTED")}, None, "ecc: Not Supported", id="none"),
        pytest.param({"nvmlDeviceGetTotalEccErrors": error("NOT_SUPPORTED")}, None, "ecc errors", id="not counted"),
    ],
)
def test_uncorrected_errors_are_a_count_or_a_reason(device, errors, reason):
    reading = detect(NvmlReplay({**H100, **device})).read()
    assert reading.uncorrected_errors == errors
    assert (reading.reason is None) if reason is None else (reason in (reading.reason or ""))


MIG_CARD = {**H100, "nvmlDeviceGetMigMode": [1, 1]}
SLICE = "MIG-5c5ac0c1-0000-0000-0000-000000000000"


def mig_slice(uuid: str = SLICE):
    return {
        **dict.fromkeys(H100, error("NOT_SUPPORTED")),
        "nvmlDeviceIsMigDeviceHandle": 1,
        "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "nvmlDeviceGetUUID": uuid,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=10_000, used=1_000, free=9_000),
        "nvmlDeviceGetComputeRunningProcesses": [],
    }


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"CUDA_VISIBLE_DEVICES": SLICE}, id="by UUID"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "void"}, id="CDI: the only one that is seen"),
    ],
)
def test_mig_slice_has_its_own_memory_and_no_energy(environment):
    reading = detect(NvmlReplay(MIG_CARD, slices={SLICE: (mig_slice(), 0)}), environment).read()
    assert (reading.uuid, reading.memory_total_bytes, reading.mig) == (SLICE, 10_000, True)
    assert (reading.total_energy_millijoules, reading.power_milliwatts, reading.power_limit_milliwatts) == (None,) * 3
    assert "shared (MIG)" in (reading.reason or "")
    assert reading.temperature_celsius == 31


@pytest.mark.parametrize("count", [0, 2])
def test_card_whose_slice_is_not_told_is_read_itself_and_says_mig(count):
    slices = {f"MIG-{number}": (mig_slice(f"MIG-{number}"), 0) for number in range(count)}
    reading = detect(NvmlReplay(MIG_CARD, slices=slices), {"NVIDIA_VISIBLE_DEVICES": "void"}).read()
    assert (reading.uuid, reading.mig) == (H100["nvmlDeviceGetUUID"], True)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, 0, id="nothing said"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "all"}, 0, id="all of them"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "GPU-abc"}, "GPU-abc", id="device plugin by UUID"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "3"}, 0, id="runtime by index has cut the list to it"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "void"}, 0, id="CDI sets it where the GPU is there"),
        pytest.param({"NVIDIA_VISIBLE_DEVICES": "/var/run/nvidia-container-devices"}, 0, id="device plugin by mounts"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "all", "NVIDIA_VISIBLE_DEVICES": "GPU-a"}, "GPU-a", id="all to CUDA"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "1,0"}, 1, id="CUDA by index"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "GPU-b", "NVIDIA_VISIBLE_DEVICES": "GPU-a"}, "GPU-b", id="CUDA first"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "MIG-x"}, "MIG-x", id="a slice"),
    ],
)
def test_visible_device_is_the_one_that_the_container_was_given(environment, expected):
    assert visible_device(environment) == expected


@pytest.mark.parametrize("value", ["", "-1", "void", "none", "nonsense"])
def test_visible_device_refuses_an_environment_that_shows_none(value):
    with pytest.raises(NoDeviceError, match="CUDA_VISIBLE_DEVICES"):
        visible_device({"CUDA_VISIBLE_DEVICES": value})


@pytest.mark.parametrize(
    ("environment", "temperature"),
    [
        ({}, 31),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 77),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-1111"}, 77),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, 31),
    ],
)
def test_meter_reads_the_device_that_is_visible(environment, temperature):
    assert detect(NvmlReplay(H100, OTHER), environment).read().temperature_celsius == temperature


@pytest.mark.parametrize(
    ("replay", "environment", "reason"),
    [
        pytest.param(NvmlReplay(init=error("LIBRARY_NOT_FOUND")), {}, "Library Not Found", id="no driver"),
        pytest.param(NvmlReplay(), {}, "shows 0 device", id="a driver without a GPU"),
        pytest.param(NvmlReplay(H100), {"CUDA_VISIBLE_DEVICES": "4"}, "none of which is 4", id="index off the end"),
        pytest.param(NvmlReplay(), {"NVIDIA_VISIBLE_DEVICES": "void"}, "shows 0 device", id="a pod without a GPU"),
        pytest.param(
            NvmlReplay(H100),
            {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"},
            "shows no device",
            id="a shard on the CPU, by its supervisor",
        ),
        pytest.param(NvmlReplay(H100), {"CUDA_VISIBLE_DEVICES": "MIG-1"}, "Not Found", id="a slice that is gone"),
    ],
)
def test_detect_meter_says_why_there_is_none(replay, environment, reason):
    meter = detect(replay, environment)
    assert isinstance(meter, NullMeter)
    assert reason in (meter.read().reason or "")
    meter.close()


def test_detect_meter_without_the_module_is_null_with_the_reason():
    def absent():
        raise ImportError("no pynvml")

    assert "not installed" in (detect_meter({}, absent).read().reason or "")


def test_detect_meter_finds_a_device_by_nvml():
    assert isinstance(detect(NvmlReplay(H100)), NvmlMeter)
