"""Takes what the watches say into the store and asks for passes over the runs that it concerns.

Called from the watching thread with raw objects; it projects them there and hands small values over to the event
loop's thread, in order. Branches on nothing but whether an object was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from vidbench_operator.adapters import projections
from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.ports import RunKey

from .children import ChildStore


class Queue(Protocol):
    """Where passes are asked for."""

    def add(self, key: RunKey) -> None:
        """Ask for a pass as soon as possible."""
        ...


class Intake:
    """`post` runs a function in the event loop's thread; `relisted` is told when a watch has begun anew."""

    def __init__(
        self,
        store: ChildStore,
        queue: Queue,
        post: Callable[[Callable[[], None]], object],
        relisted: Callable[[], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._post = post
        self._relisted = relisted

    def run(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a run."""
        key = projections.run_key_of(raw)
        if key is None:
            return
        if kind == "DELETED":
            self._post(lambda: self._wake(key, changed=self._store.drop_run(key)))
            return
        head = projections.project_head(raw)
        self._post(lambda: self._wake(key, changed=self._store.put_run(key, head)))

    def job(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a Job."""
        key, job = projections.run_key_of_child(raw), projections.project_job(raw)
        if key is not None and job is not None:
            self._post(lambda: self._job(kind, key, job))

    def pod(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a pod: the last one, DELETED, may be the only one with the verdict."""
        key, pod = projections.run_key_of_child(raw), projections.project_pod(raw)
        if key is not None and pod is not None:
            self._post(lambda: self._pod(kind, key, pod))

    def node(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a node."""
        node = projections.project_node(raw)
        if node is not None:
            self._post(lambda: self._node(kind, node))

    def reference(self, namespace: str | None) -> None:
        """Take in that a class (None) or a model of a namespace changed: runs may have waited for it."""
        self._post(lambda: self._wake_all(self._store.unaccepted(namespace)))

    def _job(self, kind: str | None, key: RunKey, job: ObservedJob) -> None:
        self._note_listing(kind)
        deleted = kind == "DELETED"
        self._wake(key, changed=self._store.drop_job(key, job.uid) if deleted else self._store.put_job(key, job))

    def _pod(self, kind: str | None, key: RunKey, pod: ObservedPod) -> None:
        self._note_listing(kind)
        deleted = kind == "DELETED"
        self._wake(key, changed=self._store.end_pod(key, pod) if deleted else self._store.put_pod(key, pod))

    def _node(self, kind: str | None, node: ObservedNode) -> None:
        self._wake_all(self._store.drop_node(node.name) if kind == "DELETED" else self._store.put_node(node))

    def _note_listing(self, kind: str | None) -> None:
        """An event without a type comes from a list: what was deleted before it was never told."""
        if kind is None:
            self._relisted()

    def _wake(self, key: RunKey, *, changed: bool) -> None:
        if changed:
            self._queue.add(key)

    def _wake_all(self, keys: Iterable[RunKey]) -> None:
        for key in keys:
            self._queue.add(key)
