"""`vidbench benchmark --local`: from options to a table or data, and an exit code that tells how the run ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from vidbench_api.names import Outcome
from vidbench_cli.errors import INTERRUPTED, Exit
from vidbench_cli.output import Format, Line, Page, write
from vidbench_cli.run_page import exit_of, run_page
from vidbench_cli.texts import _

from .display import Screen
from .files import Object, RunDirectory
from .folders import parse_mount
from .session import LocalOptions, LocalOutcome, run_locally


def benchmark_here(
    bodies: Sequence[Object],
    *,
    directory: Path | None,
    parallel: int,
    runner_class: str | None,
    mounts: Sequence[str],
    output: Format,
) -> None:
    """Measure the run of a manifest's objects on this machine, or go on where it was interrupted; show the run and its results.

    Raises:
        CommandError: nothing was measured, or not to its end.
        typer.Exit: with the code of how the run ended, 130 for an interrupt.
    """
    options = LocalOptions(
        tuple(bodies), directory, parallel, runner_class, tuple(parse_mount(text) for text in mounts)
    )
    with Screen() as screen:
        outcome = run_locally(options, screen)
        if outcome.interrupted:
            screen.note(
                _("interrupted; {path} keeps what is finished: the same command goes on").format(
                    path=outcome.directory.path
                )
            )
    write(page_of(outcome), output)
    code = INTERRUPTED if outcome.interrupted else exit_of(outcome.view)
    if code != Exit.DONE:
        raise typer.Exit(code)


def page_of(outcome: LocalOutcome) -> Page:
    """Return the page of a run that was measured here: where its files are in place of what a cluster would tell."""
    page = run_page(outcome.view)
    reasons = tuple(line for line in page.notes if line.style != "dim")
    logs = tuple(Line(f"  {path}", "dim") for path in _logs_of_failures(outcome))
    heading = (Line(_("  Their logs:"), "dim"),) if logs else ()
    where = Line(_("Results, logs and artifacts: {path}").format(path=outcome.directory.path), "dim")
    return replace(page, notes=(*reasons, *heading, *logs, where))


def _logs_of_failures(outcome: LocalOutcome) -> list[str]:
    directory: RunDirectory = outcome.directory
    names = [
        result.origin.job_name
        for result in outcome.view.results.values()
        if result.outcome is Outcome.FAILED and result.origin.job_name
    ]
    logs = [directory.attempt(name) / "log.txt" for name in names]
    return [str(log) for log in logs if log.exists()]
