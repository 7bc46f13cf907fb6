"""Reads runs with their results from a cluster. Shows nothing and decides only what need not be read again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from vidbench_api.names import LABEL_RUN_UID, ConditionType
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus

from .cluster import RESULTS, RUNS, Cluster
from .errors import ClusterError, NotFoundError
from .texts import _, ngettext

_ONE_BY_ONE = 8
"""So many missing results are read by name; for more, all of the run are listed."""


@dataclass(frozen=True)
class RunView:
    """A run as it was read. `results` are those that its shards name, by name; a result may be gone from the ledger."""

    name: str
    namespace: str
    uid: str
    body: dict[str, Any] = field(repr=False)
    status: BenchmarkRunStatus
    results: dict[str, BenchmarkResultSpec] = field(default_factory=dict, repr=False)

    def condition(self, kind: str) -> str | None:
        """Return the status of a condition: True, False, Unknown, or None where there is none."""
        return next((entry.status for entry in self.status.conditions if entry.type == kind), None)

    @property
    def ended(self) -> bool:
        """Whether the run is Complete or Failed."""
        return "True" in (self.condition(ConditionType.COMPLETE), self.condition(ConditionType.FAILED))


def run_view(body: dict[str, Any], results: dict[str, BenchmarkResultSpec] | None = None) -> RunView:
    """Parse a run as the API gave it; raises ClusterError where another version wrote it."""
    metadata = body["metadata"]
    try:
        status = BenchmarkRunStatus.model_validate(body.get("status") or {})
    except ValidationError as error:
        text = ngettext(
            "BenchmarkRun {name!r} was written by another version: {count} field does not fit",
            "BenchmarkRun {name!r} was written by another version: {count} fields do not fit",
            error.error_count(),
        )
        raise ClusterError(
            text.format(name=metadata["name"], count=error.error_count()),
            _("use the vidbench of the operator's version; the object itself: kubectl get br {name} -o yaml").format(
                name=metadata["name"]
            ),
        ) from error
    return RunView(metadata["name"], metadata["namespace"], metadata["uid"], body, status, results or {})


class RunReader:
    """Reads one run again and again; results never change, so each is read once."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._results: dict[str, BenchmarkResultSpec | None] = {}

    def read(self) -> RunView:
        """Read the run and what is new of its results; raises ClusterError."""
        view = run_view(self._cluster.get(RUNS, self._name))
        named = [shard.result for row in view.status.rows for shard in row.shards if shard.result]
        if len([name for name in named if name not in self._results]) > _ONE_BY_ONE:
            for item in self._cluster.find(RESULTS, labels=f"{LABEL_RUN_UID}={view.uid}"):
                self._keep(item)
        for name in named:
            if name not in self._results:
                self._read_result(name)
        found = {name: result for name in named if (result := self._results.get(name)) is not None}
        return RunView(view.name, view.namespace, view.uid, view.body, view.status, found)

    def _read_result(self, name: str) -> None:
        try:
            self._keep(self._cluster.get(RESULTS, name))
        except NotFoundError:
            self._results[name] = None

    def _keep(self, item: dict[str, Any]) -> None:
        name = str(item["metadata"]["name"])
        try:
            self._results[name] = BenchmarkResultSpec.model_validate(item["spec"])
        except ValidationError as error:
            raise ClusterError(
                ngettext(
                    "BenchmarkResult {name!r} was written by another version: {count} field does not fit",
                    "BenchmarkResult {name!r} was written by another version: {count} fields do not fit",
                    error.error_count(),
                ).format(name=name, count=error.error_count()),
                _("use the vidbench of the operator's version"),
            ) from error
