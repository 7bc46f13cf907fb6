"""What a worker tells its supervisor: one verdict a line, as JSON, over a pipe.

The reading side believes nothing: a library may print into any descriptor, and a killed worker leaves half a line.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

from pydantic import ValidationError

from vidbench_api.verdict import Verdict

_LONGEST_LINE = 1024 * 1024
_logger = logging.getLogger(__name__)


def write_report(descriptor: int, verdict: Verdict) -> None:
    """Write one verdict; returns when the pipe has taken all of it."""
    rest = memoryview(json.dumps(verdict.to_wire(), separators=(",", ":")).encode() + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class ReportReader:
    """Cuts a stream of bytes into verdicts; skips and logs what is none."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Verdict]:
        """Take the next bytes in and yield the verdicts that they complete."""
        self._buffer += chunk
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray() if len(rest) > _LONGEST_LINE else rest
        for line in lines:
            verdict = _parsed(bytes(line))
            if verdict is not None:
                yield verdict


def _parsed(line: bytes) -> Verdict | None:
    try:
        return Verdict.model_validate_json(line)
    except ValidationError as error:
        _logger.warning(
            "skipped %d bytes on the report pipe that are no verdict (%s)", len(line), error.errors()[0]["msg"]
        )
        return None
