"""The Lease that operators share, on a real API server: read it, write it as it was last seen, tell of a new holder.

Every call is given up after a few seconds: one that hangs must not cost the leadership.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from vidbench_api.names import FIELD_MANAGER, LABEL_MANAGED_BY, MANAGED_BY
from vidbench_operator.core.leadership import LeaseRecord
from vidbench_operator.core.timestamps import format_micro_time, format_time
from vidbench_operator.ports import AlreadyExists, Conflict, Gone, Refused, Unavailable

from .api import METADATA_ONLY, Api
from .clock import ApiClock

_log = structlog.get_logger("vidbench.leases")
_CALL_SECONDS: Final = 3.0


@dataclass(frozen=True)
class StoredLease:
    """A Lease as the server had it."""

    record: LeaseRecord
    version: str
    uid: str


class LeaseStore:
    """One Lease by name."""

    def __init__(self, api: Api, clock: ApiClock, namespace: str, name: str) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self.name = name
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    def moment(self) -> str:
        """Return API time as a Lease writes it."""
        return format_micro_time(self._clock.now())

    async def read(self) -> StoredLease | None:
        """Read the Lease; None if there is none. Raises Unavailable or Refused."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                raw = await self._api.get(f"{self._leases}/{self.name}")
        except Gone:
            return None
        except TimeoutError as error:
            raise Unavailable(f"no answer about Lease {self.name} within {_CALL_SECONDS:.0f} s") from error
        return _stored(raw, _record_of(raw))

    async def write(self, record: LeaseRecord, stored: StoredLease | None) -> StoredLease:
        """Write the Lease if it is still as it was stored (None: absent). Raises Conflict, Unavailable or Refused."""
        spec: dict[str, Any] = {
            "holderIdentity": record.holder or None,
            "leaseDurationSeconds": math.ceil(record.duration) if record.duration else None,
            "renewTime": record.renewed or None,
            "leaseTransitions": record.transitions,
        }
        if stored is None or record.holder not in ("", stored.record.holder):
            spec["acquireTime"] = record.renewed
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                raw = await (self._create(spec) if stored is None else self._patch(spec, stored))
        except (AlreadyExists, Gone) as error:
            raise Conflict(str(error)) from error
        except TimeoutError as error:
            raise Unavailable(f"Lease {self.name} was not written within {_CALL_SECONDS:.0f} s") from error
        return _stored(raw, record)

    async def announce(self, stored: StoredLease, identity: str) -> None:
        """Write an Event about a new holder; a failure is logged, never raised."""
        moment = format_time(self._clock.now())
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{self.name}.", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "namespace": self._namespace,
                "name": self.name,
                "uid": stored.uid,
            },
            "type": "Normal",
            "reason": "LeaderElected",
            "message": f"{identity} leads",
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": identity,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._api.create(f"/api/v1/namespaces/{self._namespace}/events", event, accept=METADATA_ONLY)
        except (Refused, Gone, Unavailable, AlreadyExists, TimeoutError) as error:
            _log.warning("an Event about the Lease could not be written", lease=self.name, error=str(error))

    async def _create(self, spec: dict[str, Any]) -> Any:
        manifest = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self._namespace, "labels": {LABEL_MANAGED_BY: MANAGED_BY}},
            "spec": {name: value for name, value in spec.items() if value is not None},
        }
        return await self._api.create(self._leases, manifest, accept=METADATA_ONLY)

    async def _patch(self, spec: dict[str, Any], stored: StoredLease) -> Any:
        patch = {"metadata": {"resourceVersion": stored.version}, "spec": spec}
        return await self._api.merge(f"{self._leases}/{self.name}", patch)


def _stored(raw: Mapping[str, Any], record: LeaseRecord) -> StoredLease:
    metadata = raw.get("metadata") or {}
    return StoredLease(record, str(metadata.get("resourceVersion") or ""), str(metadata.get("uid") or ""))


def _record_of(raw: Mapping[str, Any]) -> LeaseRecord:
    spec = raw.get("spec") or {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    return LeaseRecord(
        holder=str(spec.get("holderIdentity") or ""),
        duration=float(duration) if isinstance(duration, int) else None,
        renewed=str(spec.get("renewTime") or ""),
        transitions=transitions if isinstance(transitions, int) else 0,
    )
