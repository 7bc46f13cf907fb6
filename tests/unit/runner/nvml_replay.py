"""A replay double of the module `pynvml`: answers as a stated GPU would, raises NVML's own errors where it would not.

Constants and error classes are the real module's; `test_meters_nvml` proves that the functions have its signatures.
"""

# ruff: noqa: N802, N803 - the names are pynvml's
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml

H100: dict[str, Any] = {
    "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
    "nvmlDeviceGetUUID": "GPU-7f1c9f0e-2f3f-4c38-a3a5-6ed6b8ba0f11",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=85_520_809_984, used=1_073_741_824, free=84_447_068_160),
    "nvmlDeviceGetTotalEnergyConsumption": 123_456_789,
    "nvmlDeviceGetPowerUsage": 71_250,
    "nvmlDeviceGetEnforcedPowerLimit": 700_000,
    "nvmlDeviceGetTemperature": 31,
    "nvmlDeviceGetClockInfo": 1980,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x1,
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1,
    "nvmlDeviceGetComputeRunningProcesses": [],
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceIsMigDeviceHandle": 0,
    "nvmlDeviceGetTotalEccErrors": 0,
}
RESERVED = 524_288_000
"""What the driver keeps for itself: part of `used` in the first version of the memory call, and not in the second."""


def error(code: str) -> pynvml.NVMLError:
    """NVML's own error of that code, e.g. `NOT_SUPPORTED`."""
    return pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{code}"))


class NvmlReplay:
    """Devices by index, each a mapping from function name to its answer or the error that it raises."""

    def __init__(
        self,
        *devices: dict[str, Any],
        driver: Any = "580.65.06",
        init: Exception | None = None,
        slices: dict[str, tuple[dict[str, Any], int]] | None = None,
    ) -> None:
        self.devices = devices
        self.driver = driver
        self.init = init
        self.slices = slices or {}
        self.open = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("NVML_", "NVMLError", "nvmlMemory_v", "nvmlEventType")):
            return getattr(pynvml, name)
        if name in H100:
            if name in ("nvmlDeviceGetTemperature", "nvmlDeviceGetClockInfo"):
                return lambda handle, _kind: self._answer(handle, name)
            if name == "nvmlDeviceGetTotalEccErrors":
                return lambda handle, _error, _counter: self._answer(handle, name)
            return lambda handle: self._answer(handle, name)
        raise AttributeError(name)

    def nvmlInit(self) -> None:
        if self.init is not None:
            raise self.init
        self.open += 1

    def nvmlShutdown(self) -> None:
        self._check_open()
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        self._check_open()
        if isinstance(self.driver, Exception):
            raise self.driver
        return self.driver

    def nvmlDeviceGetMemoryInfo(self, handle: dict[str, Any], version: int | None = None) -> Any:
        memory = self._answer(handle, "nvmlDeviceGetMemoryInfo")
        if not version:
            return memory
        return SimpleNamespace(total=memory.total, used=memory.used - RESERVED, reserved=RESERVED, free=memory.free)

    def nvmlDeviceGetFieldValues(self, handle: dict[str, Any], fieldIds: list[int]) -> Any:
        """The instant power, from a driver that has the field; `fields` is the error of one that does not."""
        self._check_open()
        assert fieldIds == [pynvml.NVML_FI_DEV_POWER_INSTANT]
        if "fields" in handle:
            return [SimpleNamespace(nvmlReturn=handle["fields"], value=None)]
        power = self._answer(handle, "nvmlDeviceGetPowerUsage")
        return [SimpleNamespace(nvmlReturn=pynvml.NVML_SUCCESS, value=SimpleNamespace(uiVal=power))]

    def nvmlEventSetCreate(self) -> list[dict[str, Any]]:
        self._check_open()
        return []

    def nvmlDeviceRegisterEvents(self, handle: dict[str, Any], eventTypes: int, eventSet: list[Any]) -> None:
        self._check_open()
        assert eventTypes == pynvml.nvmlEventTypeXidCriticalError
        if isinstance(refusal := handle.get("events"), Exception):
            raise refusal
        eventSet.append(handle)

    def nvmlEventSetWait_v2(self, eventSet: list[Any], timeoutms: int) -> Any:
        """The next Xid that a test has put into the device's list `xids`."""
        self._check_open()
        assert timeoutms == 0, "nothing may wait within a benchmark"
        for handle in eventSet:
            if handle.get("xids"):
                xid = handle["xids"].pop(0)
                if isinstance(xid, Exception):
                    raise xid
                return SimpleNamespace(eventType=pynvml.nvmlEventTypeXidCriticalError, eventData=xid)
        raise error("TIMEOUT")

    def nvmlDeviceGetCount(self) -> int:
        self._check_open()
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        self._check_open()
        if not 0 <= index < len(self.devices):
            raise error("INVALID_ARGUMENT")
        return self.devices[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> dict[str, Any]:
        self._check_open()
        if uuid in self.slices:
            return self.slices[uuid][0]
        for device in self.devices:
            if device["nvmlDeviceGetUUID"] == uuid:
                return device
        raise error("NOT_FOUND")

    def nvmlDeviceGetMaxMigDeviceCount(self, device: dict[str, Any]) -> int:
        self._check_open()
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: dict[str, Any], index: int) -> dict[str, Any]:
        self._check_open()
        handles = [handle for handle, parent in self.slices.values() if self.devices[parent] is device]
        if index >= len(handles):
            raise error("NOT_FOUND")
        return handles[index]

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, migDevice: dict[str, Any]) -> dict[str, Any]:
        self._check_open()
        for handle, parent in self.slices.values():
            if handle is migDevice:
                return self.devices[parent]
        raise error("INVALID_ARGUMENT")

    def _answer(self, handle: dict[str, Any], name: str) -> Any:
        self._check_open()
        answer = handle[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _check_open(self) -> None:
        if not self.open:
            raise error("UNINITIALIZED")
