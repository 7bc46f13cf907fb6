"""What of a host's health becomes an Event, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders import NOW, Scene, ended_pod, finished

from vidbench_api.health import Health, HealthLimits, HostHealth
from vidbench_api.names import EventReason, Outcome
from vidbench_operator.core.alerts import health_alerts
from vidbench_operator.core.evidence import AttemptEnd

SCENE = Scene.of().active()
JOB = SCENE.job()
LIMITS = HealthLimits(max_gpu_temperature_celsius=80, max_host_cpu_percent=50)
COOL = HostHealth(gpu_temperature_celsius=40, cpu_percent=3)
HOT = HostHealth(gpu_temperature_celsius=91, cpu_percent=3)
HOTTER = HostHealth(gpu_temperature_celsius=95, cpu_percent=3)
NODE = "node node-1: "
CASES: list[Any] = [
    pytest.param(None, [], id="a runner that did not look"),
    pytest.param(Health(before=COOL, after=COOL), [], id="well"),
    pytest.param(Health(before=HOT), [NODE + "GpuTooHot: the GPU has 91 °C, above health.maxGpuTemperatureCelsius: 80"], id="refused"),
    pytest.param(
        Health(before=HOT, after=HOTTER), [NODE + "GpuTooHot: the GPU has 95 °C, above health.maxGpuTemperatureCelsius: 80"],
        id="the same before and after is told once, as it is now",
    ),
    pytest.param(
        Health(before=COOL, after=COOL.model_copy(update={"gpu_xids": 1, "gpu_last_xid": 79})),
        [NODE + "XidErrors: 1 Xid errors of the GPU, the last one 79"], id="the GPU's own errors",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("health", "messages"), CASES)
def test_alert_names_node_figure_and_limit(health: Health | None, messages: list[str]) -> None:
    verdict = SCENE.verdict().model_copy(update={"health": health})
    end = AttemptEnd(Outcome.SUCCEEDED, NOW, verdict=verdict, pod=ended_pod(JOB, verdict, 0))
    events = health_alerts(LIMITS, end)
    assert [event.message for event in events] == messages
    assert {(event.type, event.reason) for event in events} <= {("Warning", EventReason.HEALTH_ALERT)}


def test_attempt_of_which_nothing_is_known_alerts_nobody() -> None:
    assert health_alerts(LIMITS, AttemptEnd(Outcome.FAILED, NOW)) == ()


def test_alert_is_among_the_events_of_the_pass_that_settles_the_attempt() -> None:
    sick = Health(after=COOL.model_copy(update={"gpu_xids": 1, "gpu_last_xid": 79}))
    for health, alerts in ((sick, 1), (Health(after=COOL), 0)):
        verdict = SCENE.verdict().model_copy(update={"health": health})
        plan = SCENE.decide(finished(JOB), ended_pod(JOB, verdict, 0), at=60)
        assert [event.reason for event in plan.events].count(EventReason.HEALTH_ALERT) == alerts
