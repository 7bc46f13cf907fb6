"""The supervisor: checks the request, runs the worker, enforces the limits, and writes the termination message.

It touches neither torch nor CUDA, so that it still can report when those hang or take the worker along; threads of its own
ask the driver whether the GPU is busy, and read its sensors for the worker. It keeps the
worker's last verdict, writes it ahead after every boundary, and says itself what the worker no longer can: killed, out of
memory, hung, past a deadline, interrupted. Its exit code says the same as the verdict.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from vidbench_api.identity import digest_of
from vidbench_api.message import MessageError
from vidbench_api.names import REQUEST_LIMIT, ExitCode, Reason
from vidbench_api.request import RequestDocument
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.assignment import Assignment, AssignmentError
from vidbench_runner.core.endings import (
    Ending,
    blank_verdict,
    concluded,
    ending_of,
    ending_of_exit,
    exit_code_of,
    shortened,
)
from vidbench_runner.core.energy import NANOSECONDS_PER_SECOND
from vidbench_runner.core.peaks import with_outer_peaks
from vidbench_runner.core.plan import DIGEST_CHARACTERS, Attempt, PlanError, TrialPlan, plan_trial
from vidbench_runner.core.watchdog import Activity, Limits, Observation, Watchdog
from vidbench_runner.core.write_ahead import WriteAhead
from vidbench_runner.memory_evidence import OomKills, peak_of_ended_children
from vidbench_runner.meters.host import CgroupMeter
from vidbench_runner.meters.sampler import sampling
from vidbench_runner.meters.trace import new_trace
from vidbench_runner.meters.utilisation import DeviceUse, detect_utilisation
from vidbench_runner.processes import ProcessGroup
from vidbench_runner.pulse import Beat, Pulse, new_page
from vidbench_runner.reports import ReportReader
from vidbench_runner.sink import MessageFile

WORKER_COMMAND = (sys.executable, "-m", "vidbench_runner.worker")
_READ_BYTES = 1024 * 1024
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often the supervisor looks and writes, and how long it waits for a worker that it ends; in seconds."""

    look: float = 0.2
    look_sampling: float = 0.5
    """While samples are taken: each look wakes a processor. Reports and signals are heard of at once all the same."""

    watch: float = 1.0
    activity_share: float = 1 / 60
    """The worker's processes are looked through once in this share of `timeouts.noProgressSeconds`, but not before `watch`.

    It costs milliseconds where a pod sees many processes. Nobody is ended for a silence without a fresh look.
    """

    write_phase: float = 1.0
    """At most so often the message is written because of a phase alone that was written before."""

    write_share: float = 0.0004
    """How much of the time writing may take while samples are taken. Samples of some seconds are written when each is done."""

    write_burst: float = 0.02
    """Seconds of a processor that it may take beside that, so that the first samples are written when each is done."""

    grace: float = 10.0
    """For a worker that is told to stop, to store what it has. Below the pod's termination grace period."""

    dump: float = 0.5
    """For a hung worker to write its stack into the log."""

    leave: float = 30.0
    """For a worker that has reported its final verdict to leave."""


class RequestRefused(Exception):  # noqa: N818 - an outcome, named as one
    """The request document is not the one that the Job is about, or cannot be used."""

    def __init__(self, message: str, digest: str) -> None:
        super().__init__(message)
        self.digest = digest
        """Digest of what was read; the one that the Job says where nothing could be read."""


def supervise(
    environment: Mapping[str, str], worker_command: Sequence[str] = WORKER_COMMAND, pace: Pace | None = None
) -> int:
    """Run the attempt that the environment describes; return the exit code."""
    try:
        assignment = Assignment.from_environment(environment)
    except AssignmentError as error:
        _logger.error("this process does not know which shard it is: %s", error)  # noqa: TRY400 - it is no traceback
        return ExitCode.INVALID_REQUEST
    try:
        message = MessageFile(assignment.message_path, assignment.message_limit)
    except OSError as error:
        _logger.error("the termination message cannot be written, so nothing is measured: %s", error)  # noqa: TRY400
        return ExitCode.INTERNAL_ERROR
    with _stop_signals() as stop:
        verdict = _attempt(assignment, environment, message, stop, worker_command, pace or Pace())
    _write(message, verdict)
    message.close()
    _logger.info(
        "final: %s %s %s, %d samples",
        verdict.outcome,
        verdict.reason or "",
        verdict.message or "",
        verdict.samples_done,
    )
    return exit_code_of(verdict)


