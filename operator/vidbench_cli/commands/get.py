"""`vidbench get`: the list of runs, or one run with its cells and their figures; once, or until it ends."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.completion import complete_runs
from vidbench_cli.errors import Exit, UsageError
from vidbench_cli.options import AllNamespaces, Context, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, Page, make_console, render, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.cluster import Cluster
    from vidbench_cli.runs import RunView

POLL_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_("Show runs, or one run: a line a cell, with figures from its BenchmarkResults."))(get)


def get(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help=_("Name of a BenchmarkRun. Default: list all."), autocompletion=complete_runs
        ),
    ] = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help=_("Follow the run until it ends."))] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show runs or one run; the exit code tells how that one ended."""
    if name is None and watch:
        raise UsageError(_("--watch follows one run"), _("name it: vidbench get RUN --watch; all: kubectl get br -w"))
    if name is not None and all_namespaces:
        raise UsageError(_("a run is of one namespace"), _("leave out -A, or give its namespace with -n"))
    from vidbench_cli.cluster import Cluster, Where

    cluster = Cluster(Where(kubeconfig, context, namespace))
    if name is None:
        write(_list_page(cluster, all_namespaces), output)
        return
    view = _follow(cluster, name, output) if watch else _read(cluster, name)
    write(_page(view), output)
    _exit(view)


def _list_page(cluster: Cluster, everywhere: bool) -> Page:
    from datetime import UTC, datetime

    from vidbench_cli.cluster import RUNS
    from vidbench_cli.run_page import runs_page
    from vidbench_cli.runs import run_view

    views = [run_view(body) for body in cluster.find(RUNS, everywhere=everywhere)]
    if not views:
        where = _("in any namespace") if everywhere else _("in namespace {name!r}").format(name=cluster.namespace)
        make_console(stderr=True).print(_("No runs {where}. Begin with: vidbench init").format(where=where))
    return runs_page(views, datetime.now(UTC), everywhere=everywhere)


def _read(cluster: Cluster, name: str) -> RunView:
    from vidbench_cli.runs import RunReader

    return RunReader(cluster, name).read()


def _page(view: RunView) -> Page:
    from vidbench_cli.run_page import run_page

    return run_page(view)


def _exit(view: RunView) -> None:
    from vidbench_cli.run_page import exit_of

    code = exit_of(view)
    if code is not Exit.DONE:
        raise typer.Exit(code)


def _follow(cluster: Cluster, name: str, output: Format) -> RunView:
    """Show a run again and again until it ends; an API server that restarts meanwhile is waited for."""
    from rich.live import Live

    from vidbench_cli.cluster import ask_patiently
    from vidbench_cli.runs import RunReader

    reader = RunReader(cluster, name)
    view = reader.read()
    live = Live(console=make_console(), refresh_per_second=4, transient=True) if output.for_people else nullcontext()
    with live as screen:
        while not view.ended:
            if screen is not None:
                screen.update(render(_page(view), wide=output is Format.WIDE))
            time.sleep(POLL_SECONDS)
            view = ask_patiently(reader.read)
    return view
