"""What a person sees while a local run goes on: the table of `vidbench get`, what runs now, and what went wrong. On standard error.

Shows what world and runners say; measures nothing, and looks seldom, as it runs beside what is measured.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vidbench_api.names import EventReason
from vidbench_api.request import RequestDocument
from vidbench_cli.escaping import printable
from vidbench_cli.output import make_console, render
from vidbench_cli.run_page import run_page
from vidbench_cli.texts import _
from vidbench_operator.core.plan import EmitEvent

from .attempt import Attempt, verdict_in
from .world import World, view_of

REFRESH_SECONDS: Final = 1.0
_SHOWN_ANYWAY: Final = frozenset({EventReason.ACCEPTED, EventReason.RUN_COMPLETE, EventReason.RUN_FAILED})
"""Events about what the table shows as well."""


class Screen:
    """A `Watcher` that shows a live table on a terminal, and lines elsewhere. Use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or make_console(stderr=True)
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        )
        self._shown_at = 0.0
        self._document: RequestDocument | None = None

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear what was drawn."""
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(_("note: {text}").format(text=printable(text)), style="yellow"), soft_wrap=True)

    def event(self, event: EmitEvent) -> None:
        """Print what the operator would say by an Event."""
        if event.reason in _SHOWN_ANYWAY:
            return
        style = "red" if event.type == "Warning" else ""
        text = f"{time.strftime('%H:%M:%S')} {event.reason.value}: {printable(event.message)}"
        self._console.print(Text(text, style=style), soft_wrap=True)

    def look(self, world: World) -> None:
        """Draw anew, once a second."""
        now = time.monotonic()
        if self._live is None or now - self._shown_at < REFRESH_SECONDS:
            return
        self._shown_at = now
        if self._document is None:
            self._document = world.document()
        page = render(run_page(view_of(world.run, world.results)))
        self._live.update(Group(page, progress_of(world.running, self._document, world.now())), refresh=True)


def progress_of(running: tuple[Attempt, ...], document: RequestDocument | None, now: float) -> RenderableType:
    """Return a line for each attempt that runs: its cell, where it is, and how many samples of how many are done."""
    lines = Table.grid(padding=(0, 2))
    for attempt in running:
        cell = document.find_cell(attempt.cell) if document is not None else None
        name = f"{cell.model}/{cell.hardware}/{cell.variant}" if cell is not None else attempt.cell
        total = len(document.samples()) if document is not None else 1
        verdict = verdict_in(attempt.message)
        done = verdict.samples_done if verdict is not None else 0
        words = [word for word in ((verdict.stage, verdict.phase) if verdict is not None else ()) if word]
        lines.add_row(
            Text(printable(_("{cell} shard {shard}").format(cell=name, shard=attempt.shard))),
            ProgressBar(total=total, completed=min(done, total), width=24),
            Text(f"{done}/{total}"),
            Text(printable(" ".join(str(word) for word in words) or _("starting"))),
            Text(f"{max(0.0, now - (attempt.started_at or now)):.0f} s"),
        )
    return lines
