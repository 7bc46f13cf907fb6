"""`vidbench version`: of this command, the operator and the CRDs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.errors import ClusterError
from vidbench_cli.options import Context, Kubeconfig, Output
from vidbench_cli.output import Column, Format, Page, Table, cell, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.installation import Part


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_("Show the version of this command, of the cluster, the operator and the CRDs."))(version)


def version(
    client: Annotated[bool, typer.Option("--client", help=_("Of this command alone: no cluster is asked."))] = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Show versions."""
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.installation import client_part, cluster_parts

    parts: list[Part] = [client_part()]
    if not client:
        try:
            parts += cluster_parts(Cluster(Where(kubeconfig, context, None)))
        except ClusterError as error:
            if context or kubeconfig:
                raise ClusterError(
                    error.message, f"{error.remedy}\n" + _("this command alone: vidbench version --client")
                ) from error
            parts.append(_no_cluster(error))
    columns = (Column("part", _("PART")), Column("version", _("VERSION")), Column("note", _("NOTE"), folds=True))
    rows = tuple((cell(part.name), cell(part.version), cell(part.note)) for part in parts)
    write(Page((Table(columns, rows),)), output)


def _no_cluster(error: ClusterError) -> Part:
    from vidbench_cli.installation import Part

    return Part(_("cluster"), None, f"{error.message}; {error.remedy}" if error.remedy else error.message)
