"""Starts the `vidbench` command, also as the kubectl plug-in `kubectl vidbench`."""

from __future__ import annotations

import sys
from pathlib import Path

from .app import app

PLUGIN = "kubectl-vidbench"


def main() -> None:
    """Run the command line under the name by which it was called."""
    called_as_plugin = Path(sys.argv[0]).name.removesuffix(".exe") == PLUGIN
    app(prog_name="kubectl vidbench" if called_as_plugin else "vidbench")


if __name__ == "__main__":
    main()
