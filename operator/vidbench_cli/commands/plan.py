"""`vidbench plan`: what a run will take, before anything is applied."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import typer

from vidbench_cli.commands.validate import Files, Offline
from vidbench_cli.errors import ClusterError, Exit, UsageError
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _, ngettext

if TYPE_CHECKING:
    from vidbench_cli.planning import RunPlan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        help=_(
            "Say what a run will take before it is applied: cells, shards, GPU-hours, cost, disk, nodes, reuse, intervals."
        )
    )(plan)


def plan(
    files: Files,
    offline: Offline = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Plan the run of a file; nothing is applied. Exit code 2 if it would be refused."""
    from vidbench_cli.checking import check_schemas, observed_run, undecidable
    from vidbench_cli.manifest_files import only_run, read_objects
    from vidbench_cli.plan_page import plan_page

    bodies = read_objects(files)
    body = only_run(bodies, files)
    wrong = [finding for finding in check_schemas(bodies) if finding.level == "Error"]
    if wrong:
        lines = [
            f"{entry.object} {entry.field}: {entry.message}" + (f" ({entry.remedy})" if entry.remedy else "")
            for entry in wrong
        ]
        said = ngettext("{count} field is wrong", "{count} fields are wrong", len(wrong)).format(count=len(wrong))
        raise UsageError(said, "\n".join(lines))
    found = _plan(bodies, body, offline, namespace, context, kubeconfig)
    spec = observed_run(body, found.namespace, time.time()).spec
    write(plan_page(found, [f"{field}: {text}; {remedy}" for field, text, remedy in undecidable(spec)]), output)
    if found.obstacle is not None and not found.waits:
        raise typer.Exit(Exit.USAGE)


def _plan(
    bodies: list[dict[str, Any]], body: dict[str, Any], offline: bool, namespace: str | None, context: str | None,
    kubeconfig: str | None,
) -> RunPlan:  # fmt: skip
    from vidbench_cli.checking import observed_run
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.knowledge import ask_cluster, ask_nobody
    from vidbench_cli.planning import plan_run

    own = (body.get("metadata") or {}).get("namespace")
    if own and namespace and own != namespace:
        raise UsageError(
            _("the run is of namespace {own!r}, not {given!r}").format(own=own, given=namespace),
            _("leave out -n, or metadata.namespace"),
        )
    now, uid = time.time(), str(uuid.uuid4())
    if offline:
        run = observed_run(body, namespace or "default", now, uid)
        return plan_run(run, ask_nobody(run, bodies))
    try:
        cluster = Cluster(Where(kubeconfig, context, namespace))
        cluster.require_namespace(own or cluster.namespace)
        run = observed_run(body, cluster.namespace, now, uid)
        return plan_run(run, ask_cluster(cluster, run, bodies, run.namespace))
    except ClusterError as error:
        error.remedy += "\n" + _("cells and shards alone need no cluster: vidbench plan --offline -f FILE")
        raise
