"""The operator's ports on one machine: a directory for the API server, processes for pods, one node.

The operator's own reconciler plays over it, so retries, budgets, breakers and the status are decided as on a cluster. What
a Job controller and a kubelet do happens in `tick`.
"""

# ruff: noqa: ARG002 - the ports name runs and keys, and this world has one run

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vidbench_api.kinds import BENCHMARK_RUN
from vidbench_api.names import API_VERSION, LABEL_HARDWARE
from vidbench_api.request import RequestDocument, RunIdentity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_spec import BenchmarkRunSpec
from vidbench_api.run_status import BenchmarkRunStatus
from vidbench_cli.runs import RunView, run_view
from vidbench_cli.texts import _
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
from vidbench_operator.core.timestamps import format_time, parse_time
from vidbench_operator.manifests import result_manifest
from vidbench_operator.ports import AlreadyExists, Conflict, RunKey

from .attempt import Attempt, Manifest, Places, environment_of
from .files import DamagedError, Object, RunDirectory, create_file
from .fitting import why_not
from .machine import Machine
from .neighbours import matches, results_beside
from .processes import RunnerProcess, is_runner_of, kill_tree

NAMESPACE: Final = "local"
_MAX_COUNT: Final = 2_147_483_647
_MESSAGE_BYTES: Final = 4096
"""What a kubelet reads of a termination message."""


@dataclass(frozen=True)
class Surroundings:
    """What a run is measured with: the machine, what its names lead to, and the environment that runners inherit."""

    machine: Machine
    references: References
    environment: Mapping[str, str]


