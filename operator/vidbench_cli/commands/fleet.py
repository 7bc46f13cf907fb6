"""`vidbench research fleet`: what nodes and GPUs add to the spread, and which nodes stand out."""

from __future__ import annotations

from typing import Annotated

import typer

from vidbench_cli.commands.selected import Selected, find_results
from vidbench_cli.errors import UsageError
from vidbench_cli.options import Context, Files, FromStore, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _


def fleet(
    selectors: Selected = None,
    metric: Annotated[str, typer.Option("--metric", "-m", help=_("The metric."))] = "latency",
    from_files: Files = None,
    store: FromStore = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Show how spread divides over nodes, GPUs and processes; without RESULTS over all results there are."""
    from vidbench_analysis.fleet import standing_of_nodes, variance_components
    from vidbench_analysis.frontiers import cells_by_name
    from vidbench_analysis.observations import observe
    from vidbench_cli.fleet_page import fleet_page
    from vidbench_cli.sides import parse_metrics

    wanted = parse_metrics(metric)
    if len(wanted) != 1:
        raise UsageError(_("--metric {text!r} names several").format(text=metric), _("one at a time"))
    results, notes = find_results(selectors, from_files, store, namespace, context, kubeconfig)
    cells = [observe(found, label=label) for label, found in cells_by_name(results).items()]
    measured = [cell for cell in cells if cell.reading(wanted[0])]
    components = {cell.label: variance_components(cell, wanted[0]) for cell in measured}
    write(fleet_page(components, standing_of_nodes(measured, wanted[0]), wanted[0], notes), output)
