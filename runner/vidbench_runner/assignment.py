"""What a runner process is told from outside: its environment, as one value. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vidbench_api.names import (
    ENV_ARTIFACTS,
    ENV_ATTEMPT,
    ENV_CELL,
    ENV_MESSAGE_LIMIT,
    ENV_MESSAGE_PATH,
    ENV_PRETENDED_GPUS,
    ENV_REQUEST_DIGEST,
    ENV_REQUEST_PATH,
    ENV_SHARD,
    MESSAGE_LIMIT,
    REQUEST_KEY,
    REQUEST_MOUNT,
    TERMINATION_MESSAGE_PATH,
)

LARGEST_MESSAGE = 4096
"""What the kubelet reads of a container's termination message; of a longer one it keeps the end."""

_CELL = re.compile(r"[0-9a-f]{8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class AssignmentError(ValueError):
    """The environment does not say who this process is. The message names the variable."""


@dataclass(frozen=True)
class Assignment:
    """Which attempt this process is, where its request is and where its report goes."""

    request_path: str
    request_digest: str
    """64 hex digits: what the Job says; the document that is found must have this digest."""

    cell: str
    shard: int
    attempt: int
    message_path: str
    message_limit: int
    artifacts: str | None
    """A directory, as a URL or a path; None where nothing is to be stored."""

    pretended_gpus: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Assignment:
        """Read the environment.

        Raises:
            AssignmentError: cell, shard, attempt or digest is missing or of the wrong form.
        """
        return cls(
            request_path=environment.get(ENV_REQUEST_PATH) or f"{REQUEST_MOUNT}/{REQUEST_KEY}",
            request_digest=_matching(environment, ENV_REQUEST_DIGEST, _DIGEST, "64 hex digits"),
            cell=_matching(environment, ENV_CELL, _CELL, "8 hex digits"),
            shard=_number(environment, ENV_SHARD, 64),
            attempt=_number(environment, ENV_ATTEMPT, 1000),
            message_path=environment.get(ENV_MESSAGE_PATH) or TERMINATION_MESSAGE_PATH,
            message_limit=_limit(environment),
            artifacts=environment.get(ENV_ARTIFACTS) or None,
            pretended_gpus=environment.get(ENV_PRETENDED_GPUS, "").lower() == "true",
        )

    def to_environment(self) -> dict[str, str]:
        """Return the variables that `from_environment` reads this assignment from."""
        return {
            ENV_REQUEST_PATH: self.request_path,
            ENV_REQUEST_DIGEST: self.request_digest,
            ENV_CELL: self.cell,
            ENV_SHARD: str(self.shard),
            ENV_ATTEMPT: str(self.attempt),
            ENV_MESSAGE_PATH: self.message_path,
            ENV_MESSAGE_LIMIT: str(self.message_limit),
            ENV_ARTIFACTS: self.artifacts or "",
            ENV_PRETENDED_GPUS: "true" if self.pretended_gpus else "",
        }


def _matching(environment: Mapping[str, str], name: str, pattern: re.Pattern[str], form: str) -> str:
    value = environment.get(name, "")
    if not pattern.fullmatch(value):
        raise AssignmentError(f"{name} is {value!r}; it must be {form}")
    return value


def _number(environment: Mapping[str, str], name: str, largest: int) -> int:
    value = environment.get(name, "")
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= largest:
        raise AssignmentError(f"{name} is {value!r}; it must be a number from 1 to {largest}")
    return int(value)


def _limit(environment: Mapping[str, str]) -> int:
    value = environment.get(ENV_MESSAGE_LIMIT) or str(MESSAGE_LIMIT)
    if not re.fullmatch(r"[0-9]{3,4}", value):
        raise AssignmentError(f"{ENV_MESSAGE_LIMIT} is {value!r}; it must be a number of bytes from 100 to 9999")
    return min(int(value), LARGEST_MESSAGE)
