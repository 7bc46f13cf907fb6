"""Request documents for tests of the runner: one small cell, whatever a test needs of it."""

from __future__ import annotations

from typing import Any

from vidbench_api.request import RequestDocument

CELL = "0123abcd"


def request_document(**changes: Any) -> RequestDocument:
    """Return a document with the cell `CELL`; a change replaces a top-level part, `cell` a part of the cell."""
    cell = {
        "id": CELL,
        "model": "tiny",
        "hardware": "cpu",
        "variant": "default",
        "backend": "tiny",
        "source": {"tiny": "wan"},
        "dtype": "float32",
        "height": 16,
        "width": 32,
        "frames": 5,
        "framesPerSecond": 16,
        "steps": 2,
        "generationHash": "0" * 64,
    } | changes.pop("cell", {})
    document: dict[str, Any] = {
        "run": {"namespace": "default", "name": "nightly", "uid": "u-1"},
        "runnerClassName": "default",
        "runnerClass": {"image": "vidbench/runner"},
        "hardware": [{"name": "cpu", "gpus": 0}],
        "cells": [cell],
        "shards": 1,
        "prompts": [{"id": "cat", "text": "a cat"}],
        "seeds": {"base": 7, "count": 3},
        "warmup": 1,
        "timeouts": {},
        "artifacts": {},
    }
    return RequestDocument.model_validate(document | changes)
