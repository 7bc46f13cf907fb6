"""Names and digests that must come out the same in every process: canonical JSON, cell ids, object names.

Names hash the run's UID and the names of model, hardware and variant, never resolved content, so that a change of a
default can never make two Jobs of one cell.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, no spaces, ASCII only; NaN and infinities are refused with a ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def cell_id(run_uid: str, model: str, hardware: str, variant: str) -> str:
    """Return the 8 hex digits by which a cell of a run is known."""
    return digest_of("\0".join((run_uid, model, hardware, variant)))[:8]


def request_name(run_name: str, run_uid: str) -> str:
    """Return the name of the ConfigMap that holds a run's request document."""
    return f"{run_name}-request-{digest_of(run_uid)[:8]}"


def attempt_name(run_name: str, cell: str, shard: int, attempt: int) -> str:
    """Return the name of the Job of one attempt: at most 63 characters for a run's name of 40."""
    return f"{run_name}-{cell}-{shard}-{attempt}"


def harvest_name(attempt_name: str) -> str:
    """Return the name of the Job that reads what an attempt has stored: at most 63 characters, as no attempt is above 9999."""
    return f"{attempt_name}-h"


def result_name(run_name: str, cell: str, shard: int) -> str:
    """Return the name of a shard's result: one name a shard, so that the API server refuses a second one."""
    return f"{run_name}-{cell}-{shard}"