def _attempt(
    assignment: Assignment,
    environment: Mapping[str, str],
    message: MessageFile,
    stop: Stop,
    worker_command: Sequence[str],
    pace: Pace,
) -> Verdict:
    attempt = _attempt_of(assignment, assignment.request_digest)
    try:
        request, plan = read_request(assignment)
    except RequestRefused as error:
        refused = _attempt_of(assignment, error.digest)
        return concluded(blank_verdict(refused), Ending(Reason.INVALID_REQUEST, str(error)))
    timeouts = request.timeouts
    limits = Limits(load=timeouts.load_seconds, no_progress=timeouts.no_progress_seconds, shard=timeouts.shard_seconds)
    variables = dict(environment) | assignment.to_environment()
    if plan.gpus == 0:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    device = DeviceUse(lambda: detect_utilisation(variables))
    supervisor = Supervisor(blank_verdict(attempt), limits, message, stop, pace, device)
    try:
        return supervisor.run(worker_command, variables)
    except OSError as error:
        _logger.exception("the supervisor failed")
        return concluded(supervisor.latest, ending_of(error))


def read_request(assignment: Assignment) -> tuple[RequestDocument, TrialPlan]:
    """Read the request document and what this attempt has to do of it.

    Raises:
        RequestRefused: it cannot be read, is another one than the Job says, or has no such cell or shard.
    """
    path = Path(assignment.request_path)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(REQUEST_LIMIT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestRefused(f"the request document cannot be read: {error}", assignment.request_digest) from error
    digest = digest_of(text)
    if digest != assignment.request_digest:
        raise RequestRefused(
            f"{path} has the digest {digest[:DIGEST_CHARACTERS]}..., but the Job is about "
            f"{assignment.request_digest[:DIGEST_CHARACTERS]}...: it was changed or belongs to another run",
            digest,
        )
    try:
        request = RequestDocument.from_text(text)
        plan = plan_trial(request, _attempt_of(assignment, digest))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestRefused(f"{path} is not a request document: {where}: {first['msg']}", digest) from error
    except PlanError as error:
        raise RequestRefused(f"{path}: {error}", digest) from error
    except ValueError as error:
        raise RequestRefused(f"{path} is not JSON: {error}", digest) from error
    return request, plan


class Stop:
    """Whether this process was told to stop, and a descriptor that wakes a waiting `select` when it is."""

    def __init__(self, wakeup: int) -> None:
        self.wakeup = wakeup
        self.signal: signal.Signals | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Remember the signal."""
        self.signal = signal.Signals(number)


@contextmanager
def _stop_signals() -> Iterator[Stop]:
    """Catch SIGTERM and SIGINT for as long as the context lasts."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    stop = Stop(reading)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, stop.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


class Supervisor:
    """Runs one worker to its end. `latest` is the best verdict so far."""

    def __init__(
        self, verdict: Verdict, limits: Limits, message: MessageFile, stop: Stop, pace: Pace, device: DeviceUse
    ) -> None:
        self._device = device
        self.latest = verdict
        self._message = message
        self._stop = stop
        self._pace = pace
        self._limits = limits
        self._watchdog = Watchdog(limits)
        self._reader = ReportReader()
        self._started = time.monotonic()
        self._ending: Ending | None = None
        self._kill_at: float | None = None
        self._said_final = False
        self._write_pace = WriteAhead(pace.write_phase, pace.write_share, pace.write_burst)
        self._host = CgroupMeter()
        self._watched_at = float("-inf")
        self._beats = -1
        self._activity = Activity(0.0, 0)
        self._activity_at = float("-inf")

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> Verdict:
        """Start the worker, follow it to its end and return the final verdict.

        Raises:
            OSError: the worker cannot be started.
        """
        oom_kills = OomKills()
        page = new_page()
        pulse = Pulse(page)
        reading, writing = os.pipe()
        deadline = round((self._started + self._limits.soft_deadline) * NANOSECONDS_PER_SECOND)
        trace = new_trace()
        own = (writing, page, trace)
        values = {
            "--reports": writing, "--pulse": page, "--watch": trace, "--supervisor": os.getpid(), "--deadline": deadline,
        }  # fmt: skip
        arguments = [word for name, value in values.items() for word in (name, str(value))]
        with sampling(trace, environment):
            try:
                worker = ProcessGroup((*command, *arguments), environment, own)
            finally:
                for descriptor in own:
                    os.close(descriptor)
            try:
                status = self._follow(worker, pulse, reading)
            finally:
                worker.kill()
                os.close(reading)
        return self._final(status, pulse, oom_kills)

    def _follow(self, worker: ProcessGroup, pulse: Pulse, reading: int) -> int:
        """Look after the worker until it has ended; return its exit status."""
        descriptors = [reading, self._stop.wakeup]
        while True:
            sampling = pulse.read().stage is Stage.SAMPLING
            look = self._pace.look_sampling if sampling else self._pace.look
            for descriptor in select.select(descriptors, [], [], look)[0]:
                chunk = os.read(descriptor, _READ_BYTES)
                if descriptor == reading and not chunk:
                    descriptors.remove(reading)
                elif descriptor == reading:
                    self._take(chunk)
            status = worker.poll()
            if status is not None:
                self._drain(reading)
                return status
            self._enforce(worker, pulse)
            self._write_ahead(pulse)

    def _take(self, chunk: bytes) -> None:
        for verdict in self._reader.feed(chunk):
            mine = (self.latest.request_digest, self.latest.cell, self.latest.shard, self.latest.attempt)
            if (verdict.request_digest, verdict.cell, verdict.shard, verdict.attempt) != mine:
                _logger.warning("skipped a report of another attempt")
            elif not self.latest.final:
                self.latest = verdict

    def _drain(self, reading: int) -> None:
        """Take what an ended worker left in the pipe; a descendant of it may still hold the other end."""
        os.set_blocking(reading, False)
        try:
            while chunk := os.read(reading, _READ_BYTES):
                self._take(chunk)
        except BlockingIOError:
            return

    def _enforce(self, worker: ProcessGroup, pulse: Pulse) -> None:
        """End the worker if it has to be; kill it if it does not leave."""
        now = time.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at:
                worker.kill()
            return
        if self.latest.final:
            self._kill_at = now + self._pace.leave
            return
        if self._stop.signal is not None:
            self._end(worker, Ending(Reason.INTERRUPTED, f"the runner was told to stop ({self._stop.signal.name})"))
            return
        if now - self._watched_at < self._pace.watch:
            return
        self._watched_at = now
        ending = self._watch(worker, pulse.read(), now)
        if ending is not None:
            self._end(worker, ending)

    def _watch(self, worker: ProcessGroup, beat: Beat, now: float) -> Ending | None:
        """Return why the watchdog wants the worker ended; for a silence only by a fresh look at its processes."""
        if (
            beat.count == self._beats
            and now - self._activity_at >= self._pace.activity_share * self._limits.no_progress
        ):
            self._activity, self._activity_at = worker.activity(), now
        self._beats = beat.count
        look = Observation(now - self._started, beat.stage, beat.count, self._activity, self._device.busy())
        ending = self._watchdog.observe(look)
        if ending is None or ending.reason is not Reason.HUNG or self._activity_at == now:
            return ending
        self._activity, self._activity_at = worker.activity(), now
        return self._watchdog.observe(replace(look, activity=self._activity))

    def _end(self, worker: ProcessGroup, ending: Ending) -> None:
        """Tell the worker to stop and store what it has; one that hangs writes its stack instead."""
        _logger.warning("ending the worker: %s: %s", ending.reason, ending.message)
        hangs = ending.reason in {Reason.HUNG, Reason.LOAD_DEADLINE}
        self._ending = ending
        self._kill_at = time.monotonic() + (self._pace.dump if hangs else self._pace.grace)
        worker.signal(signal.SIGUSR1 if hangs else signal.SIGTERM)

    def _write_ahead(self, pulse: Pulse) -> None:
        """Write the message if a new verdict came, or if the worker is in another phase, and it is worth it by now."""
        if self.latest.final:
            if not self._said_final and self._ending is None:
                # At once: a worker may take long to leave, and the pod may be killed meanwhile.
                self._said_final = True
                _write(self._message, self.latest)
            return
        beat, now = pulse.read(), time.monotonic()
        place = (beat.stage, beat.phase)
        if not self._write_pace.due(self.latest, place, now):
            return
        spent_before = time.thread_time()
        ahead = self.latest.model_copy(update={"stage": beat.stage, "phase": beat.phase})
        _write(self._message, with_outer_peaks(ahead, None, self._host.memory_peak()))
        self._write_pace.written(self.latest, place, now, time.thread_time() - spent_before)

    def _final(self, status: int, pulse: Pulse, oom_kills: OomKills) -> Verdict:
        """Decide what the attempt came to, now that its worker has ended."""
        finished = self.latest.final and (self._ending is None or self.latest.reason != Reason.INTERRUPTED)
        if finished:
            return self.latest
        beat = pulse.read()
        ending = self._ending or ending_of_exit(status, oom_kills.since_start())
        last = self.latest if self.latest.final else self.latest.model_copy(update={"stage": beat.stage})
        last = with_outer_peaks(last, peak_of_ended_children(), self._host.memory_peak())
        return concluded(last, Ending(ending.reason, ending.message, ending.phase or beat.phase))


def _attempt_of(assignment: Assignment, digest: str) -> Attempt:
    return Attempt(digest[:DIGEST_CHARACTERS], assignment.cell, assignment.shard, assignment.attempt)


def _write(message: MessageFile, verdict: Verdict) -> None:
    try:
        message.write(verdict)
    except (OSError, MessageError) as error:
        _logger.error("the termination message was not written: %s", shortened(str(error)))  # noqa: TRY400
