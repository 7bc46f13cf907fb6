"""Speaks to a `/v1/videos` server: submits a job, looks at it until it is finished, downloads its video. One job at a time.

What an answer means is `core.service`'s; this does the calls, waits and beats. No redirection is followed and the key is in
no message: neither may get anywhere but to the endpoint that the RunnerClass ties to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import requests
from urllib3.exceptions import NewConnectionError

from vidbench_api.names import Reason
from vidbench_api.services import HttpSource
from vidbench_runner.core.endings import shortened
from vidbench_runner.core.purse import Purse
from vidbench_runner.core.service import (
    Job,
    JobState,
    Step,
    failure_of_answer,
    failure_of_job,
    form_of,
    is_tried_again,
    parse_job,
    wait_seconds,
)
from vidbench_runner.ports import ModelFailure, Progress, ServiceCall

LARGEST_VIDEO_BYTES: Final = 1 << 30
LARGEST_ANSWER_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 16
_BEAT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Patience:
    """How long a call may take, in seconds, and how often in a row a step is tried."""

    connect: float = 10.0
    read: float = 60.0
    """Without a single byte."""

    tries: int = 6
    abandon: float = 3.0
    """For telling the server that a job is no longer wanted."""


@dataclass(frozen=True)
class Delivery:
    """A delivered video, and how it came. The latency is from the submission that was accepted to the last byte."""

    content: bytes
    latency_nanoseconds: int
    call: ServiceCall


@dataclass(frozen=True)
class _Answer:
    status: int
    content: bytes
    retry_after: str | None

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class VideoClient:
    """A client of one endpoint. `purse` counts the jobs."""

    def __init__(
        self, source: HttpSource, key: str | None, purse: Purse, progress: Progress, patience: Patience | None = None
    ) -> None:
        self._source = source
        self._key = key
        self._purse = purse
        self._progress = progress
        self._patience = patience or Patience()
        self._errors = 0
        self._session = requests.Session()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def fetch(self, body: dict[str, Any]) -> Delivery:
        """Have a video made and download it.

        Raises:
            ModelFailure: with the reason; a job that was accepted is then deleted, as far as the server answers.
        """
        self._errors = 0
        try:
            started, job = self._submit(body)
            try:
                return self._follow(job, started)
            except BaseException:
                self._abandon(job)
                raise
        except ModelFailure as failure:
            raise ModelFailure(failure.reason, self._without_key(failure.message)) from failure

    def _submit(self, body: dict[str, Any]) -> tuple[int, Job]:
        """Submit until the server takes it; return when that submission began, and the job."""
        content: dict[str, Any] = {"json": body} if self._source.encoding == "Json" else {"files": form_of(body)}
        deadline = time.monotonic() + self._source.clip_seconds
        started = 0

        def call() -> _Answer:
            nonlocal started
            started = time.monotonic_ns()
            return self._call("POST", "", deadline, **content)

        answer = self._repeat(Step.SUBMIT, call)
        self._purse.pay()
        return started, parse_job(answer.text)

    def _follow(self, job: Job, started: int) -> Delivery:
        """Look at a job until it is finished and download its video."""
        queue, polls, waited = None, 0, job.state is JobState.WAITING
        deadline = time.monotonic() + self._source.clip_seconds
        path, limit = f"/{job.id}", deadline + self._patience.read
        while job.state is not JobState.COMPLETED:
            if job.state is JobState.FAILED:
                raise failure_of_job(job)
            if time.monotonic() >= deadline:
                raise self._too_late(f"job {job.id} is still {job.word}")
            self._sleep(min(self._source.poll_milliseconds / 1e3, max(0.0, deadline - time.monotonic())))
            job = parse_job(self._repeat(Step.POLL, lambda: self._call("GET", path, limit)).text)
            polls += 1
            if queue is None and waited and job.state is JobState.RUNNING:
                queue = time.monotonic_ns() - started
        answer = self._repeat(Step.DOWNLOAD, lambda: self._call("GET", f"{path}/content", limit, LARGEST_VIDEO_BYTES))
        latency = time.monotonic_ns() - started
        run = None if job.run_seconds is None else round(job.run_seconds * 1e9)
        return Delivery(answer.content, latency, ServiceCall(job.id, queue, run, polls, self._errors))

    def _repeat(self, step: Step, call: Callable[[], _Answer]) -> _Answer:
        """Call until the answer is a last word; return it if it is a good one."""
        for tried in range(1, self._patience.tries + 1):
            self._progress(step.value)
            answer, failure = None, None
            try:
                answer = call()
            except requests.RequestException as error:
                failure = self._broken(step, error)
                if step is Step.SUBMIT and not _was_never_connected(error):
                    # A job may have been made: another submission would cost again.
                    self._purse.pay()
                    raise failure from error
            if answer is not None and 200 <= answer.status < 300:
                return answer
            if answer is not None:
                failure = failure_of_answer(step, answer.status, answer.text)
                if not is_tried_again(step, answer.status):
                    raise failure
            pause = wait_seconds(answer.retry_after if answer is not None else None, tried)
            if pause is None or tried == self._patience.tries:
                break
            self._errors += 1
            self._sleep(pause)
        raise failure or AssertionError("a step is tried at least once")

    def _call(
        self, method: str, path: str, deadline: float, largest: int = LARGEST_ANSWER_BYTES, **content: Any
    ) -> _Answer:
        """Do one call and read its answer whole.

        Raises:
            requests.RequestException: no connection, a broken one, or no byte for too long.
            ModelFailure: it is longer than `largest` bytes, or still comes in at the deadline.
        """
        timeout = (self._patience.connect, self._patience.read)
        url = f"{self._source.endpoint}/videos{path}"
        with self._session.request(
            method, url, stream=True, allow_redirects=False, timeout=timeout, **content
        ) as response:
            taken = bytearray()
            for chunk in response.iter_content(_CHUNK_BYTES):
                self._progress("receive")
                taken += chunk
                if len(taken) > largest:
                    raise ModelFailure(Reason.OUTPUT_UNREADABLE, f"an answer is longer than {largest} bytes")
                if time.monotonic() >= deadline:
                    raise self._too_late(f"an answer still comes in, {len(taken)} bytes so far,")
            return _Answer(response.status_code, bytes(taken), response.headers.get("Retry-After"))

    def _broken(self, step: Step, error: requests.RequestException) -> ModelFailure:
        said = f"{step.value}: {type(error).__name__}: {shortened(self._without_key(str(error)), 120)}"
        if step is Step.DOWNLOAD:
            return ModelFailure(Reason.OUTPUT_UNREADABLE, f"the video did not come whole; {said}")
        return ModelFailure(Reason.SERVICE_UNAVAILABLE, said)

    def _too_late(self, what: str) -> ModelFailure:
        return ModelFailure(
            Reason.SERVICE_TIMEOUT, f"{what} after {self._source.clip_seconds} s (source.http.clipSeconds)"
        )

    def _abandon(self, job: Job) -> None:
        """Tell the server that nobody waits for the job any more; whether it listens changes nothing here."""
        try:
            self._session.delete(
                f"{self._source.endpoint}/videos/{job.id}", allow_redirects=False, timeout=self._patience.abandon
            )
        except requests.RequestException:
            return

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _sleep(self, seconds: float) -> None:
        """Sleep, with a heartbeat a second."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(_BEAT_SECONDS, left))
            self._progress("wait")


def _was_never_connected(error: requests.RequestException) -> bool:
    """Whether nothing can have reached the server."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
