"""`vidbench logs`: what the runner of a cell says, or has said; and where to look when its pod is gone."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.completion import complete_cells
from vidbench_cli.errors import ClusterAwayError, NotFoundError, UsageError
from vidbench_cli.escaping import printable
from vidbench_cli.options import Context, Kubeconfig, Namespace, RunName
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.cluster import Cluster, Object
    from vidbench_cli.log_lines import LogLines
    from vidbench_cli.runs import RunView
    from vidbench_cli.targets import Target

_WAIT_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_("Show the log of a cell's runner, of its current or last attempt."))(logs)


def logs(
    name: RunName,
    cell: Annotated[
        str | None,
        typer.Argument(
            metavar="CELL",
            help=_("model/hardware/variant, or a part of it. Default: the only one that is active."),
            autocompletion=complete_cells,
        ),
    ] = None,
    shard: Annotated[
        int | None, typer.Option(min=1, max=64, help=_("Default: an active, else a failed, else the first."))
    ] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help=_("Default: the latest."))] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help=_("Until the pod ends; waits for it to start."))
    ] = False,
    tail: Annotated[int | None, typer.Option(min=0, help=_("Only so many of the last lines."))] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show a log."""
    from vidbench_cli.cluster import RUNS, Cluster, Where
    from vidbench_cli.runs import run_view
    from vidbench_cli.targets import pick_target

    cluster = Cluster(Where(kubeconfig, context, namespace))
    view = run_view(cluster.get(RUNS, name))
    target = pick_target(view.status.rows, cell, shard, attempt)
    pod = _find_pod(cluster, view, target)
    typer.echo(_("{target}, pod {pod}:").format(target=target.text, pod=pod["metadata"]["name"]), err=True)
    _show(cluster, pod, follow, tail)


def _find_pod(cluster: Cluster, view: RunView, target: Target) -> Object:
    from vidbench_api.names import LABEL_ATTEMPT, LABEL_CELL, LABEL_HARVEST, LABEL_RUN_UID, LABEL_SHARD
    from vidbench_cli.cluster import PODS
    from vidbench_cli.story_page import after_the_pod

    if not target.attempt:
        raise NotFoundError(
            _("{target}: nothing has begun, so there is no log").format(target=target.text),
            _("what it waits for: vidbench describe {run}").format(run=view.name),
        )
    wanted = {LABEL_RUN_UID: view.uid, LABEL_CELL: target.row.id, LABEL_SHARD: target.shard.index}
    labels = ",".join(f"{key}={value}" for key, value in {**wanted, LABEL_ATTEMPT: target.attempt}.items())
    pods = cluster.find(PODS, labels=f"{labels},!{LABEL_HARVEST}")
    if not pods:
        raise NotFoundError(
            _("the pod of {target} is gone, and its log with it").format(target=target.text),
            after_the_pod(view, target.row, target.shard).replace("; ", "\n"),
        )
    return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def _show(cluster: Cluster, pod: Object, follow: bool, tail: int | None) -> None:
    """Print a log; when following, what breaks off is asked for again from the last line's time on, until the pod ends."""
    from vidbench_cli.log_lines import LogLines

    name = str(pod["metadata"]["name"])
    lines = LogLines(for_terminal=sys.stdout.isatty())
    while True:
        interruption = _show_stream(cluster, name, lines, follow, tail)
        if not follow or (interruption is None and _has_ended(cluster, name)):
            sys.stdout.write(lines.rest())
            return
        if interruption:
            typer.echo(f"vidbench: {printable(interruption)}", err=True)
        lines.begin_again()
        time.sleep(_WAIT_SECONDS)


def _show_stream(cluster: Cluster, pod: str, lines: LogLines, follow: bool, tail: int | None) -> str | None:
    """Print one stream to its end; returns why it broke off, and None for an end without an error."""
    from vidbench_api.names import RUNNER_CONTAINER

    query = {"container": RUNNER_CONTAINER, "timestamps": "true", "follow": "true" if follow else ""}
    query |= {"sinceTime": lines.last_time} if lines.last_time else {"tailLines": "" if tail is None else str(tail)}
    try:
        for piece in cluster.stream_log(pod, query=query):
            sys.stdout.writelines(lines.take(piece))
            sys.stdout.flush()
    except ClusterAwayError as error:
        if not follow:
            raise
        return error.message
    except UsageError as error:
        # 400: the container has not started, e.g. while its image is pulled.
        if follow:
            return error.message
        raise NotFoundError(
            _("pod {pod} says nothing yet: {message}").format(pod=pod, message=error.message),
            _("wait for it with --follow; why it waits: kubectl describe pod {pod}").format(pod=pod),
        ) from error
    return None


def _has_ended(cluster: Cluster, pod: str) -> bool:
    from vidbench_cli.cluster import PODS, ask_patiently

    try:
        phase = ask_patiently(lambda: cluster.get(PODS, pod)).get("status", {}).get("phase")
    except NotFoundError:
        return True
    return phase in ("Succeeded", "Failed")
