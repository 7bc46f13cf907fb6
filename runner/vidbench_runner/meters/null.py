"""The meter of a machine without an accelerator that can be read: every figure is None, and the reason is stated."""

from __future__ import annotations

from vidbench_runner.ports import DeviceReading


class NullMeter:
    """A `DeviceMeter` that measures nothing and says why."""

    def __init__(self, reason: str) -> None:
        self._reading = DeviceReading(reason=reason)

    def read(self) -> DeviceReading:
        """Return the reason."""
        return self._reading

    def close(self) -> None:
        """Nothing is held."""
