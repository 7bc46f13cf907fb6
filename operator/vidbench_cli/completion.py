"""What the shell offers on Tab: names that the cluster or the kubeconfig knows. Says nothing where it cannot ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .errors import CommandError

if TYPE_CHECKING:
    from .cluster_answers import Resource

_TIMEOUT_SECONDS = 3.0


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of runs of the namespace that the line names so far."""
    from .cluster import RUNS

    return _names(ctx, incomplete, RUNS)


def complete_namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of namespaces."""
    from .cluster import NAMESPACES

    return _names(ctx, incomplete, NAMESPACES)


def complete_contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the contexts of the kubeconfig."""
    from .cluster import list_contexts

    try:
        names = list_contexts(ctx.params.get("kubeconfig"))
    except CommandError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def _names(ctx: typer.Context, incomplete: str, resource: Resource) -> list[str]:
    from .cluster import Cluster, Where

    given = ctx.params
    try:
        cluster = Cluster(
            Where(given.get("kubeconfig"), given.get("context"), given.get("namespace")), _TIMEOUT_SECONDS
        )
        names = cluster.names(resource)
    except CommandError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def complete_cells(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the cells of the run that the line names."""
    from .cluster import RUNS, Cluster, Where

    given = ctx.params
    try:
        cluster = Cluster(
            Where(given.get("kubeconfig"), given.get("context"), given.get("namespace")), _TIMEOUT_SECONDS
        )
        rows = cluster.get(RUNS, str(given.get("name"))).get("status", {}).get("rows", [])
    except CommandError:
        return []
    names = [f"{row['model']}/{row['hardware']}/{row['variant']}" for row in rows]
    return sorted({name for name in names if name.startswith(incomplete)})
