"""`vidbench health-check`: what is well in a cluster, what is not, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from vidbench_cli.errors import ClusterAwayError, ClusterError, Exit
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output
from vidbench_cli.output import Column, Format, Line, Page, Table, cell, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vidbench_api.kinds import RunnerClassSpec
    from vidbench_cli.cluster import Cluster
    from vidbench_cli.health import Check
    from vidbench_cli.installation import OperatorState

_STYLES = {"OK": "green", "Warning": "yellow", "Failed": "red", "Unknown": "dim"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "health-check",
        help=_("Check cluster, CRDs, operator, rights, quotas, nodes, runner classes and store; each with a remedy."),
    )(health_check)


def health_check(
    namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None, output: Output = Format.TABLE
) -> None:
    """Check an installation; exit code 3 if something keeps runs from being measured."""
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.health import check_kubernetes, worst

    cluster = Cluster(Where(kubeconfig, context, namespace))
    # Nothing else can be looked at where this is not answered.
    checks = [check_kubernetes(cluster.read_version(), cluster.server)]
    for look in (_crds, _operators, _rights, _quotas, _nodes, _classes, _store):
        checks += look(cluster)
    write(_page(checks), output)
    if worst(checks) == "Failed":
        raise typer.Exit(Exit.CLUSTER)


def _crds(cluster: Cluster) -> list[Check]:
    from vidbench_cli.health import check_crds
    from vidbench_cli.installation import read_crds

    return check_crds(read_crds(cluster))


def _operators(cluster: Cluster) -> list[Check]:
    from vidbench_cli.health import Check, check_operators
    from vidbench_cli.installation import client_version, find_operators

    try:
        operators = find_operators(cluster)
    except ClusterAwayError:
        raise
    except ClusterError as error:
        return [Check("operator", "Unknown", error.message, error.remedy)]
    return [
        *check_operators(operators, client_version(), time.time()),
        *(_metrics(cluster, entry) for entry in operators),
    ]


def _metrics(cluster: Cluster, entry: OperatorState) -> Check:
    from vidbench_cli.health import check_metrics

    pod = entry.holder or ""
    forward = f"kubectl -n {entry.namespace} port-forward deployment/{entry.name} 8081; curl localhost:8081/metrics"
    if not pod:
        return check_metrics(None, _("no replica leads"), forward)
    try:
        return check_metrics(cluster.read_from_pod(pod, 8081, "metrics", namespace=entry.namespace), "", forward)
    except ClusterError as error:
        return check_metrics(None, error.message, forward)


def _rights(cluster: Cluster) -> list[Check]:
    from vidbench_cli.cluster import CLASSES, EVENTS, JOBS, MODELS, NODES, PODS, RESULTS, RUNS
    from vidbench_cli.health import Right, check_rights

    wanted = (
        (RUNS, "", "create", _("no run can be applied"), True),
        (RUNS, "", "get", _("no run can be looked at"), True),
        (RUNS, "", "list", _("`vidbench get` lists nothing"), False),
        (RUNS, "", "patch", _("no run can be cancelled, suspended or resumed"), False),
        (RUNS, "", "delete", _("no run can be deleted, as `vidbench test-model` does"), False),
        (RESULTS, "", "list", _("figures of shards, plans and comparisons are not shown"), False),
        (MODELS, "", "list", _("own models are not listed, and plans cannot resolve them"), False),
        (CLASSES, "", "get", _("plans do not know image, prices and limits of the runner class"), False),
        (NODES, "", "list", _("plans do not know which nodes fit"), False),
        (JOBS, "", "list", _("`vidbench describe` shows no Jobs"), False),
        (PODS, "", "list", _("`vidbench describe` shows no pods"), False),
        (PODS, "log", "get", _("`vidbench logs` shows nothing"), False),
        (EVENTS, "", "list", _("`vidbench describe` shows no Events"), False),
    )
    answers = []
    for resource, subresource, verb, purpose, needed in wanted:
        may = cluster.review_access(verb, resource, subresource=subresource)
        name = f"{resource.full_name}/{subresource}" if subresource else resource.full_name
        answers.append((Right(verb, name, purpose, needed), may))
    return check_rights(answers, cluster.namespace)


def _quotas(cluster: Cluster) -> list[Check]:
    from vidbench_cli.cluster_answers import Resource
    from vidbench_cli.health import check_quotas

    return _looked("quota", lambda: check_quotas(cluster.find(Resource("resourcequotas", "ResourceQuota"))))


def _nodes(cluster: Cluster) -> list[Check]:
    from vidbench_cli.health import check_nodes
    from vidbench_cli.knowledge import read_nodes

    return _looked("nodes", lambda: check_nodes(read_nodes(cluster)))


def _classes(cluster: Cluster) -> list[Check]:
    from pydantic import ValidationError

    from vidbench_api.kinds import RunnerClassSpec
    from vidbench_cli.cluster import CLASSES
    from vidbench_cli.cluster_answers import Resource
    from vidbench_cli.health import check_classes
    from vidbench_operator.core.projections import explain

    def look() -> list[Check]:
        classes: dict[str, RunnerClassSpec | str] = {}
        for body in cluster.find(CLASSES):
            try:
                classes[body["metadata"]["name"]] = RunnerClassSpec.model_validate(body.get("spec"))
            except ValidationError as error:
                classes[body["metadata"]["name"]] = explain(error, "spec")
        try:
            bodies = cluster.find(Resource("persistentvolumeclaims", "PersistentVolumeClaim"))
            claims = {body["metadata"]["name"]: str((body.get("status") or {}).get("phase", "")) for body in bodies}
        except ClusterAwayError:
            raise
        except ClusterError:
            return check_classes(classes, None, cluster.namespace)
        return check_classes(classes, claims, cluster.namespace)

    return _looked("runner classes", look)


def _store(_cluster: Cluster) -> list[Check]:
    """Look at the store that this user's commands take; a file that is not there is not made by looking."""
    from pathlib import Path

    from vidbench_cli.health import check_store
    from vidbench_store.location import StoreError, find_location
    from vidbench_store.store import Store

    try:
        location = find_location()
        if location.is_sqlite and not Path(location.url.database or "").exists():
            return [check_store(location.text, None)]
        with Store.open(location) as store:
            return [check_store(location.text, store.count())]
    except StoreError as error:
        return [check_store("", None, str(error))]


def _looked(part: str, look: Callable[[], list[Check]]) -> list[Check]:
    """Return what a look found; what may not be looked at is unknown, with whom to ask."""
    from vidbench_cli.health import Check

    try:
        return look()
    except ClusterAwayError:
        raise
    except ClusterError as error:
        return [Check(part, "Unknown", error.message, error.remedy)]


def _page(checks: Sequence[Check]) -> Page:
    from vidbench_cli.health import worst

    columns = (
        Column("state", _("STATE")), Column("part", _("PART")), Column("detail", _("WHAT WAS SEEN"), folds=True),
        Column("remedy", _("WHAT TO DO"), folds=True),
    )  # fmt: skip
    rows = tuple(
        (cell(check.state, style=_STYLES[check.state]), cell(check.part), cell(check.detail), cell(check.remedy))
        for check in checks
    )
    table = Table(columns, rows)
    state = worst(checks)
    words = {
        "OK": _("runs can be measured here"), "Warning": _("runs can be measured here, with what is said below"),
        "Failed": _("something keeps runs from being measured"),
    }  # fmt: skip
    return Page((table,), (Line(words[state], _STYLES[state]),), data={"state": state, "checks": table.records})
