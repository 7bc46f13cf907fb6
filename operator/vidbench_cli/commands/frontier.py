"""`vidbench research frontier`: which cells no other beats in everything."""

from __future__ import annotations

from typing import Annotated

import typer

from vidbench_cli.commands.selected import Selected, find_results
from vidbench_cli.options import METRICS_BY_DEFAULT, Context, Files, FromStore, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _


def frontier(
    selectors: Selected = None,
    objectives: Annotated[
        str, typer.Option(help=_("One to three metrics, between commas, each with a better direction."))
    ] = METRICS_BY_DEFAULT,
    from_files: Files = None,
    store: FromStore = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Show which cells no other beats in everything, and how sure that is. Of a single objective: the best."""
    from vidbench_analysis.frontiers import cells_by_name, frontiers
    from vidbench_cli.frontier_page import frontier_page
    from vidbench_cli.sides import parse_objectives

    wanted = parse_objectives(objectives)
    results, notes = find_results(selectors, from_files, store, namespace, context, kubeconfig)
    write(frontier_page(frontiers(cells_by_name(results), wanted), wanted, notes), output)
