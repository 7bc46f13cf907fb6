"""`vidbench validate`: what is wrong with objects before they are applied, with and without a cluster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.errors import ClusterAwayError, ClusterError, Exit, UsageError
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output
from vidbench_cli.output import Column, Format, Line, Page, Table, cell, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vidbench_cli.checking import Finding, Surroundings
    from vidbench_cli.cluster import Cluster

Files = Annotated[
    list[str],
    typer.Option(
        "--filename", "-f", metavar="FILE", help=_("Manifest, YAML or JSON; `-`: standard input. Repeatable.")
    ),
]
_STYLES = {"Error": "red", "Warning": "yellow", "Note": "dim"}
Offline = Annotated[bool, typer.Option("--offline", help=_("Ask no cluster."))]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        help=_("Check manifests: schema, every rule, what the operator would say; with a cluster, its API server too.")
    )(validate)


def validate(
    files: Files,
    offline: Offline = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Check the objects of files; the exit code tells whether they may be applied."""
    from vidbench_cli.checking import Surroundings, check_runs, check_schemas
    from vidbench_cli.manifest_files import read_objects

    bodies = read_objects(files)
    findings = check_schemas(bodies)
    cluster = None
    if not _has_errors(findings):
        cluster, why = (
            (None, _("no cluster was asked (--offline)")) if offline else _connect(namespace, context, kubeconfig)
        )
        around = _around(cluster, bodies) if cluster else Surroundings(namespace=namespace or "default", why=why)
        findings += check_runs(bodies, around, time.time())
        if cluster is not None and not _has_errors(findings):
            findings += _ask_server(cluster, bodies, namespace)
    write(_page(bodies, findings, cluster.server if cluster else None), output)
    if _has_errors(findings):
        raise typer.Exit(Exit.USAGE)


def _connect(namespace: str | None, context: str | None, kubeconfig: str | None) -> tuple[Cluster | None, str]:
    """Return the cluster; none, and why, where there is no kubeconfig and none was named."""
    from vidbench_cli.cluster import Cluster, Where

    try:
        return Cluster(Where(kubeconfig, context, namespace)), ""
    except ClusterError as error:
        if context or kubeconfig:
            raise
        return None, error.message


def _around(cluster: Cluster, bodies: Sequence[dict[str, object]]) -> Surroundings:
    """Read what the runs' names lead to."""
    from vidbench_cli.checking import Surroundings, class_in
    from vidbench_cli.knowledge import read_class, read_models

    names = {_class_name(body) for body in bodies if body.get("kind") == "BenchmarkRun"}
    wanted = sorted(name for name in names if class_in(bodies, name) is None)
    classes = {}
    if not names:
        return Surroundings(namespace=cluster.namespace)
    try:
        models, _broken = read_models(cluster, cluster.namespace)
        for name in wanted:
            found = read_class(cluster, name)
            if found is not None and not isinstance(found, str):
                classes[name] = found
    except ClusterAwayError as error:
        raise type(error)(error.message, f"{error.remedy}\n" + _("without a cluster: --offline")) from error
    except ClusterError as error:
        if "runnerclasses" not in error.message:
            raise
        return Surroundings({}, models, cluster.namespace, error.message)
    return Surroundings(classes, models, cluster.namespace)


def _class_name(body: dict[str, object]) -> str:
    spec = body.get("spec")
    name = spec.get("runnerClassName") if isinstance(spec, dict) else None
    return str(name or "default")


def _ask_server(cluster: Cluster, bodies: Sequence[dict[str, object]], namespace: str | None) -> list[Finding]:
    """Let the API server say what it would do, without storing anything."""
    from vidbench_cli.checking import OURS, Finding, measured_already, name_of
    from vidbench_cli.cluster import CLASSES, MODELS, RUNS
    from vidbench_cli.runs import run_view

    resources = {entry.kind: entry for entry in (RUNS, MODELS, CLASSES)}
    findings: list[Finding] = []
    for body in bodies:
        resource = resources.get(str(body.get("kind")))
        if resource is None or str(body.get("kind")) not in OURS:
            continue
        metadata = body["metadata"]
        where = namespace or (str(metadata.get("namespace") or "") if isinstance(metadata, dict) else "") or None
        try:
            if isinstance(metadata, dict) and not metadata.get("name"):
                cluster.create(resource, body, namespace=where, dry_run=True)
            else:
                stored = cluster.apply(resource, body, namespace=where, force=True, dry_run=True)
                view = run_view(stored) if resource is RUNS else None
                if view is not None and view.ended:
                    findings.append(measured_already(body, view.status.phase))
        except UsageError as error:
            for line in error.remedy.splitlines() or [error.message]:
                path, _separator, said = line.partition(": ")
                findings.append(Finding(name_of(body), path if said else "", said or line))
    return findings


def _has_errors(findings: Sequence[Finding]) -> bool:
    return any(finding.level == "Error" for finding in findings)


def _page(bodies: Sequence[dict[str, object]], findings: Sequence[Finding], server: str | None) -> Page:
    from vidbench_cli.checking import OURS

    errors = sum(finding.level == "Error" for finding in findings)
    looked_at = sum(str(body.get("kind")) in OURS for body in bodies)
    where = _("the API server at {server} agrees").format(server=server) if server else _("no API server was asked")
    heading = (
        Line(_("errors: {count} (objects: {objects})").format(count=errors, objects=len(bodies)), "red")
        if errors
        else Line(_("all is right (objects: {objects}); {where}").format(objects=looked_at, where=where), "green")
        if looked_at
        else Line(_("no object is of a kind of vidbench's: nothing was looked at"), "yellow")
    )
    rows = tuple(
        (
            cell(finding.level, style=_STYLES[finding.level]),
            cell(finding.object),
            cell(finding.field),
            cell(finding.message),
            cell(finding.remedy),
        )
        for finding in findings
    )
    columns = (
        Column("level", _("LEVEL")), Column("object", _("OBJECT")), Column("field", _("FIELD")),
        Column("message", _("WHAT IS WRONG"), folds=True), Column("remedy", _("WHAT TO DO"), folds=True),
    )  # fmt: skip
    table = Table(columns, rows)
    data = {"objects": len(bodies), "errors": errors, "server": server, "findings": table.records}
    return Page(tables=(table,) if rows else (), heading=(heading,), data=data)
