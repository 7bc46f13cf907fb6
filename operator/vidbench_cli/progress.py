"""Shows how far a run is while it is followed: bars on a terminal, else a line for each change.

On standard error, so that standard output holds the result alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .escaping import printable
from .output import make_console
from .runs import RunView
from .story_page import obstacle_of
from .texts import _, ngettext


class Display(Protocol):
    """Shows a run again and again."""

    def show(self, view: RunView) -> None:
        """Show how it is now."""


def progress_display() -> AbstractContextManager[Display]:
    """Return what fits standard error."""
    console = make_console(stderr=True)
    return _Bars(console) if console.is_terminal else _Lines(console)


def summary(view: RunView) -> str:
    """Return how a run is, in a line without figures that change with every sample."""
    status = view.status
    phase = status.phase.value if status.phase else _("not seen by the operator yet")
    parts = [f"{view.namespace}/{view.name}", phase]
    if status.cells:
        counts = _("{done}/{total} cells, {failed} failed, {memory} out of memory")
        done = status.cells.total - status.cells.pending - status.cells.active
        parts.append(counts.format(done=done, total=status.cells.total, failed=status.cells.failed,
                                   memory=status.cells.out_of_memory))  # fmt: skip
    if status.parallelism and not view.ended:
        active = status.parallelism.active
        parts.append(ngettext("{active} Job active", "{active} Jobs active", active).format(active=active))
    return printable("  ".join(parts))


def _line(view: RunView) -> str:
    """Return how a run is, and what keeps it from running more."""
    return "  ".join([summary(view), *map(printable, filter(None, [obstacle_of(view)]))])


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, view: RunView) -> None:
        said = _line(view)
        if said != self._said:
            self._console.print(said, soft_wrap=True)
            self._said = said


class _Bars:
    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._cells = self._progress.add_task(_("cells"), total=None)
        self._shards = self._progress.add_task(_("shards"), total=None)
        self._said = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, view: RunView) -> None:
        status = view.status
        if status.cells and status.cells.total:
            done = status.cells.total - status.cells.pending - status.cells.active
            self._progress.update(self._cells, total=status.cells.total, completed=done)
        if status.shards and status.shards.total:
            self._progress.update(self._shards, total=status.shards.total, completed=status.shards.finished)
        said = _line(view)
        if said != self._said:
            self._progress.console.print(said, soft_wrap=True)
            self._said = said
