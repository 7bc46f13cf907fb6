"""`vidbench baseline set|list|unset`: which earlier results runs and comparisons are held against. A label of results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.options import Context, Files, FromStore, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, make_console, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.cluster import Cluster

BaselineName = Annotated[str, typer.Argument(metavar="NAME", help=_("Name of the baseline."))]
DryRun = Annotated[bool, typer.Option("--dry-run", help=_("Show what would change and write nothing."))]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("set", help=_("Make results a baseline, in place of those that it had."))(set_baseline)
    group.command("list", help=_("List baselines and what they hold."))(list_baselines)
    group.command("unset", help=_("Take the label of a baseline from all of its results; they stay in the ledger."))(
        unset
    )
    app.add_typer(group, name="baseline", help=_("Results to compare with: set, list and unset baselines."))


def set_baseline(
    name: BaselineName,
    selectors: Annotated[
        list[str],
        typer.Argument(metavar="RESULTS...", help=_("RUN, a cell of it (RUN:model/hardware/variant), baseline/NAME.")),
    ],
    add: Annotated[bool, typer.Option("--add", help=_("Keep what the baseline has and add to it."))] = False,
    move: Annotated[bool, typer.Option("--move", help=_("Take results from the baseline that they are of."))] = False,
    dry_run: DryRun = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Label the results that count, and only then take the label from others."""
    from vidbench_cli.baselines import change_page, check_name, plan_change
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger import ClusterLedger
    from vidbench_cli.selectors import LedgerEntry, parse_selector

    wanted = [parse_selector(text) for text in selectors]
    check_name(name)
    cluster = Cluster(Where(kubeconfig, context, namespace))
    ledger = ClusterLedger(cluster)
    chosen: dict[str, LedgerEntry] = {
        entry.name: entry for selector in wanted for entry in ledger.find(selector).entries
    }
    change = plan_change(name, tuple(chosen.values()), ledger.labelled(name), keep_others=add, move=move)
    if not dry_run:
        _label(cluster, change.add, name)
        _label(cluster, change.remove, None)
    write(change_page(change, rehearsed=dry_run), output)


def list_baselines(
    from_files: Files = None,
    store: FromStore = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """List what has a baseline's label."""
    from vidbench_cli.baselines import list_page
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger import open_ledger

    ledger = open_ledger(lambda: Cluster(Where(kubeconfig, context, namespace)), from_files or (), store)
    page = list_page(ledger.labelled())
    if not page.tables[0].rows:
        text = _("No baseline in {place}. Make one: vidbench baseline set NAME RUN").format(place=ledger.place)
        make_console(stderr=True).print(text)
    write(page, output)


def unset(
    name: BaselineName,
    dry_run: DryRun = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Take the label from all results that have it."""
    from vidbench_cli.baselines import Change, change_page, check_name
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.errors import NotFoundError
    from vidbench_cli.ledger import ClusterLedger, nothing_found
    from vidbench_cli.selectors import Selector

    check_name(name)
    cluster = Cluster(Where(kubeconfig, context, namespace))
    ledger = ClusterLedger(cluster)
    names = tuple(sorted(entry.name for entry in ledger.labelled(name)))
    if not names:
        selector = Selector(f"baseline/{name}", "baseline", name)
        raise nothing_found(selector, ledger.labelled(), ledger.place, NotFoundError)
    if not dry_run:
        _label(cluster, names, None)
    write(change_page(Change(name, (), names, ()), rehearsed=dry_run), output)


def _label(cluster: Cluster, names: Iterable[str], value: str | None) -> None:
    from vidbench_api.names import LABEL_BASELINE
    from vidbench_cli.cluster import RESULTS

    for name in names:
        cluster.patch(RESULTS, name, {"metadata": {"labels": {LABEL_BASELINE: value}}})
