"""The `Cluster` port on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import structlog
from pydantic import ValidationError

from vidbench_api.base import ApiModel
from vidbench_api.identity import digest_of
from vidbench_api.kinds import (
    BENCHMARK_RESULT,
    BENCHMARK_RUN,
    RUNNER_CLASS,
    VIDEO_MODEL,
    Kind,
    RunnerClassSpec,
    VideoModelSpec,
)
from vidbench_api.names import (
    API_VERSION,
    FIELD_MANAGER,
    GENERATION_CHARACTERS,
    LABEL_GENERATION,
    LABEL_MODEL,
    LABEL_OUTCOME,
    LABEL_RUN,
    LABEL_RUN_UID,
    REQUEST_KEY,
    ConditionReason,
    ConditionType,
    EventReason,
    Outcome,
)
from vidbench_api.request import RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.observed import (
    CreationRefusal,
    ObservedJob,
    ObservedNode,
    ObservedPod,
    ObservedRun,
    References,
)
from vidbench_operator.core.plan import EmitEvent
from vidbench_operator.core.projections import explain, project_ledger_head, project_node, project_result
from vidbench_operator.core.retention import LedgerEntry
from vidbench_operator.core.timestamps import format_time
from vidbench_operator.manifests import event_manifest, request_manifest, result_manifest
from vidbench_operator.ports import MOST_LEDGER_HEADS, AlreadyExists, Conflict, Gone, Refused, RunKey, Unavailable

from . import projections
from .api import METADATA_LIST, METADATA_ONLY, Api
from .clock import ApiClock
from .shared_read import SharedRead

_log = structlog.get_logger("vidbench.kube")
_Spec = TypeVar("_Spec", bound=ApiModel)
_CORE: Final = "/api/v1"
_BATCH: Final = "/apis/batch/v1"
_REFUSALS_SECONDS: Final = 2.0
_OURS: Final = f"/apis/{API_VERSION}"
_KUEUE_VERSIONS: Final = ("v1beta2", "v1beta1")
_HEADS_A_CHUNK: Final = 500
"""Results without their specs: a few hundred bytes each."""

_GENERATIONS_A_LIST: Final = 40
"""Of 32 digits each: the URL stays far below what proxies allow."""


class KubeCluster:
    """The API server as the reconciler sees it. `namespaces` limits what is listed; empty: all of them.

    `instance` is the name of this operator in its Events.
    """

    def __init__(
        self,
        api: Api,
        clock: ApiClock,
        namespaces: Sequence[str] = (),
        *,
        instance: str = FIELD_MANAGER,
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespaces = tuple(namespaces)
        self._refusals = SharedRead(self._list_refusals, _REFUSALS_SECONDS)
        self._instance = instance
        self._tell_created: Callable[[dict[str, Any]], None] = lambda _result: None

    @property
    def answered(self) -> int:
        """How many calls the server has answered so far."""
        return self._api.answered

    def now(self) -> float:
        """Return API time in seconds since the epoch."""
        return self._clock.now()

    def abandon_calls(self) -> None:
        """Give up every call that is under way, as Unavailable."""
        self._api.abandon_calls()

    async def get_run(self, key: RunKey) -> ObservedRun | None:
        """Read a run; raises BrokenRun."""
        try:
            raw = await self._api.get(_path(BENCHMARK_RUN, key.namespace, key.name))
        except Gone:
            return None
        if (raw.get("metadata") or {}).get("deletionTimestamp"):
            return None
        return projections.project_run(raw)

    async def get_references(self, run: ObservedRun) -> References:
        """Read the class and the models of the run's namespace."""
        broken: dict[str, str] = {}
        class_name = run.spec.runner_class_name
        runner_class = None
        try:
            raw = await self._api.get(_path(RUNNER_CLASS, None, class_name))
            runner_class = _read_spec(RunnerClassSpec, raw, f"{RUNNER_CLASS.kind}/{class_name}", broken)
        except Gone:
            runner_class = None
        wanted = {model.model_ref.name if model.model_ref else model.name for model in run.spec.models}
        models = {}
        async for raw in self._api.items(_path(VIDEO_MODEL, run.namespace)):
            name = raw["metadata"]["name"]
            if name in wanted:
                spec = _read_spec(VideoModelSpec, raw, f"{VIDEO_MODEL.kind}/{name}", broken)
                models.update({name: spec} if spec is not None else {})
        return References(runner_class, models, broken)

    async def create_request(self, run: ObservedRun, name: str, text: str) -> None:
        """POST the request's ConfigMap."""
        path = f"{_CORE}/namespaces/{run.namespace}/configmaps"
        try:
            await self._create(path, request_manifest(_identity(run), name, text))
        except AlreadyExists:
            stored = await self.get_request(run, name)
            if stored is None or digest_of(stored) != digest_of(text):
                raise

    async def get_request(self, run: ObservedRun, name: str) -> str | None:
        """Read the request document of this very run."""
        try:
            raw = await self._api.get(f"{_CORE}/namespaces/{run.namespace}/configmaps/{name}")
        except Gone:
            return None
        text = (raw.get("data") or {}).get(REQUEST_KEY)
        return text if _is_owned(raw, run) and isinstance(text, str) else None

    async def list_children(self, run: ObservedRun) -> tuple[tuple[ObservedJob, ...], tuple[ObservedPod, ...]]:
        """List the run's Jobs and pods."""
        query = {"labelSelector": f"{LABEL_RUN}={run.name}"}
        jobs = [
            projections.project_job(raw)
            async for raw in self._api.items(f"{_BATCH}/namespaces/{run.namespace}/jobs", query)
        ]
        pods = [
            projections.project_pod(raw)
            async for raw in self._api.items(f"{_CORE}/namespaces/{run.namespace}/pods", query)
        ]
        return tuple(job for job in jobs if job is not None), tuple(pod for pod in pods if pod is not None)

    async def list_results(self, run: ObservedRun) -> dict[str, BenchmarkResultSpec]:
        """List the run's results."""
        query = {"labelSelector": f"{LABEL_RUN_UID}={run.uid}"}
        results = {}
        async for raw in self._api.items(_path(BENCHMARK_RESULT, run.namespace), query):
            spec = project_result(raw)
            if spec is not None and spec.run.uid == run.uid:
                results[raw["metadata"]["name"]] = spec
        return results

    async def get_result(self, run: ObservedRun, name: str) -> BenchmarkResultSpec | None:
        """Read one result."""
        try:
            return project_result(await self._api.get(_path(BENCHMARK_RESULT, run.namespace, name)))
        except Gone:
            return None

    async def list_ledger_heads(self, run: ObservedRun) -> tuple[LedgerHead, ...]:
        """Read the metadata of results, in a few large chunks: enough for an expectation."""
        models = ",".join(sorted(model.name for model in run.spec.models))
        query = {"labelSelector": f"{LABEL_MODEL} in ({models}),{LABEL_OUTCOME}={Outcome.SUCCEEDED.value}"}
        heads: list[LedgerHead] = []
        path, read = _path(BENCHMARK_RESULT, run.namespace), 0
        async for raw in self._api.items(path, query, accept=METADATA_LIST, chunk=_HEADS_A_CHUNK):
            head = project_ledger_head(raw)
            heads.extend([head] if head is not None else [])
            read += 1
            if read == MOST_LEDGER_HEADS:
                break
        return tuple(heads)

    async def list_identical(self, run: ObservedRun, generations: frozenset[str]) -> dict[str, BenchmarkResultSpec]:
        """List results by the label that holds the first digits of their generation hash."""
        found = {}
        for batch in _batches(sorted(generations), _GENERATIONS_A_LIST):
            labels = ",".join(generation[:GENERATION_CHARACTERS] for generation in batch)
            async for raw in self._api.items(
                _path(BENCHMARK_RESULT, run.namespace), {"labelSelector": f"{LABEL_GENERATION} in ({labels})"}
            ):
                spec = project_result(raw)
                if spec is not None and spec.generation_hash in generations:
                    found[raw["metadata"]["name"]] = spec
        return found

    async def list_selected(self, run: ObservedRun, selector: str, most: int) -> tuple[BenchmarkResultSpec, ...]:
        """List results by labels, in chunks; stops after one too many."""
        found: list[BenchmarkResultSpec] = []
        async for raw in self._api.items(_path(BENCHMARK_RESULT, run.namespace), {"labelSelector": selector}):
            spec = project_result(raw)
            if spec is not None:
                found.append(spec)
            if len(found) > most:
                break
        return tuple(found)

    async def queue_exists(self, run: ObservedRun, name: str) -> bool | None:
        """Look for a LocalQueue of Kueue, in the versions that its releases serve."""
        for version in _KUEUE_VERSIONS:
            try:
                await self._api.get(
                    f"/apis/kueue.x-k8s.io/{version}/namespaces/{run.namespace}/localqueues/{name}",
                    accept=METADATA_ONLY,
                )
            except Gone:
                continue
            except Refused:
                return None
            return True
        return False

    async def list_refusals(self, run: ObservedRun, job_uids: frozenset[str]) -> tuple[CreationRefusal, ...]:
        """Read what the Job controller said last about each of these Jobs; at most a few seconds old."""
        latest = await self._refusals.get(run.namespace)
        return tuple(latest[uid] for uid in job_uids if uid in latest)

    async def _list_refusals(self, namespace: str) -> dict[str, CreationRefusal]:
        """List what the Job controller said last about each Job of a namespace, by UID.

        The API server goes through all Events of the namespace for it: with thousands of Jobs that start, that is dear.
        """
        query = {"fieldSelector": "involvedObject.kind=Job,reason=FailedCreate"}
        latest: dict[str, tuple[float, CreationRefusal]] = {}
        async for raw in self._api.items(f"{_CORE}/namespaces/{namespace}/events", query):
            entry = projections.project_refusal(raw)
            if entry is not None and entry[0] >= latest.get(entry[1].job_uid, entry)[0]:
                latest[entry[1].job_uid] = entry
        return {uid: refusal for uid, (_, refusal) in latest.items()}

    async def create_result(
        self, run: ObservedRun, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]
    ) -> None:
        """POST a result."""
        manifest = result_manifest(run.namespace, name, spec, labels)
        created = await self._create(_path(BENCHMARK_RESULT, run.namespace), manifest)
        self._tell_created({**manifest, "metadata": {**manifest["metadata"], **(created.get("metadata") or {})}})

    async def write_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        """Replace the status; what comes back is the run with that status, as nothing else can have changed."""
        body = {
            "apiVersion": API_VERSION,
            "kind": BENCHMARK_RUN.kind,
            "metadata": {
                "name": run.name,
                "namespace": run.namespace,
                "uid": run.uid,
                "resourceVersion": run.resource_version,
            },
            "spec": run.spec.to_wire(),
            "status": status.to_wire(),
        }
        path = f"{_path(BENCHMARK_RUN, run.namespace, run.name)}/status"
        raw = await self._api.replace(path, body, accept=METADATA_ONLY)
        return replace(run, resource_version=raw["metadata"]["resourceVersion"], status=status)

    async def create_job(self, run: ObservedRun, manifest: dict[str, Any]) -> ObservedJob:
        """POST a Job, or find that this run has it already."""
        path = f"{_BATCH}/namespaces/{run.namespace}/jobs"
        try:
            raw = await self._api.create(path, manifest, accept=METADATA_ONLY)
        except AlreadyExists:
            try:
                raw = await self._api.get(f"{path}/{manifest['metadata']['name']}")
            except Gone as error:
                raise Unavailable("the Job whose name was taken is gone by now: try again", 0.1) from error
            job = projections.project_job(raw)
            if job is None or job.owner_uid != run.uid:
                raise
            return job
        job = projections.project_job(raw)
        if job is None:
            raise Unavailable(f"the API server answered with a Job without name or UID: {path}")
        return job

    async def delete_job(self, run: ObservedRun, name: str, uid: str) -> None:
        """DELETE a Job in the background."""
        await self._api.delete(f"{_BATCH}/namespaces/{run.namespace}/jobs/{name}", uid)

    async def patch_ttl(self, run: ObservedRun, name: str, uid: str, seconds: int) -> None:
        """Set a finished Job's time to live. A patch that names another UID than the object's is refused."""
        path = f"{_BATCH}/namespaces/{run.namespace}/jobs/{name}"
        try:
            await self._api.merge(path, {"metadata": {"uid": uid}, "spec": {"ttlSecondsAfterFinished": seconds}})
        except Gone:
            return
        except Conflict as error:
            if await self._api.has_uid(path, uid):
                raise Unavailable(str(error)) from error
        except Refused:
            if await self._api.has_uid(path, uid):
                raise

    async def delete_run(self, run: ObservedRun) -> None:
        """DELETE the run in the background."""
        await self._api.delete(_path(BENCHMARK_RUN, run.namespace, run.name), run.uid)

    async def emit(self, run: ObservedRun, event: EmitEvent) -> None:
        """Write an Event."""
        await self._emit(_identity(run), event)

    async def report_broken(self, run: RunIdentity, message: str) -> None:
        """Write a Stalled condition and an Event about a run that does not fit its schema; nothing if it says so already."""
        event = EmitEvent("Warning", EventReason.REFUSED, f"the stored object cannot be served: {message}")
        try:
            if not await self._set_stalled(run, event.message):
                return
        except (Refused, Gone, Conflict, Unavailable) as error:
            _log.warning("the condition of a broken run could not be written", run=run.name, error=str(error))
        await self._emit(run, event)

    async def can_list_nodes(self) -> bool:
        """Whether nodes are visible to this user."""
        try:
            await self._api.get(f"{_CORE}/nodes", {"limit": "1"}, accept=METADATA_LIST)
        except Refused:
            return False
        return True

    async def is_served(self) -> bool:
        """Whether the API server serves the kinds of this version."""
        try:
            answer = await self._api.get(_OURS)
        except Gone:
            return False
        served = {entry.get("name") for entry in answer.get("resources") or ()}
        return {BENCHMARK_RUN.plural, VIDEO_MODEL.plural, RUNNER_CLASS.plural, BENCHMARK_RESULT.plural} <= served

    async def list_run_keys(self) -> list[RunKey]:
        """List the keys of all runs, without their bodies."""
        keys = [
            projections.run_key_of(raw)
            for namespace in self._namespaces or (None,)
            async for raw in self._api.items(_path(BENCHMARK_RUN, namespace), accept=METADATA_LIST)
        ]
        return [key for key in keys if key is not None]

    async def list_run_uids(self) -> frozenset[str]:
        """List the UIDs of all runs, without their bodies."""
        return frozenset(
            [
                raw["metadata"]["uid"]
                for namespace in self._namespaces or (None,)
                async for raw in self._api.items(_path(BENCHMARK_RUN, namespace), accept=METADATA_LIST)
            ]
        )

    async def list_ledger(self) -> list[LedgerEntry]:
        """List all results, without their bodies."""
        entries = [
            projections.project_ledger_entry(raw)
            for namespace in self._namespaces or (None,)
            async for raw in self._api.items(_path(BENCHMARK_RESULT, namespace), accept=METADATA_LIST)
        ]
        return [entry for entry in entries if entry is not None]

    async def read_results(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all results, whole, in chunks."""
        for namespace in self._namespaces or (None,):
            async for raw in self._api.items(_path(BENCHMARK_RESULT, namespace)):
                yield raw

    def on_result(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Tell of each result that is created from now on, as the server has it."""
        self._tell_created = tell

    async def delete_result(self, entry: LedgerEntry) -> None:
        """DELETE a result as it was listed; one that was changed since, e.g. labelled to be kept, stays."""
        await self._api.delete(_path(BENCHMARK_RESULT, entry.namespace, entry.name), entry.uid, entry.version)

    async def count_runs(self) -> int:
        """Ask how many runs there are, without reading them."""
        count = 0
        for namespace in self._namespaces or (None,):
            answer = await self._api.get(_path(BENCHMARK_RUN, namespace), {"limit": "1"}, accept=METADATA_LIST)
            rest = (answer.get("metadata") or {}).get("remainingItemCount") or 0
            count += len(answer.get("items") or ()) + rest
        return count

    async def list_all_jobs(self) -> list[tuple[RunKey, ObservedJob]]:
        """List the Jobs of all runs."""
        jobs = []
        async for raw in self._labelled(_BATCH, "jobs"):
            key, job = projections.run_key_of_child(raw), projections.project_job(raw)
            if key is not None and job is not None:
                jobs.append((key, job))
        return jobs

    async def list_all_pods(self) -> list[tuple[RunKey, ObservedPod]]:
        """List the pods of all runs."""
        pods = []
        async for raw in self._labelled(_CORE, "pods"):
            key, pod = projections.run_key_of_child(raw), projections.project_pod(raw)
            if key is not None and pod is not None:
                pods.append((key, pod))
        return pods

    async def list_nodes(self) -> dict[str, ObservedNode]:
        """List the nodes; raises Refused if they are not visible."""
        nodes = [project_node(raw) async for raw in self._api.items(f"{_CORE}/nodes")]
        return {node.name: node for node in nodes if node is not None}

    async def _create(self, path: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """POST an object and return its metadata. A name that was taken, and is free when one looks, is worth another try."""
        try:
            created: dict[str, Any] = await self._api.create(path, manifest, accept=METADATA_ONLY)
        except AlreadyExists as error:
            if await self._api.uid_of(f"{path}/{manifest['metadata']['name']}") is None:
                raise Unavailable(f"{error}; it is gone by now: try again", 0.1) from error
            raise
        return created

    async def _labelled(self, prefix: str, plural: str) -> AsyncIterator[dict[str, Any]]:
        for namespace in self._namespaces or (None,):
            path = f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"
            async for raw in self._api.items(path, {"labelSelector": LABEL_RUN}):
                yield raw

    async def _emit(self, run: RunIdentity, event: EmitEvent) -> None:
        manifest = event_manifest(run, event, self.now(), self._instance)
        path = f"{_CORE}/namespaces/{run.namespace}/events"
        try:
            await self._api.create(path, manifest, accept=METADATA_ONLY)
        except AlreadyExists:
            await self._count_event(f"{path}/{manifest['metadata']['name']}")
        except (Refused, Gone, Unavailable) as error:
            _log.warning("an Event could not be written", run=run.name, reason=event.reason, error=str(error))

    async def _count_event(self, path: str) -> None:
        try:
            stored = await self._api.get(path)
            count = stored.get("count")
            again = count + 1 if isinstance(count, int) else 1
            await self._api.merge(path, {"count": again, "lastTimestamp": format_time(self.now())})
        except (Refused, Gone, Conflict, Unavailable) as error:
            _log.warning("a repeated Event could not be counted", path=path, error=str(error))

    async def _set_stalled(self, run: RunIdentity, message: str) -> bool:
        """Put a Stalled condition among those that are there and readable; returns whether it was not there already.

        Who is stalled neither reconciles nor is ready.
        """
        path = _path(BENCHMARK_RUN, run.namespace, run.name)
        raw = await self._api.get(path)
        status = raw.get("status")
        stored = status.get("conditions") if isinstance(status, Mapping) else None
        kept = [entry for entry in stored if isinstance(entry, Mapping)] if isinstance(stored, list) else []
        stalled = next((entry for entry in kept if entry.get("type") == ConditionType.STALLED.value), {})
        if stalled.get("status") == "True" and stalled.get("message") == message:
            return False
        condition = {
            "type": ConditionType.STALLED.value,
            "status": "True",
            "reason": ConditionReason.INVALID_SPEC.value,
            "message": message,
            "lastTransitionTime": format_time(self.now()),
        }
        contrary = (ConditionType.RECONCILING.value, ConditionType.READY.value)
        others = [
            {**condition, "type": entry["type"], "status": "False"} if entry.get("type") in contrary else entry
            for entry in kept
            if entry.get("type") != ConditionType.STALLED.value
        ]
        patch = {"metadata": {"uid": run.uid}, "status": {"conditions": [*others, condition]}}
        await self._api.merge(f"{path}/status", patch)
        return True


def _path(kind: Kind, namespace: str | None, name: str | None = None) -> str:
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{_OURS}{scope}/{kind.plural}" + (f"/{name}" if name else "")


def _identity(run: ObservedRun) -> RunIdentity:
    return RunIdentity(namespace=run.namespace, name=run.name, uid=run.uid)


def _is_owned(raw: Mapping[str, Any], run: ObservedRun) -> bool:
    owners = (raw.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("uid") == run.uid for owner in owners)


def _read_spec(model: type[_Spec], raw: Mapping[str, Any], name: str, broken: dict[str, str]) -> _Spec | None:
    try:
        return model.model_validate(raw.get("spec"))
    except ValidationError as error:
        broken[name] = explain(error, "spec")
        return None


def _batches(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (values[start : start + size] for start in range(0, len(values), size))
