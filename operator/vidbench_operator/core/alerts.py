"""Which Events a host's health is worth: its figures as the runner saw them, against the limits of the run's class.

Whether a shard starts or counts has been decided by the runner; here it is only told, with the node, to whoever can help.
"""

from __future__ import annotations

from vidbench_api.health import HealthLimits, HostHealth, crossings, faults
from vidbench_api.names import EventReason

from .evidence import AttemptEnd
from .plan import EmitEvent


def health_alerts(limits: HealthLimits, end: AttemptEnd) -> tuple[EmitEvent, ...]:
    """Return one Event for each thing that is wrong with the host of an attempt that ended.

    What is wrong after it is told once, also if it was so before. The text names the node and the figure, not the shard:
    the next shard there that sees the same says the same, and is the same Event.
    """
    health = end.verdict.health if end.verdict is not None else None
    if health is None:
        return ()
    found = {
        crossing.finding: crossing.text
        for look in (health.before, health.after)
        for crossing in crossings(limits, look or HostHealth())
    }
    found |= {fault.finding: fault.text for fault in faults(health)}
    node = end.pod.node if end.pod is not None and end.pod.node else "unknown"
    return tuple(
        EmitEvent("Warning", EventReason.HEALTH_ALERT, f"node {node}: {finding}: {text}")
        for finding, text in found.items()
    )
