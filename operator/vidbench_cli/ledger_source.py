"""A cluster's ledger as `vidbench_store` reads it: chunk by chunk. Knows the cluster; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubernetes import config

from vidbench_store.documents import Unreadable, read_document
from vidbench_store.store import Filter
from vidbench_store.sync import Chunk, ListExpired

from .cluster import RESULTS, UNUSABLE, Cluster, ask_patiently
from .errors import ListExpiredError

_PATIENCE_SECONDS = 20.0


class ClusterLedger:
    """A `Source` of a namespace, or of all of them. A server that is away for a moment is waited for."""

    def __init__(self, cluster: Cluster, everywhere: bool, limit: int) -> None:
        self._cluster = cluster
        self._everywhere = everywhere
        self._limit = limit

    def read_chunk(self, continue_token: str | None) -> Chunk:
        """Read the next part of the list. Raises ListExpired and ClusterError."""
        try:
            answer = self._ask(continue_token)
        except ListExpiredError as error:
            raise ListExpired(error.message) from error
        metadata = answer.get("metadata") or {}
        return Chunk(
            tuple(answer.get("items") or ()), metadata.get("continue") or None, metadata.get("resourceVersion")
        )

    def _ask(self, token: str | None) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            return self._cluster.read_chunk(RESULTS, self._limit, token or "", everywhere=self._everywhere)

        # A server that was never there is told of at once; one that goes away in between may come back.
        return ask_patiently(ask, _PATIENCE_SECONDS) if token else ask()


def read_ledger(
    cluster: Cluster, label: str, everywhere: bool, limit: int, which: Filter
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a cluster's ledger that a filter selects, with its name; unreadable ones too."""
    source = ClusterLedger(cluster, everywhere, limit)
    token: str | None = None
    while True:
        chunk = source.read_chunk(token)
        for raw in chunk.documents:
            entry = read_document(raw)
            if isinstance(entry, Unreadable) or which.matches({**entry.row, "cluster": label}):
                yield label, dict(raw)
        token = chunk.continue_token
        if token is None:
            return


def cluster_name(kubeconfig: str | None, context: str | None) -> str | None:
    """Return what the kubeconfig calls the cluster of a context; None without a kubeconfig."""
    try:
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]
    except UNUSABLE:
        return None
    chosen = next((entry for entry in contexts if entry["name"] == context), active)
    return str(chosen["context"]["cluster"])
