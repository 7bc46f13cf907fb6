"""`vidbench cancel`, `suspend` and `resume`: they change `spec.cancel` and `spec.suspend` of a run, and say what follows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.errors import UsageError
from vidbench_cli.options import Context, Kubeconfig, Namespace, RunName
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.cluster import Cluster
    from vidbench_cli.runs import RunView


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(help=_("End a run and keep what is measured. It cannot be taken back."))(cancel)
    app.command(help=_("Hold a run: its Jobs go, what was measured stays, no time limit runs."))(suspend)
    app.command(help=_("Let a suspended run go on."))(resume)


def cancel(
    name: RunName,
    immediate: Annotated[
        bool, typer.Option("--immediate", help=_("Stop shards that run. Default: let them finish."))
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=_("Do not ask."))] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Cancel a run."""
    cluster, view = _read(name, namespace, context, kubeconfig)
    if view.ended:
        _say(_("{run} has already ended as {phase}: nothing to cancel"), view)
        return
    if not yes and sys.stdin.isatty():
        active = view.status.parallelism.active if view.status.parallelism else 0
        question = _("End {run} for good ({active} Jobs are active)?").format(run=view.name, active=active)
        if not typer.confirm(question, err=True):
            raise UsageError(
                _("nothing was changed"), _("vidbench suspend {run} can be taken back").format(run=view.name)
            )
    _patch(cluster, view, {"cancel": "Immediate" if immediate else "Graceful"})
    how = _("shards that run are stopped") if immediate else _("shards that run may finish, nothing new starts")
    _say(_("{run} is being cancelled: ") + how + _("; its end: vidbench get {run} --watch{flags}"), view)


def suspend(name: RunName, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Suspend a run."""
    cluster, view = _read(name, namespace, context, kubeconfig)
    if view.ended:
        _say(_("{run} has already ended as {phase}: nothing to suspend"), view)
        return
    _patch(cluster, view, {"suspend": True})
    _say(_("{run} is being suspended: its Jobs go, finished shards stay; to go on: vidbench resume {run}{flags}"), view)


def resume(name: RunName, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Resume a run."""
    cluster, view = _read(name, namespace, context, kubeconfig)
    spec = view.body.get("spec", {})
    if view.ended:
        phase = view.status.phase.value if view.status.phase else "-"
        raise UsageError(
            _("{run} has ended as {phase}: it cannot go on").format(run=view.name, phase=phase),
            _("measure what failed with a new run (reuse: IfIdentical)"),
        )
    if not spec.get("suspend"):
        _say(_("{run} is not suspended; what it waits for: vidbench describe {run}{flags}"), view)
        return
    _patch(cluster, view, {"suspend": False})
    _say(_("{run} goes on: vidbench get {run} --watch{flags}"), view)


def _read(name: str, namespace: str | None, context: str | None, kubeconfig: str | None) -> tuple[Cluster, RunView]:
    from vidbench_cli.cluster import RUNS, Cluster, Where
    from vidbench_cli.runs import run_view

    cluster = Cluster(Where(kubeconfig, context, namespace))
    return cluster, run_view(cluster.get(RUNS, name))


def _patch(cluster: Cluster, view: RunView, spec: dict[str, object]) -> None:
    from vidbench_cli.cluster import RUNS

    # With the UID a run of the same name that was made meanwhile is left alone.
    cluster.patch(RUNS, view.name, {"metadata": {"uid": view.uid}, "spec": spec}, namespace=view.namespace)


def _say(text: str, view: RunView) -> None:
    phase = view.status.phase.value if view.status.phase else "-"
    typer.echo(text.format(run=view.name, phase=phase, flags=f" -n {view.namespace}"))
