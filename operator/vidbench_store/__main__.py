"""`python -m vidbench_store`: makes or migrates the tables, where there is no `vidbench`: in the operator's image."""

from __future__ import annotations

import os
import sys

from .engine import connect, explained
from .location import StoreError, find_location
from .schema import migrate


def main() -> int:
    """Migrate the store of VIDBENCH_OPERATOR_STORE_URL, else of VIDBENCH_STORE_URL; returns the exit status."""
    try:
        location = find_location(os.environ.get("VIDBENCH_OPERATOR_STORE_URL"))
        engine = connect(location)
        with explained(location, "cannot make the store"):
            done = migrate(engine, location)
    except StoreError as error:
        print(f"vidbench_store: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 3
    print(f"tables of version {done.after} (before: {done.before or 'none'}): {location.text}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
