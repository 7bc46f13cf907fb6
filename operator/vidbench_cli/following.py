"""Follows a run of the cluster to its end; how it is shown meanwhile is `progress`'s."""

from __future__ import annotations

import time

import typer

from .cluster import ask_patiently
from .errors import INTERRUPTED, ClusterAwayError
from .progress import progress_display
from .runs import RunReader, RunView
from .texts import _

POLL_SECONDS = 1.0


def follow(reader: RunReader, hint: str) -> RunView:
    """Show a run on standard error until it ends, and return it then.

    Ctrl-C leaves it going, as an API server that stays away does: both say `hint`. Raises typer.Exit(130), ClusterAwayError.
    """
    try:
        with progress_display() as display:
            while True:
                view = ask_patiently(reader.read)
                display.show(view)
                if view.ended:
                    return view
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt as error:
        typer.echo(_("\nThe run goes on; ") + hint, err=True)
        raise typer.Exit(INTERRUPTED) from error
    except ClusterAwayError as error:
        error.remedy = _("the run goes on without you; ") + hint
        raise