class World:
    """One run on this machine: the ports `Cluster` and `Children`. For one holder of the directory, and one thread."""

    def __init__(
        self, directory: RunDirectory, run: ObservedRun, around: Surroundings, tell: Callable[[EmitEvent], None]
    ) -> None:
        """Take a run up where its directory says that it is. Raises DamagedError."""
        self._directory = directory
        self._run = run
        self._around = around
        self._tell = tell
        self._offset = time.time() - time.monotonic()
        self._results = results_in(directory)
        self._attempts: dict[str, Attempt] = {}
        self._processes: dict[str, RunnerProcess] = {}
        self._stop_at: dict[str, float] = {}
        self._closing = False
        for name, state in directory.read_attempts().items():
            try:
                self._attempts[name] = self._taken_up(Attempt.from_state(state))
            except TypeError as error:
                raise DamagedError(f"{directory.attempt(name)}: {error}") from error

    def resume(self, parallel: int, away_since: float | None) -> None:
        """Go on with so many processes at once; the time in which nobody worked on the run does not count for runSeconds."""
        run = self._run
        spec = run.spec.model_copy(update={"parallelism": parallel})
        status = run.status
        if away_since is not None:
            seconds = status.paused_seconds + max(0, round(self.now() - away_since))
            status = status.model_copy(update={"paused_seconds": min(seconds, _MAX_COUNT)})
        generation = run.generation + (spec != run.spec)
        self._run = replace(run, spec=spec, status=status, generation=generation)
        self._directory.write_run(to_object(self._run))

    # What is there

    @property
    def run(self) -> ObservedRun:
        """Return the run as it is now."""
        return self._run

    @property
    def results(self) -> dict[str, BenchmarkResultSpec]:
        """Return the run's results by name."""
        return dict(self._results)

    def document(self) -> RequestDocument | None:
        """Return the request document; None before the run is accepted."""
        try:
            return RequestDocument.from_text(self._directory.request.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    @property
    def running(self) -> tuple[Attempt, ...]:
        """Return the attempts that have a process, with what their runners have said so far."""
        return tuple(
            replace(self._attempts[name], message=self._message_of(self._attempts[name])) for name in self._processes
        )

    def now(self) -> float:
        """Return the time; it does not jump while this process runs."""
        return time.monotonic() + self._offset

    def nodes(self) -> dict[str, ObservedNode] | None:
        """Return this machine as the only node.

        Not before the run is accepted: what it has too little of for one cell must end that cell, not keep the run waiting.
        """
        if self._run.status.request_digest is None:
            return None
        node = self._around.machine.node()
        return {node.name: node}

    # What a Job controller, a scheduler and a kubelet do

    def tick(self) -> bool:
        """Let the machine go on: collect processes that ended, end those past their limits, start what has room.

        Returns whether anything changed. Raises OSError where a process cannot be started or a file not be written.
        """
        before = dict(self._attempts)
        for name, process in list(self._processes.items()):
            self._follow(name, process)
        for attempt in list(self._attempts.values()):
            waits = attempt.started_at is None and not attempt.ended and attempt.deleted_at is None
            if waits and not self._closing:
                self._schedule(attempt)
        self._directory.sign_of_life()
        return before != self._attempts

    def _follow(self, name: str, process: RunnerProcess) -> None:
        status = process.poll()
        now = self.now()
        if status is None and now >= self._stop_at.get(name, float("inf")):
            status = process.kill()
        if status is not None:
            attempt = self._attempts[name]
            self._keep(attempt.with_end(status, self._message_of(attempt), now))
            del self._processes[name]
            self._stop_at.pop(name, None)
            return
        attempt = self._attempts[name]
        if now >= (attempt.started_at or now) + attempt.deadline_seconds and name not in self._stop_at:
            self._keep(attempt.past_deadline())
            self._stop(name)

    def _schedule(self, attempt: Attempt) -> None:
        """Start an attempt, or say why it has no node, or what it waits for."""
        against = self._why_not_here(attempt)
        if against is not None:
            self._keep(replace(attempt, unschedulable=against))
            return
        taken = {device for name in self._processes for device in self._attempts[name].devices}
        free = [gpu.token for gpu in self._around.machine.gpus if gpu.token not in taken]
        if len(free) < attempt.gpus:
            text = _("waits for {wanted} GPUs, {free} of this machine are free").format(
                wanted=attempt.gpus, free=len(free)
            )
            self._keep(replace(attempt, waits_for=text))
            return
        self._start(replace(attempt, waits_for=None, devices=tuple(free[: attempt.gpus])))

    def _why_not_here(self, attempt: Attempt) -> str | None:
        name = attempt.manifest["metadata"]["labels"][LABEL_HARDWARE]
        hardware = next(entry for entry in self._run.spec.hardware if entry.name == name)
        return None if attempt.harvests else why_not(hardware, self._around.machine)

    def _start(self, attempt: Attempt) -> None:
        folder = self._directory.attempt(attempt.name)
        self._directory.artifacts.mkdir(exist_ok=True)
        places = Places(self._directory.request, self._directory.artifacts, folder / "message")
        places.message.write_text("", encoding="ascii")
        environment = environment_of(attempt, places, self._around.machine.name, self._around.environment)
        process = RunnerProcess(environment, folder, folder / "log.txt")
        self._processes[attempt.name] = process
        self._keep(replace(attempt, started_at=self.now(), pid=process.pid))

    def _stop(self, name: str) -> None:
        """Ask a process to end, and remember until when it may take."""
        self._processes[name].ask_to_stop()
        self._stop_at.setdefault(name, self.now() + self._attempts[name].grace_seconds)

    def stop_all(self) -> None:
        """Start nothing more and ask every process to end, because we do; it costs their attempts nothing."""
        self._closing = True
        for name in self._processes:
            self._keep(self._attempts[name].shutting_down(_("vidbench was interrupted")))
            self._stop(name)

    def kill_all(self) -> None:
        """End every process at once."""
        for name, process in list(self._processes.items()):
            process.kill()
            self._follow(name, process)

    def _taken_up(self, attempt: Attempt) -> Attempt:
        """Return an attempt that an earlier process of ours left behind; its runner, should it live still, ends."""
        if not attempt.runs:
            return attempt
        if attempt.pid is not None and is_runner_of(attempt.pid, attempt.pod_uid):
            kill_tree(attempt.pid)
        try:
            when = (self._directory.attempt(attempt.name) / "message").stat().st_mtime
        except FileNotFoundError:
            when = attempt.started_at or attempt.created_at
        ended = attempt.with_unseen_end(self._message_of(attempt), max(when, attempt.started_at or when))
        self._directory.write_attempt(ended.name, ended.to_state())
        return ended

    def _message_of(self, attempt: Attempt) -> str:
        try:
            content = (self._directory.attempt(attempt.name) / "message").read_bytes()
        except FileNotFoundError:
            return ""
        return content[-_MESSAGE_BYTES:].decode("utf-8", errors="replace")

    def _keep(self, attempt: Attempt) -> None:
        if self._attempts.get(attempt.name) != attempt:
            self._directory.write_attempt(attempt.name, attempt.to_state())
            self._attempts[attempt.name] = attempt

    # The port `Children`: what is here is known at once, so there is nothing to remember

    def jobs_of(self, run: ObservedRun) -> tuple[ObservedJob, ...]:
        """Return the Jobs that exist; one that is deleted is gone at once, its pod follows."""
        return tuple(attempt.job() for attempt in self._attempts.values() if attempt.deleted_at is None)

    def pods_of(self, run: ObservedRun) -> tuple[ObservedPod, ...]:
        """Return the pods that exist."""
        node = self._around.machine.name
        there = (attempt for attempt in self._attempts.values() if attempt.deleted_at is None or attempt.runs)
        return tuple(pod for attempt in there if (pod := attempt.pod(node)) is not None)

    def remember_job(self, run: ObservedRun, job: ObservedJob) -> None:
        """Do nothing."""

    def remember_deleting(self, run: ObservedRun, uid: str) -> None:
        """Do nothing."""

    def remember_ttl(self, run: ObservedRun, uid: str, seconds: int) -> None:
        """Do nothing."""

    def forget_pods(self, run: ObservedRun, job_uids: frozenset[str]) -> None:
        """Do nothing."""

    # The port `Cluster`

    async def get_run(self, key: RunKey) -> ObservedRun | None:
        """Return the run."""
        return self._run

    async def get_references(self, run: ObservedRun) -> References:
        """Return the class and the models of the manifest."""
        return self._around.references

    async def create_request(self, run: ObservedRun, name: str, text: str) -> None:
        """Write the request document. Raises AlreadyExists if there is another."""
        try:
            create_file(self._directory.request, text)
        except FileExistsError as error:
            if await self.get_request(run, name) != text:
                raise AlreadyExists(str(self._directory.request)) from error

    async def get_request(self, run: ObservedRun, name: str) -> str | None:
        """Read the request document."""
        try:
            return self._directory.request.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    async def list_children(self, run: ObservedRun) -> tuple[tuple[ObservedJob, ...], tuple[ObservedPod, ...]]:
        """Return Jobs and pods."""
        return self.jobs_of(run), self.pods_of(run)

    async def list_results(self, run: ObservedRun) -> dict[str, BenchmarkResultSpec]:
        """Return the results."""
        return self.results

    async def get_result(self, run: ObservedRun, name: str) -> BenchmarkResultSpec | None:
        """Return one result."""
        return self._results.get(name)

    async def list_ledger_heads(self, run: ObservedRun) -> tuple[LedgerHead, ...]:
        """Return nothing: a directory holds one run."""
        return ()

    async def list_identical(self, run: ObservedRun, generations: frozenset[str]) -> dict[str, BenchmarkResultSpec]:
        """Return nothing: a directory holds one run."""
        return {}

    async def list_selected(self, run: ObservedRun, selector: str, most: int) -> tuple[BenchmarkResultSpec, ...]:
        """Return the results of other runs beside this one, by labels, and of more than `most` one too many."""
        found = (spec for labels, spec in results_beside(self._directory.path) if matches(selector, labels))
        return tuple(itertools.islice(found, most + 1))

    async def queue_exists(self, run: ObservedRun, name: str) -> bool | None:
        """Return None: there are no queues to be seen."""
        return None

    async def list_refusals(self, run: ObservedRun, job_uids: frozenset[str]) -> tuple[CreationRefusal, ...]:
        """Return what attempts without a pod wait for."""
        return tuple(
            CreationRefusal(attempt.uid, attempt.waits_for)
            for attempt in self._attempts.values()
            if attempt.uid in job_uids and attempt.waits_for is not None
        )

    async def create_result(
        self, run: ObservedRun, name: str, spec: BenchmarkResultSpec, labels: dict[str, str]
    ) -> None:
        """Write a result for ever. Raises AlreadyExists."""
        body = result_manifest(run.namespace, name, spec, labels)
        body["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": format_time(self.now())}
        try:
            self._directory.create_result(name, body)
        except FileExistsError as error:
            raise AlreadyExists(name) from error
        self._results[name] = spec

    async def write_status(self, run: ObservedRun, status: BenchmarkRunStatus) -> ObservedRun:
        """Replace the status. Raises Conflict."""
        if run.resource_version != self._run.resource_version:
            raise Conflict(run.name)
        self._run = replace(self._run, status=status, resource_version=str(int(run.resource_version) + 1))
        self._directory.write_run(to_object(self._run))
        return self._run

    async def create_job(self, run: ObservedRun, manifest: Manifest) -> ObservedJob:
        """Write a Job down; its process starts with the next tick."""
        known = self._attempts.get(manifest["metadata"]["name"])
        if known is not None and known.deleted_at is None:
            return known.job()
        attempt = Attempt.of_job(manifest, str(uuid.uuid4()), run.uid, self.now())
        self._keep(attempt)
        return attempt.job()

    async def delete_job(self, run: ObservedRun, name: str, uid: str) -> None:
        """Delete a Job: its process is told to end."""
        attempt = self._attempts.get(name)
        if attempt is None or attempt.uid != uid or attempt.deleted_at is not None:
            return
        self._keep(replace(attempt, deleted_at=self.now()))
        if name in self._processes:
            self._stop(name)

    async def patch_ttl(self, run: ObservedRun, name: str, uid: str, seconds: int) -> None:
        """Note a time to live. Logs are kept for as long as their directory."""
        attempt = self._attempts.get(name)
        if attempt is not None and attempt.uid == uid:
            self._keep(replace(attempt, ttl_seconds=seconds))

    async def delete_run(self, run: ObservedRun) -> None:
        """Refuse: whose directory it is deletes it."""
        raise Conflict(run.name)

    async def report_broken(self, run: RunIdentity, message: str) -> None:
        """Refuse: a run that is broken is not taken up."""
        raise DamagedError(message)

    async def emit(self, run: ObservedRun, event: EmitEvent) -> None:
        """Note an Event, and tell it."""
        moment = format_time(self.now())
        self._directory.add_event(
            {"time": moment, "type": event.type, "reason": event.reason.value, "message": event.message}
        )
        self._tell(event)


def results_in(directory: RunDirectory) -> dict[str, BenchmarkResultSpec]:
    """Return the results of a directory by name. Raises DamagedError."""
    found = {}
    for name, body in directory.read_results().items():
        try:
            found[name] = BenchmarkResultSpec.model_validate(body.get("spec"))
        except ValueError as error:
            raise DamagedError(f"results/{name}.json: {error}") from error
    return found


def view_of(run: ObservedRun, results: Mapping[str, BenchmarkResultSpec]) -> RunView:
    """Return a run as the commands that read one from a cluster see it: with the results that its shards name."""
    named = (shard.result for row in run.status.rows for shard in row.shards if shard.result)
    return run_view(to_object(run), {name: results[name] for name in named if name in results})


def new_run(name: str, spec: BenchmarkRunSpec, now: float) -> ObservedRun:
    """Return a run that is just being created."""
    # As an API server does it: creation times have whole seconds.
    created = parse_time(format_time(now)) or now
    return ObservedRun(NAMESPACE, name, str(uuid.uuid4()), 1, "1", created, spec, BenchmarkRunStatus())


def to_object(run: ObservedRun) -> Object:
    """Return a run as the object that an API server would hold."""
    return {
        "apiVersion": API_VERSION,
        "kind": BENCHMARK_RUN.kind,
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "uid": run.uid,
            "generation": run.generation,
            "resourceVersion": run.resource_version,
            "creationTimestamp": format_time(run.created_at),
        },
        "spec": run.spec.to_wire(),
        "status": run.status.to_wire(),
    }


def from_object(body: Object) -> ObservedRun:
    """Return a run as it was written. Raises DamagedError."""
    try:
        metadata: dict[str, Any] = body["metadata"]
        created = parse_time(metadata["creationTimestamp"])
        return ObservedRun(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=int(metadata["generation"]),
            resource_version=metadata["resourceVersion"],
            created_at=created or 0.0,
            spec=BenchmarkRunSpec.model_validate(body["spec"]),
            status=BenchmarkRunStatus.model_validate(body["status"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"run.json: {error}") from error
