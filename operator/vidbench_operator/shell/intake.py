"""Takes what the watches say into the store and asks for passes over the runs that it concerns.

Called from the watching thread with raw objects; it projects them there and hands small values over to the event
loop's thread. Branches on nothing but whether an object was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from vidbench_api.kinds import BENCHMARK_RUN
from vidbench_operator.adapters import projections
from vidbench_operator.core.observed import ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.core.projections import project_node
from vidbench_operator.ports import RunKey

from .children import ChildStore
from .mailbox import Mailbox


class Queue(Protocol):
    """Where passes are asked for."""

    def add(self, key: RunKey) -> None:
        """Ask for a pass as soon as possible."""
        ...


class Intake:
    """`mailbox` leads into the event loop's thread; `relisted` is told when a watch has begun anew.

    `heard` is told, in the watching thread, of which kind something was heard.
    """

    def __init__(
        self,
        store: ChildStore,
        queue: Queue,
        mailbox: Mailbox,
        relisted: Callable[[], None],
        heard: Callable[[str], None] = lambda _kind: None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._mailbox = mailbox
        self._relisted = relisted
        self._heard = heard

    def run(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a run."""
        self._heard(BENCHMARK_RUN.plural)
        key = projections.run_key_of(raw)
        if key is None:
            return
        # Not final: another run of that name may come at once.
        if kind == "DELETED":
            self._mailbox.put(key, lambda: self._wake(key, changed=self._store.drop_run(key)))
            return
        head = projections.project_head(raw)
        self._mailbox.put(key, lambda: self._wake(key, changed=self._store.put_run(key, head)))

    def job(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a Job."""
        self._hear_child("jobs", kind)
        key, job = projections.run_key_of_child(raw), projections.project_job(raw)
        if key is not None and job is not None:
            self._mailbox.put(("job", job.uid), lambda: self._job(kind, key, job), final=kind == "DELETED")

    def pod(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a pod: the last one, DELETED, may be the only one with the verdict."""
        self._hear_child("pods", kind)
        key, pod = projections.run_key_of_child(raw), projections.project_pod(raw)
        if key is not None and pod is not None:
            self._mailbox.put(("pod", pod.uid), lambda: self._pod(kind, key, pod), final=kind == "DELETED")

    def node(self, kind: str | None, raw: Any) -> None:
        """Take in an event about a node."""
        self._heard("nodes")
        node = project_node(raw)
        if node is not None:
            self._mailbox.put(("node", node.name), lambda: self._node(kind, node))

    def reference(self, kind: str, namespace: str | None) -> None:
        """Take in that a class (no namespace) or a model of a namespace changed: runs may have waited for it."""
        self._heard(kind)
        self._mailbox.put(("reference", namespace), lambda: self._wake_all(self._store.unaccepted(namespace)))

    def _hear_child(self, plural: str, kind: str | None) -> None:
        """Note a sign of life. An event without a type comes from a list: what was deleted before it was never told."""
        self._heard(plural)
        if kind is None:
            self._mailbox.put("relisted", self._relisted)

    def _job(self, kind: str | None, key: RunKey, job: ObservedJob) -> None:
        deleted = kind == "DELETED"
        self._wake(key, changed=self._store.drop_job(key, job.uid) if deleted else self._store.put_job(key, job))

    def _pod(self, kind: str | None, key: RunKey, pod: ObservedPod) -> None:
        deleted = kind == "DELETED"
        self._wake(key, changed=self._store.end_pod(key, pod) if deleted else self._store.put_pod(key, pod))

    def _node(self, kind: str | None, node: ObservedNode) -> None:
        self._wake_all(self._store.drop_node(node.name) if kind == "DELETED" else self._store.put_node(node))

    def _wake(self, key: RunKey, *, changed: bool) -> None:
        if changed:
            self._queue.add(key)

    def _wake_all(self, keys: Iterable[RunKey]) -> None:
        for key in keys:
            self._queue.add(key)
