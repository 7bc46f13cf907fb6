"""Starts the operator: `python -m vidbench_operator`, set up by VIDBENCH_OPERATOR_... (see `settings.py`)."""

from __future__ import annotations

import asyncio
import sys

from pydantic import ValidationError

from .settings import Settings
from .shell.application import run_operator
from .shell.heap import find_setter, keep_heap_small
from .shell.logs import configure_logs


def main() -> int:
    """Run the operator and return the exit status: 0 after SIGTERM, 2 for settings that make no sense."""
    try:
        settings = Settings()
    except ValidationError as error:
        for entry in error.errors(include_url=False):
            variable = "_".join(str(part) for part in ("VIDBENCH_OPERATOR", *entry["loc"])).upper()
            print(f"{variable}: {entry['msg']}", file=sys.stderr)  # noqa: T201 - logs are not set up yet
        return 2
    keep_heap_small(find_setter())
    configure_logs(settings.log_level, settings.log_format)
    asyncio.run(run_operator(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
