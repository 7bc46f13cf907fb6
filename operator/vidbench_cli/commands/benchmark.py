"""`vidbench benchmark`: applies the objects of a file and, with --follow, shows the run until it ends; exit code by its end.

With --local no cluster is asked: `vidbench_cli.local` measures on this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidbench_cli.errors import Exit, UsageError
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.runs import RunView

_HERE = _("This machine")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_("Apply a BenchmarkRun and what stands with it in a file; --follow shows it until it ends."))(
        benchmark
    )


def benchmark(
    file: Annotated[
        list[str],
        typer.Option(
            "--filename",
            "--file",
            "-f",
            metavar="FILE",
            help=_("YAML or JSON; `-` is standard input. May be repeated."),
        ),
    ],
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", help=_("Show progress until it ends; the exit code says how. Ctrl-C leaves it going.")
        ),
    ] = False,
    name: Annotated[str | None, typer.Option(help=_("Name of the run, in place of the file's."))] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=_("Let the API server check it; store nothing."))] = False,
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help=_("Measure on this machine, without a cluster; started again, it goes on."),
            rich_help_panel=_HERE,
        ),
    ] = False,
    parallel: Annotated[int, typer.Option(min=1, max=256, help=_("Shards at once."), rich_help_panel=_HERE)] = 1,
    directory: Annotated[
        Path | None,
        typer.Option(help=_("What becomes of the run. Default: ./vidbench-runs/NAME"), rich_help_panel=_HERE),
    ] = None,
    mount: Annotated[
        list[str] | None,
        typer.Option(
            help=_("INSIDE=HERE: a folder that stands for one of a pod. May be repeated."), rich_help_panel=_HERE
        ),
    ] = None,
    runner_class: Annotated[
        str | None, typer.Option(help=_("File with a RunnerClass. Default: one without limits."), rich_help_panel=_HERE)
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Benchmark what a file says."""
    from vidbench_cli.applying import apply_all, prepare
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.manifest_files import read_objects

    if local:
        if dry_run or follow or namespace or context or kubeconfig:
            raise UsageError(
                _("--local asks no cluster, and follows its run by itself"),
                _("leave out --dry-run, --follow, --namespace, --context and --kubeconfig, or --local"),
            )
    elif directory or mount or runner_class or parallel != 1:
        raise UsageError(
            _("--parallel, --directory, --mount and --runner-class are of a run on this machine"),
            _("add --local to measure here; on a cluster spec.parallelism and spec.runnerClassName say it"),
        )
    bodies = prepare(read_objects(file), name)
    if local:
        from vidbench_cli.local.command import benchmark_here

        benchmark_here(
            bodies, directory=directory, parallel=parallel, runner_class=runner_class, mounts=mount or (), output=output
        )
        return
    cluster = Cluster(Where(kubeconfig, context, namespace))
    run = apply_all(cluster, bodies, dry_run=dry_run, say=lambda text: typer.echo(text, err=True))
    metadata = run["metadata"]
    cluster.namespace = metadata["namespace"]
    if dry_run:
        typer.echo(_("{run} would be accepted by the API server").format(run=metadata["name"]))
    elif follow:
        from vidbench_cli.following import follow as follow_to_end
        from vidbench_cli.runs import RunReader

        _end(follow_to_end(RunReader(cluster, metadata["name"]), _hint(metadata)), output)
    else:
        typer.echo(_("{run} is applied; {hint}").format(run=metadata["name"], hint=_hint(metadata)))


def _hint(metadata: dict[str, Any]) -> str:
    text = _("follow it: vidbench get {run} --watch -n {namespace}; end it: vidbench cancel {run} -n {namespace}")
    return text.format(run=metadata["name"], namespace=metadata["namespace"])


def _end(view: RunView, output: Format) -> None:
    from vidbench_cli.run_page import exit_of, run_page

    write(run_page(view), output)
    code = exit_of(view)
    if code is not Exit.DONE:
        raise typer.Exit(code)
