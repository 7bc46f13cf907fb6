"""Reads an NVIDIA GPU from outside the framework, by NVML; picks the GPU that this container was given.

Every call may fail on some GPU, driver or MIG slice: it then yields None, and the reading's `reason` names it. On a MIG
slice, energy and power are the whole card's and therefore left out. Knows no torch; whether this process holds a CUDA
context is told by a function that is passed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vidbench_runner.meters.null import NullMeter
from vidbench_runner.ports import DeviceMeter, DeviceReading

T = TypeVar("T")
_UUID_PREFIXES = ("GPU-", "MIG-")
_NOTHING = frozenset({"", "void", "none", "-1", "NoDevFiles"})


class NoDeviceError(Exception):
    """No GPU is given to this container; the message says how that was told."""


class NoMeterError(Exception):
    """The device cannot be read; the message says why."""


class NvmlMeter:
    """A `DeviceMeter` over the module `pynvml`, initialised by the caller (`detect_meter`).

    `holds_context` says whether this process uses the GPU itself; without it other processes cannot be counted once it does,
    because a container often sees its own process under another number, or none.
    """

    def __init__(self, nvml: Any, handle: Any, holds_context: Callable[[], bool] = lambda: False) -> None:
        self._nvml = nvml
        self._holds_context = holds_context
        self._reasons: list[str] = []
        self._handle = handle
        self._slice = bool(self._try("mig slice", lambda: nvml.nvmlDeviceIsMigDeviceHandle(handle)))
        parent = (
            self._try("card", lambda: nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
            if self._slice
            else None
        )
        self._card = parent if parent is not None else handle
        self._xids = 0
        self._last_xid: int | None = None
        self._events: Any = None
        self._no_events: str | None = None
        self._listen_for_xids()

    def read(self) -> DeviceReading:
        """Take one reading."""
        nvml, card, device = self._nvml, self._card, self._handle
        self._reasons = []
        memory = self._try("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(device))
        mig = self._try("mig", lambda: nvml.nvmlDeviceGetMigMode(card)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
        ecc = self._try("ecc", lambda: nvml.nvmlDeviceGetEccMode(card)[0] == nvml.NVML_FEATURE_ENABLED)
        processes: list[Any] | None = self._try("processes", lambda: nvml.nvmlDeviceGetComputeRunningProcesses(device))
        xids = self._count_xids()
        if self._slice:
            self._reasons.append("energy, power: the GPU is shared (MIG)")
        return DeviceReading(
            name=self._try("name", lambda: nvml.nvmlDeviceGetName(device)),
            uuid=self._try("uuid", lambda: nvml.nvmlDeviceGetUUID(device)),
            driver=self._try("driver", nvml.nvmlSystemGetDriverVersion),
            memory_used_bytes=int(memory.used) if memory is not None else None,
            memory_total_bytes=int(memory.total) if memory is not None else None,
            total_energy_millijoules=self._of_card("energy", nvml.nvmlDeviceGetTotalEnergyConsumption),
            power_milliwatts=self._of_card("power", nvml.nvmlDeviceGetPowerUsage),
            power_limit_milliwatts=self._of_card("power limit", nvml.nvmlDeviceGetEnforcedPowerLimit),
            temperature_celsius=self._try(
                "temperature", lambda: nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)
            ),
            sm_clock_megahertz=self._try("sm clock", lambda: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM)),
            throttle_reasons=self._throttle_reasons(),
            other_processes=self._other_processes(processes),
            mig=mig,
            ecc=ecc,
            foreign_memory_bytes=self._foreign_memory(processes),
            uncorrected_errors=self._uncorrected_errors(ecc),
            xids=xids,
            last_xid=self._last_xid,
            reason="; ".join(self._reasons) or None,
        )

    def close(self) -> None:
        """Let NVML go; later readings are all None."""
        self._try("shutdown", self._nvml.nvmlShutdown)

    def _try(self, what: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except self._nvml.NVMLError as error:
            self._reasons.append(f"{what}: {error}")
            return None

    def _of_card(self, what: str, call: Callable[[Any], int]) -> int | None:
        return None if self._slice else self._try(what, lambda: call(self._card))

    def _throttle_reasons(self) -> int | None:
        """The bits of why the clocks are not higher; drivers before 535 know the call by its older name only."""
        nvml = self._nvml
        try:
            return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(self._card))
        except nvml.NVMLError:
            return self._try(
                "throttle reasons", lambda: int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._card))
            )

    def _other_processes(self, listed: list[Any] | None) -> int | None:
        """Compute processes on the device that are not this one; None where the list cannot be complete."""
        if listed is None:
            return None
        ours = sum(1 for process in listed if process.pid == os.getpid())
        if ours or not self._holds_context():
            return len(listed) - ours
        if not listed:
            self._reasons.append("processes: not even this process is listed (PID namespace)")
            return None
        return len(listed) - 1

    def _foreign_memory(self, listed: list[Any] | None) -> int | None:
        """Bytes that others use: everything, as long as this process uses none; then those of the others in the list."""
        nvml = self._nvml
        if not self._holds_context():
            # The first version of this call counts what the driver keeps for itself as used.
            memory = self._try(
                "foreign memory", lambda: nvml.nvmlDeviceGetMemoryInfo(self._handle, version=nvml.nvmlMemory_v2)
            )
            return int(memory.used) if memory is not None else None
        others = [process for process in listed or () if process.pid != os.getpid()]
        if listed is None or len(others) == len(listed):
            self._reasons.append("foreign memory: this process is not listed (PID namespace)")
            return None
        used: list[int | None] = [process.usedGpuMemory for process in others]
        known = [number for number in used if number is not None]
        if len(known) < len(used):
            self._reasons.append("foreign memory: not given by process")
            return None
        return sum(known)

    def _uncorrected_errors(self, ecc: bool | None) -> int | None:
        nvml = self._nvml
        if ecc is False:
            self._reasons.append("ecc errors: ECC is off")
        if not ecc:
            return None
        return self._try(
            "ecc errors",
            lambda: int(
                nvml.nvmlDeviceGetTotalEccErrors(
                    self._card, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                )
            ),
        )

    def _listen_for_xids(self) -> None:
        """Have the driver keep the card's Xid errors from now on."""
        nvml = self._nvml
        try:
            events = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(self._card, nvml.nvmlEventTypeXidCriticalError, events)
        except nvml.NVMLError as error:
            self._no_events = f"xids: {error}"
        else:
            self._events = events

    def _count_xids(self) -> int | None:
        """Take the Xid errors that have come; how many there were since this meter was made."""
        nvml = self._nvml
        while self._events is not None:
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_TIMEOUT:
                    return self._xids
                self._events, self._no_events = None, f"xids: {error}"
                break
            self._xids += 1
            self._last_xid = int(event.eventData)
        self._reasons.append(self._no_events or "xids: no events")
        return None


