"""The `vidbench` command. Exit codes: 0 done, 2 usage, 3 the cluster, 4 the run failed."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from .cluster import ClusterAwayError, ClusterError, Reader, RunView
from .tables import render_run
from .texts import _

EXIT_CLUSTER = 3
EXIT_RUN_FAILED = 4
WIDTH_OF_A_FILE = 2_000
PATIENCE_SECONDS = 20.0

app = typer.Typer(no_args_is_help=True, add_completion=True, help=_("Benchmarks video diffusion models on Kubernetes."))


@app.callback()
def root() -> None:
    """Keep `get` a command of its own, also while it is the only one."""


@app.command(help=_("Show a run: one line a cell, with figures from its BenchmarkResults."))
def get(
    name: Annotated[str, typer.Argument(help=_("Name of the BenchmarkRun."))],
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help=_("Default: the context's."))] = None,
    context: Annotated[str | None, typer.Option(help=_("Context of the kubeconfig."))] = None,
    kubeconfig: Annotated[str | None, typer.Option(help=_("Default: as kubectl."))] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help=_("Follow the run until it ends."))] = False,
) -> None:
    """Show one run, once or until it ends."""
    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no edge at which to cut a figure or fold a message.
        console = Console(width=WIDTH_OF_A_FILE)
    try:
        reader = Reader(kubeconfig, context, namespace)
        view = read_patiently(reader, name)
        if watch and not view.ended:
            with Live(console=console, refresh_per_second=4, transient=True) as live:
                while not view.ended:
                    live.update(render_run(view.name, view.namespace, view.status, view.results))
                    time.sleep(1)
                    view = read_patiently(reader, name)
    except ClusterError as error:
        Console(stderr=True).print(f"vidbench: {error}", style="red", markup=False)
        raise typer.Exit(EXIT_CLUSTER) from error
    console.print(render_run(view.name, view.namespace, view.status, view.results))
    if view.status.phase is not None and view.status.phase.value == "Failed":
        raise typer.Exit(EXIT_RUN_FAILED)


def read_patiently(reader: Reader, name: str, *, patience_seconds: float = PATIENCE_SECONDS) -> RunView:
    """Read a run; an API server that is away for a moment does not end a watch of hours. Raises ClusterError."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return reader.read_run(name)
        except ClusterAwayError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
