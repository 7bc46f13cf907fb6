"""The worker: the one process that touches torch and the GPU. Runs the trial and reports to its supervisor.

Started by the supervisor with the assignment in the environment and three inherited descriptors: the pipe for verdicts, the
shared page for heartbeats, and the trace of the device's readings. Whatever goes wrong becomes a final verdict; the traceback goes to stderr.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from vidbench_api.request import RequestDocument
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.artifacts import ArtifactStore, Destination, NoArtifacts
from vidbench_runner.assignment import Assignment
from vidbench_runner.backends import METERLESS, create_model
from vidbench_runner.backends.boundaries import MonotonicClock
from vidbench_runner.backends.library_logs import set_environment
from vidbench_runner.core.endings import Interruption, StorageFailure, blank_verdict, concluded, ending_of, exit_code_of
from vidbench_runner.core.plan import DIGEST_CHARACTERS, Attempt, TrialPlan, plan_trial
from vidbench_runner.core.trial import Trial, World
from vidbench_runner.meters.host import CgroupMeter
from vidbench_runner.meters.null import NullMeter
from vidbench_runner.meters.nvml import detect_meter
from vidbench_runner.meters.trace import TraceWatch
from vidbench_runner.ports import DeviceMeter, DeviceWatch, Progress, VideoModel
from vidbench_runner.processes import die_with_parent
from vidbench_runner.provenance import find_environment
from vidbench_runner.pulse import Pulse
from vidbench_runner.quality.assessment import FrameAssessor
from vidbench_runner.reports import write_report

ModelFactory = Callable[[str, Progress], VideoModel]
_logger = logging.getLogger(__name__)


class Interrupts:
    """Turns the first SIGTERM into an `Interruption`, but not in the middle of a report and not while storing."""

    def __init__(self) -> None:
        self._held = False
        self._pending = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Raise now, or after the part that is held."""
        if self._held:
            self._pending = True
            return
        self._held = True
        raise Interruption

    def ignore(self) -> None:
        """Raise no more: what is left to do is what an interruption would lead to as well."""
        self._held = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Finish what runs inside before an interruption is raised."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before
        if self._pending and not before:
            self.handle(signal.SIGTERM, None)


class SupervisorLine:
    """The trial's listener: heartbeats to the shared page, verdicts to the pipe, tracebacks to stderr."""

    def __init__(self, pulse: Pulse, reports: int, interrupts: Interrupts) -> None:
        self._pulse = pulse
        self._reports = reports
        self._interrupts = interrupts

    def beat(self, stage: Stage, word: str) -> None:
        """Put a heartbeat on the page."""
        if stage is Stage.STORING:
            self._interrupts.ignore()
        self._pulse.beat(stage, word)

    def snapshot(self, verdict: Verdict) -> None:
        """Send a verdict."""
        with self._interrupts.held():
            write_report(self._reports, verdict)

    def failed(self, error: BaseException) -> None:
        """Log how the trial failed."""
        _logger.error("the trial failed", exc_info=error)


def import_and_create(backend: str, progress: Progress) -> VideoModel:
    """Create the model of a backend with the big libraries imported, so that a load's time is hardly theirs.

    A service and a mock need none of them.
    """
    progress("import")
    if backend not in METERLESS:
        set_environment()
        for library in ("torch", "diffusers", "transformers"):
            importlib.import_module(library)
    return create_model(backend, progress)


def main(arguments: Sequence[str] | None = None, create: ModelFactory = import_and_create) -> int:
    """Run one attempt as the environment says; return the exit code."""
    parsed = _parser().parse_args(arguments)
    die_with_parent(parsed.supervisor)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    interrupts = Interrupts()
    signal.signal(signal.SIGTERM, interrupts.handle)
    assignment = Assignment.from_environment(os.environ)
    attempt = Attempt(
        assignment.request_digest[:DIGEST_CHARACTERS], assignment.cell, assignment.shard, assignment.attempt
    )
    pulse = Pulse(parsed.pulse)
    line = SupervisorLine(pulse, parsed.reports, interrupts)
    watch = TraceWatch(parsed.watch)
    try:
        verdict = _run(assignment, attempt, line, create, pulse.progress, watch, parsed.deadline)
    except (Exception, Interruption) as error:  # noqa: BLE001 - any failure is reported with its reason
        line.failed(error)
        verdict = concluded(blank_verdict(attempt), ending_of(error))
    interrupts.ignore()
    line.snapshot(verdict)
    return exit_code_of(verdict)


def _run(
    assignment: Assignment,
    attempt: Attempt,
    line: SupervisorLine,
    create: ModelFactory,
    progress: Progress,
    watch: DeviceWatch,
    deadline_nanoseconds: int | None,
) -> Verdict:
    request = RequestDocument.from_text(Path(assignment.request_path).read_text(encoding="utf-8"))
    plan = plan_trial(request, attempt)
    keeper = _keeper(assignment, request, plan)
    world = World(
        model=create(plan.model.backend, progress),
        meter=_meter(plan.model.backend),
        clock=MonotonicClock(),
        host=CgroupMeter(),
        watch=watch,
        listener=line,
        keeper=keeper,
        environment=find_environment(),
        deadline_nanoseconds=deadline_nanoseconds,
        assessor=FrameAssessor(MonotonicClock()),
        pretended_gpus=assignment.pretended_gpus,
    )
    verdict = Trial(plan, world).run()
    try:
        keeper.store_verdict(verdict)
    except StorageFailure as failure:
        # The message still says all this: only a harvest, should the message be lost, would have needed the file.
        line.failed(failure)
    return verdict


def _keeper(assignment: Assignment, request: RequestDocument, plan: TrialPlan) -> ArtifactStore | NoArtifacts:
    if assignment.artifacts is None:
        return NoArtifacts()
    destination = Destination.of(assignment.artifacts, request, plan.attempt)
    return ArtifactStore(destination, request.artifacts.keep_videos, plan.frames_per_second)


def _meter(backend: str) -> DeviceMeter:
    """What a device of this machine shows is none of a clip's that was made elsewhere, or nowhere."""
    if backend in METERLESS:
        return NullMeter(METERLESS[backend])
    return detect_meter(holds_context=_holds_context)


def _holds_context() -> bool:
    """Whether this process has used CUDA so far, without loading torch for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vidbench_runner.worker", description="Started by the supervisor.")
    parser.add_argument("--reports", type=int, required=True, help="descriptor of the pipe for verdicts")
    parser.add_argument("--pulse", type=int, required=True, help="descriptor of the page for heartbeats")
    parser.add_argument("--watch", type=int, required=True, help="descriptor of the trace of the device's readings")
    parser.add_argument("--supervisor", type=int, required=True, help="process id of the supervisor")
    parser.add_argument("--deadline", type=int, help="nanoseconds of CLOCK_MONOTONIC at which the shard is ended")
    return parser


if __name__ == "__main__":
    sys.exit(main())