def detect_meter(
    environment: Mapping[str, str] | None = None,
    load: Callable[[], Any] | None = None,
    holds_context: Callable[[], bool] = lambda: False,
) -> DeviceMeter:
    """The meter of the GPU that this container was given, or a `NullMeter` that says why there is none. Never raises.

    Args:
        environment: Where CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES are looked up; default the process's.
        load: Returns the module `pynvml`; default imports it.
        holds_context: Whether this process has a CUDA context at the moment of a reading.
    """
    try:
        nvml, handle = open_device(os.environ if environment is None else environment, load)
    except NoMeterError as error:
        return NullMeter(str(error))
    return NvmlMeter(nvml, handle, holds_context)


def open_device(environment: Mapping[str, str], load: Callable[[], Any] | None = None) -> tuple[Any, Any]:
    """Return the module `pynvml`, initialised, and the handle of the device that the environment shows.

    Raises:
        NoMeterError: NVML is not there, does not start, or does not find the device.
    """
    try:
        visible_device(environment)
    except NoDeviceError as error:
        raise NoMeterError(f"no meter: {error}") from error
    try:
        nvml = (load or load_nvml)()
    except ImportError as error:
        raise NoMeterError("no meter: nvidia-ml-py is not installed") from error
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NoMeterError(f"no meter: NVML does not start: {error}") from error
    try:
        return nvml, find_device(nvml, environment)
    except (nvml.NVMLError, NoDeviceError) as error:
        raise NoMeterError(f"no meter: {error}") from error


def visible_device(environment: Mapping[str, str]) -> str | int:
    """The first device that the environment shows: a UUID (or the start of one), or an index; 0 where nothing is said.

    NVIDIA_VISIBLE_DEVICES was an order to the container runtime. What it named by index is the first of those that are here,
    and CDI sets it to `void` in containers that do hold a GPU: but for a UUID, the driver's own list is asked.

    Raises:
        NoDeviceError: CUDA_VISIBLE_DEVICES hides every device, or says something that is neither.
    """
    value = environment.get("CUDA_VISIBLE_DEVICES", "all")
    first = value.split(",")[0].strip()
    if first in _NOTHING:
        raise NoDeviceError(f"CUDA_VISIBLE_DEVICES={value!r} shows no device")
    if first.startswith(_UUID_PREFIXES):
        return first
    if first.isdigit():
        return int(first)
    if first != "all":
        raise NoDeviceError(f"CUDA_VISIBLE_DEVICES={value!r} names neither an index nor a UUID")
    ordered = environment.get("NVIDIA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return ordered if ordered.startswith(_UUID_PREFIXES) else 0


def find_device(nvml: Any, environment: Mapping[str, str]) -> Any:
    """Return the handle of the device that the environment shows.

    Raises:
        NoDeviceError: there is none.
        NVMLError: the driver does not answer.
    """
    wanted = visible_device(environment)
    if isinstance(wanted, str) and wanted.startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(wanted)
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    if isinstance(wanted, str):
        handles = [handle for handle in handles if nvml.nvmlDeviceGetUUID(handle).startswith(wanted)]
        wanted_index = 0
    else:
        wanted_index = wanted
    if wanted_index >= len(handles):
        raise NoDeviceError(f"NVML shows {len(handles)} device(s), none of which is {wanted}")
    return _only_slice(nvml, handles[wanted_index])


def _only_slice(nvml: Any, card: Any) -> Any:
    """The one MIG slice of the card that this container sees, where it sees just one; else the card."""
    try:
        if nvml.nvmlDeviceGetMigMode(card)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return card
        most = nvml.nvmlDeviceGetMaxMigDeviceCount(card)
    except nvml.NVMLError:
        return card
    slices = []
    for index in range(most):
        try:
            slices.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, index))
        except nvml.NVMLError:
            continue
    return slices[0] if len(slices) == 1 else card


def load_nvml() -> Any:
    """Import and return the module `pynvml`; raises ImportError where it is not installed."""
    import pynvml

    return pynvml
