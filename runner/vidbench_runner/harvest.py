"""Reports what an attempt has stored, when its termination message was lost: reads two small files, measures nothing.

Runs in a pod of its own, without a GPU, with the environment of the attempt's pod. What it finds becomes its own termination
message: the verdict of the attempt, as if the attempt's pod had said it. Imports no torch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vidbench_api.message import MessageError
from vidbench_api.names import ENV_ARTIFACTS, ExitCode
from vidbench_api.verdict import Verdict
from vidbench_runner.artifacts import Destination
from vidbench_runner.assignment import Assignment, AssignmentError
from vidbench_runner.core.endings import StorageFailure, shortened
from vidbench_runner.core.plan import TrialPlan
from vidbench_runner.core.stored import SAMPLES_FILE, VERDICT_FILE, StoredError, rebuilt, verdict_of
from vidbench_runner.sink import MessageFile
from vidbench_runner.supervisor import RequestRefused, read_request

LARGEST_FILE = 16 * 1024 * 1024
"""Far more than the lines of all samples of a shard, and little enough for a small pod."""

_logger = logging.getLogger(__name__)


def harvest(environment: Mapping[str, str]) -> int:
    """Report the stored verdict of the attempt that the environment names; return the exit code.

    0: reported. NOTHING_STORED: nothing is there that can be used. STORAGE_FAILED: it cannot be told what is there.
    """
    try:
        assignment = Assignment.from_environment(environment)
        request, plan = read_request(assignment)
    except (AssignmentError, RequestRefused) as error:
        _logger.error("nothing can be harvested: %s", error)  # noqa: TRY400 - it is no traceback
        return ExitCode.INVALID_REQUEST
    if assignment.artifacts is None:
        _logger.error("%s is empty: the attempt stored nothing", ENV_ARTIFACTS)
        return ExitCode.NOTHING_STORED
    try:
        verdict = find_verdict(Destination.of(assignment.artifacts, request, plan.attempt), plan)
    except StorageFailure as error:
        _logger.error("the artifacts cannot be read: %s", shortened(str(error)))  # noqa: TRY400 - it is no traceback
        return ExitCode.STORAGE_FAILED
    if verdict is None:
        return ExitCode.NOTHING_STORED
    try:
        message = MessageFile(assignment.message_path, assignment.message_limit)
        message.write(verdict)
        message.close()
    except (OSError, MessageError) as error:
        _logger.error("the termination message was not written: %s", shortened(str(error)))  # noqa: TRY400
        return ExitCode.INTERNAL_ERROR
    _logger.info("harvested: final %s, %s, %d samples", verdict.final, verdict.outcome, verdict.samples_done)
    return ExitCode.SUCCEEDED


def find_verdict(destination: Destination, plan: TrialPlan) -> Verdict | None:
    """Return the stored verdict, else what the stored samples say, else None.

    Raises:
        StorageFailure: the folder cannot be read.
    """
    stored = _read(destination, VERDICT_FILE)
    if stored is not None:
        try:
            return verdict_of(stored, plan.attempt)
        except StoredError as error:
            _logger.warning("%s: %s", destination.folder, error)
    lines = _read(destination, SAMPLES_FILE)
    if lines:
        try:
            return rebuilt(plan, lines, destination.public)
        except StoredError as error:
            _logger.warning("%s: %s", destination.folder, error)
    _logger.warning("%s holds nothing of this attempt that can be used", destination.folder)
    return None


def _read(destination: Destination, name: str) -> str | None:
    """Return the text of a stored file; None if there is none, or none that is text of a sensible size."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(f"{destination.folder}/{name}")
        with system.open(path, "rb") as file:
            content: bytes = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise StorageFailure(f"{destination.folder}/{name}: {type(error).__name__}: {error}") from error
    if len(content) > LARGEST_FILE:
        _logger.warning("%s/%s is larger than %d bytes", destination.folder, name, LARGEST_FILE)
        return None
    return content.decode(errors="replace")
