"""Reads runs and their results from a cluster, through kubeconfig as kubectl does. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from pydantic import ValidationError
from urllib3.exceptions import HTTPError

from vidbench_api.names import GROUP, LABEL_RUN_UID, VERSION
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus

from .texts import _

_ASK_AGAIN = frozenset({429, 500, 502, 503, 504})
"""429 comes also from an API server that is still getting ready to serve a kind."""


class ClusterError(Exception):
    """The cluster could not be asked, or gave no answer that can be shown; the text is for people."""


class ClusterAwayError(ClusterError):
    """The API server did not answer or asked to wait: it may answer when asked again."""


@dataclass(frozen=True)
class RunView:
    """What there is to show of a run."""

    name: str
    namespace: str
    uid: str
    status: BenchmarkRunStatus
    results: tuple[BenchmarkResultSpec, ...]

    @property
    def ended(self) -> bool:
        """Whether the run is Complete or Failed."""
        return any(entry.status == "True" and entry.type in ("Complete", "Failed") for entry in self.status.conditions)


class Reader:
    """Asks one cluster, in one context."""

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str | None) -> None:
        try:
            contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]
            chosen = next((entry for entry in contexts if entry["name"] == context), active) if context else active
            self.namespace = namespace or chosen["context"].get("namespace") or "default"
            connection = config.new_client_from_config(config_file=kubeconfig, context=context)  # type: ignore[no-untyped-call]
            self._api: Any = client.CustomObjectsApi(connection)
        except config.ConfigException as error:
            raise ClusterError(_("no usable kubeconfig: {error}").format(error=error)) from error

    def read_run(self, name: str) -> RunView:
        """Read a run with its results; raises ClusterError, ClusterAwayError among them."""
        try:
            body = self._api.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, "benchmarkruns", name, _request_timeout=30
            )
            uid = body["metadata"]["uid"]
            listing = self._api.list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, "benchmarkresults", label_selector=f"{LABEL_RUN_UID}={uid}",
                _request_timeout=30,
            )  # fmt: skip
            return RunView(
                name=name,
                namespace=self.namespace,
                uid=uid,
                status=BenchmarkRunStatus.model_validate(body.get("status") or {}),
                results=tuple(BenchmarkResultSpec.model_validate(item["spec"]) for item in listing["items"]),
            )
        except client.ApiException as error:
            if error.status == 404:
                text = _("there is no BenchmarkRun {name!r} in namespace {namespace!r}")
                raise ClusterError(text.format(name=name, namespace=self.namespace)) from error
            kind = ClusterAwayError if error.status in _ASK_AGAIN else ClusterError
            raise kind(f"{error.status} {error.reason}") from error
        except ValidationError as error:
            text = _("BenchmarkRun {name!r} was written by another version: {count} fields do not fit")
            raise ClusterError(text.format(name=name, count=error.error_count())) from error
        except (OSError, HTTPError) as error:
            raise ClusterAwayError(str(error)) from error
