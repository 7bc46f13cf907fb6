"""Whether a device is busy, over a double of NVML: what is known, what is stale, and that no look ever waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vidbench_runner.meters.utilisation import STALE_SECONDS, DeviceUse, detect_utilisation


class NVMLError(Exception):
    pass


def nvml(percent: Any = 0, devices: int = 1) -> Any:
    def rates(_handle: int) -> Any:
        if isinstance(percent, Exception):
            raise percent
        return SimpleNamespace(gpu=percent)

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: devices,
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMigMode=lambda _handle: [0, 0],
        nvmlDeviceGetUtilizationRates=rates,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("module", "environment"),
    [
        pytest.param(nvml(devices=0), {}, id="no device"),
        pytest.param(nvml(), {"CUDA_VISIBLE_DEVICES": ""}, id="hidden, as for a shard on the CPU"),
        pytest.param(nvml(NVMLError("Not Supported")), {}, id="a MIG slice does not tell"),
    ],
)
def test_utilisation_of_what_cannot_be_asked_is_none(module: Any, environment: dict[str, str]) -> None:
    assert detect_utilisation(environment, lambda: module) is None
    assert DeviceUse(lambda: detect_utilisation(environment, lambda: module)).busy() is None


def test_utilisation_without_the_library_is_none() -> None:
    def absent() -> Any:
        raise ImportError("pynvml")

    assert detect_utilisation({}, absent) is None


def test_device_that_computed_once_since_the_last_look_was_busy_and_then_is_not() -> None:
    now, percent, answers = [100.0], [40], [0]

    def utilisation() -> int:
        answers[0] += 1
        return percent[0]

    def answered_again() -> None:
        seen = answers[0]
        wait_for(lambda: answers[0] > seen + 1)

    use = DeviceUse(lambda: utilisation, lambda: now[0], 0.001)
    answered_again()
    assert use.busy() is True
    percent[0] = 0
    answered_again()
    now[0] = 101.0
    answered_again()
    use.busy()
    now[0] = 102.0
    answered_again()
    assert use.busy() is False


def test_driver_that_hangs_or_fails_makes_the_device_unknown_and_holds_nobody_up() -> None:
    release, now = threading.Event(), [100.0]

    def hangs() -> int:
        release.wait(30)
        raise NVMLError("GPU is lost")

    use = DeviceUse(lambda: hangs, lambda: now[0], 0.001)
    assert use.busy() is None
    release.set()
    assert use.busy() is None


def test_driver_that_hangs_while_the_device_is_looked_for_holds_nobody_up() -> None:
    asked, release, made = threading.Event(), threading.Event(), []

    def hangs() -> Any:
        asked.set()
        release.wait(30)
        raise ImportError("pynvml")

    use = threading.Thread(target=lambda: made.append(DeviceUse(lambda: detect_utilisation({}, hangs))))
    use.start()
    assert asked.wait(20)
    use.join(20)
    held = not made
    release.set()
    assert not held, "making one waited for the driver"
    assert made[0].busy() is None


def test_answer_that_is_old_is_none() -> None:
    now, answered = [100.0], threading.Event()

    def once() -> int:
        if answered.is_set():
            raise NVMLError("GPU is lost")
        answered.set()
        return 90

    use = DeviceUse(lambda: once, lambda: now[0], 0.001)
    wait_for(lambda: use.busy() is not None)
    now[0] += STALE_SECONDS + 1
    assert use.busy() is None
