"""The figures of a GPU that are worth reading ten times a second, by NVML. Each may be missing; none costs another.

Power is the instant one where the driver has it (`NVML_FI_DEV_POWER_INSTANT`); the older call averages over a second on
some GPUs and stands in elsewhere. On a MIG slice power is the whole card's and left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vidbench_runner.ports import DeviceSample

T = TypeVar("T")


class NvmlProbe:
    """Reads one device through the module `pynvml`, initialised by the caller."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._slice = bool(self._try(lambda: nvml.nvmlDeviceIsMigDeviceHandle(handle)))
        parent = self._try(lambda: nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)) if self._slice else None
        self._card = parent if parent is not None else handle
        self._instant = True

    def read(self, nanoseconds: int) -> DeviceSample:
        """Take one reading and stamp it."""
        nvml, card = self._nvml, self._card
        return DeviceSample(
            nanoseconds=nanoseconds,
            power_milliwatts=None if self._slice else self._power(),
            sm_clock_megahertz=self._try(lambda: int(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM))),
            memory_clock_megahertz=self._try(lambda: int(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM))),
            temperature_celsius=self._try(lambda: int(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU))),
            clock_reasons=self._clock_reasons(),
        )

    def _power(self) -> int | None:
        nvml = self._nvml
        if self._instant:
            fields = self._try(lambda: nvml.nvmlDeviceGetFieldValues(self._card, [nvml.NVML_FI_DEV_POWER_INSTANT]))
            if fields is not None and fields[0].nvmlReturn == nvml.NVML_SUCCESS:
                return int(fields[0].value.uiVal)
            # Anything else may pass: one reading that was refused is no reason to go without for good.
            self._instant = fields is None or fields[0].nvmlReturn != nvml.NVML_ERROR_NOT_SUPPORTED
        return self._try(lambda: int(nvml.nvmlDeviceGetPowerUsage(self._card)))

    def _clock_reasons(self) -> int | None:
        """Drivers before 535 know the call by its older name only."""
        nvml = self._nvml
        reasons = self._try(lambda: int(nvml.nvmlDeviceGetCurrentClocksEventReasons(self._card)))
        if reasons is None:
            reasons = self._try(lambda: int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._card)))
        return reasons

    def _try(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except self._nvml.NVMLError:
            return None
