"""Erases a run's folders on claims by a pod of its namespace, and says what became of each. Asks the cluster.

Nothing else reaches a claim: neither the operator nor this command mounts one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from .cluster import PODS, Cluster
from .erasure import Ending, Finding, Stored, Subject, erasing_pod, stored_of
from .errors import ClusterAwayError, CommandError, NotFoundError
from .texts import _

POD_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 1.0


def erase_storage(cluster: Cluster, subject: Subject, image: str, dry_run: bool) -> list[Finding]:
    """Erase what a run stored on claims; of an unknown cell nothing can be told and nothing is done."""
    return [_erase(cluster, subject, entry, image, dry_run) for entry in stored_of(subject) if entry.folders]


def _erase(cluster: Cluster, subject: Subject, stored: Stored, image: str, dry_run: bool) -> Finding:
    what, where = _("videos, samples and verdicts"), f"{stored.uri}/{subject.name}"
    if dry_run:
        return Finding(what, where, Ending.PLANNED, _("by a pod that mounts the claim"))
    name = f"vidbench-erase-{secrets.token_hex(3)}"
    pod = {"metadata": {"name": name}, "spec": erasing_pod(stored.claim, stored.folders, image)}
    try:
        cluster.create(PODS, {"apiVersion": "v1", "kind": PODS.kind, **pod}, namespace=subject.namespace)
    except CommandError as error:
        return Finding(what, where, Ending.FAILED, error.message, error.remedy)
    left = ""
    try:
        why = _wait(cluster, subject.namespace, name)
    except CommandError as error:
        why = error.message
    finally:
        left = _delete(cluster, subject.namespace, name)
    if why is None:
        stays = _("what the volume's own snapshots and backups hold stays")
        return Finding(what, where, Ending.ERASED, f"{stays}{left}")
    remedy = _("an image with `rm` that its node can pull: --image NAME; the claim must be writable for user 65532")
    return Finding(what, where, Ending.FAILED, f"{why}{left}", remedy)


def _delete(cluster: Cluster, namespace: str, name: str) -> str:
    """Delete the pod; what keeps it there must not hide what it did, and is returned."""
    try:
        cluster.delete(PODS, name, namespace=namespace)
    except NotFoundError:
        return ""
    except CommandError as error:
        return _("; its pod {name} is still there: {why}").format(name=name, why=error.message)
    return ""


def _wait(cluster: Cluster, namespace: str, name: str) -> str | None:
    """Wait for the pod's end; returns why it did not erase, None if it did."""
    deadline = time.monotonic() + POD_SECONDS
    status: Mapping[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            status = cluster.get(PODS, name, namespace=namespace).get("status") or {}
        except ClusterAwayError:
            time.sleep(_POLL_SECONDS)
            continue
        if status.get("phase") == "Succeeded":
            return None
        if status.get("phase") == "Failed":
            return _("the pod failed: {why}").format(why=_state(status))
        time.sleep(_POLL_SECONDS)
    return _("the pod did not end within {seconds:.0f} s: {why}").format(seconds=POD_SECONDS, why=_state(status))


def _state(status: Mapping[str, Any]) -> str:
    """Return what is known of a pod that did not do its work: its container's state, else its conditions."""
    for container in status.get("containerStatuses") or ():
        for state in (container.get("state") or {}).values():
            words = [str(state[key]) for key in ("reason", "message", "exitCode") if state.get(key) is not None]
            if words:
                return ", ".join(words)
    said = [entry.get("message") for entry in status.get("conditions") or () if entry.get("status") == "False"]
    return next((str(text) for text in said if text), str(status.get("phase") or "?"))
