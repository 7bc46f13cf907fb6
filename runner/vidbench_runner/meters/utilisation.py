"""Whether the GPU of this container computes, asked of its driver by NVML alone, for a process that must never hang.

The question may block for ever when a GPU is lost, and so may looking for the GPU. A thread does both, and what has not
been answered lately is not known.
On a MIG slice the driver does not tell.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from vidbench_runner.meters.nvml import NoDeviceError, find_device, load_nvml

INTERVAL_SECONDS = 1.0
"""The driver averages over a sixth of a second to a second."""

STALE_SECONDS = 10.0

Utilisation = Callable[[], int]
"""The percentage of the last moments in which a kernel ran on the GPU; raises where the driver does not tell."""


def detect_utilisation(
    environment: Mapping[str, str] | None = None, load: Callable[[], Any] = load_nvml
) -> Utilisation | None:
    """Return how to ask the GPU that this environment shows; None without one that can be asked.

    It asks the driver, and may block for ever: leave it to a thread. Never raises.
    """
    try:
        nvml = load()
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = find_device(nvml, os.environ if environment is None else environment)
        nvml.nvmlDeviceGetUtilizationRates(handle)
    except (nvml.NVMLError, NoDeviceError):
        return None
    return lambda: int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)


class DeviceUse:
    """Finds out how to ask, and asks again and again, in a thread of its own; making one and `busy` never wait."""

    def __init__(
        self,
        find: Callable[[], Utilisation | None],
        clock: Callable[[], float] = time.monotonic,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._find = find
        self._clock = clock
        self._interval = interval
        self._answered_at: float | None = None
        self._busy_at: float | None = None
        self._looked_at = clock()
        threading.Thread(target=self._ask, name="device-use", daemon=True).start()

    def busy(self) -> bool | None:
        """Return whether the device was seen to compute since the last look; None where that was not told lately."""
        now, before = self._clock(), self._looked_at
        self._looked_at = now
        if self._answered_at is None or now - self._answered_at > STALE_SECONDS:
            return None
        return self._busy_at is not None and self._busy_at >= before

    def _ask(self) -> None:
        utilisation = self._find()
        while utilisation is not None:
            try:
                percent = utilisation()
            except Exception:  # noqa: BLE001 - a driver that fails tells nothing any more
                return
            self._answered_at = self._clock()
            if percent > 0:
                self._busy_at = self._answered_at
            time.sleep(self._interval)
