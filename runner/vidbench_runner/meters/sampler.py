"""Reads the device ten times a second into a trace, in a thread of the supervisor: the worker spends nothing on it.

What a driver's call does to its thread (it may hang on a lost GPU) touches neither the supervisor's own loop nor the
worker. Not faster: the sensors themselves are not (docs/validity.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from vidbench_runner.meters.nvml import NoMeterError, open_device
from vidbench_runner.meters.nvml_probe import NvmlProbe
from vidbench_runner.meters.trace import TraceWriter
from vidbench_runner.ports import DeviceSample

INTERVAL_NANOSECONDS = 100_000_000
_JOIN_SECONDS = 1.0
_logger = logging.getLogger(__name__)


class Probe(Protocol):
    """Takes one reading."""

    def read(self, nanoseconds: int) -> DeviceSample:
        """Read the device now; never raises what a driver raises."""
        ...


@dataclass(frozen=True)
class Timing:
    """The clocks of a sampler, and how it waits; for tests."""

    now: Callable[[], int] = time.perf_counter_ns
    """The worker's clock: on Linux all processes share it."""

    spent: Callable[[], int] = time.thread_time_ns


def take_readings(
    probe: Probe, trace: TraceWriter, wait: Callable[[float], bool], timing: Timing | None = None
) -> None:
    """Read until `wait`, which waits for some seconds, says that it is enough.

    Readings keep to multiples of the interval from the first one on; one that comes late is not made up for.
    """
    timing = timing or Timing()
    began, spent_before = timing.now(), timing.spent()
    while True:
        now = timing.now()
        trace.add(probe.read(now), timing.spent() - spent_before, now - began)
        passed = timing.now() - began
        if wait((INTERVAL_NANOSECONDS - passed % INTERVAL_NANOSECONDS) / 1e9):
            return


@contextmanager
def sampling(descriptor: int, environment: Mapping[str, str], load: Callable[[], Any] | None = None) -> Iterator[None]:
    """Read the device that the environment shows for as long as the context lasts; the trace says why, if that cannot be.

    Args:
        descriptor: Of the trace.
        environment: The worker's.
        load: Returns the module `pynvml`; default imports it.
    """
    trace, enough = TraceWriter(descriptor), threading.Event()

    def read() -> None:
        try:
            nvml, handle = open_device(environment, load)
        except NoMeterError as error:
            trace.refuse(str(error))
            return
        try:
            take_readings(NvmlProbe(nvml, handle), trace, enough.wait)
        finally:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                _logger.info("NVML does not shut down: %s", error)

    thread = threading.Thread(target=read, name="device-sampler", daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(_JOIN_SECONDS)
