"""`vidbench init-db`, `sync`, `prune`, `trends`, `export`: the ledger of any number of clusters in a store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidbench_cli.completion import complete_contexts
from vidbench_cli.errors import ClusterError, CommandError, Exit, UsageError
from vidbench_cli.escaping import printable
from vidbench_cli.options import AllNamespaces, Context, Kubeconfig, Namespace, Output, given_options
from vidbench_cli.output import Column, Format, Line, Page, Table, cell, make_console, write
from vidbench_cli.texts import _, ngettext

if TYPE_CHECKING:
    from datetime import datetime

    from vidbench_cli.cluster import Cluster
    from vidbench_store.location import Location
    from vidbench_store.store import Filter, Store
    from vidbench_store.sync import Synced

_CHUNK = 250
_UNREADABLE_SHOWN = 5

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help=_("postgresql://USER@HOST/DATABASE or a path. Default: VIDBENCH_STORE_URL, else a file of SQLite in your data folder."),
        show_default=False,
    ),
]  # fmt: skip
Yes = Annotated[bool, typer.Option("--yes", "-y", help=_("Do not ask."))]
DryRun = Annotated[bool, typer.Option("--dry-run", help=_("Say what would be done."))]
Names = list[str] | None
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help=_("2026-11-28, 2026-11-28T12:00:00Z, or 30d, 12h ago."))
]


class StoreFailedError(CommandError):
    """The store could not be reached, or would not."""

    code = Exit.CLUSTER


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init-db", help=_("Make the results store, or bring its tables to this version."))(init_db)
    app.command(help=_("Copy the results of clusters into the store. Can be repeated, and goes on where it was cut."))(
        sync
    )
    app.command(help=_("Delete old results from the store; they are not stored again."))(prune)
    app.command(help=_("Show how a metric of each cell went over time, drivers, nodes or clusters."))(trends)
    app.command(help=_("Write results as JSON, CSV or Parquet, from the store or a cluster."))(export)


def init_db(store: StoreOption = None) -> None:
    """Make or migrate the tables and say so."""
    from vidbench_store.engine import connect, explained
    from vidbench_store.schema import migrate

    with store_errors():
        location = find_store(store)
        engine = connect(location)
        try:
            with explained(location, "cannot make the store"):
                done = migrate(engine, location)
        finally:
            engine.dispose()
    if done.before is None:
        text = _("made the tables of version {after}: {place}")
    elif done.before == done.after:
        text = _("nothing to do, the tables are of version {after}: {place}")
    else:
        text = _("migrated the tables from version {before} to {after}: {place}")
    typer.echo(text.format(before=done.before, after=done.after, place=location.text))


def sync(
    store: StoreOption = None,
    context: Annotated[
        Names,
        typer.Option(help=_("Context of the kubeconfig; may be repeated."), autocompletion=complete_contexts),
    ] = None,
    all_contexts: Annotated[bool, typer.Option("--all-contexts", help=_("Every context of the kubeconfig."))] = False,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    kubeconfig: Kubeconfig = None,
    cluster: Annotated[
        str | None, typer.Option(help=_("What the store calls the cluster. Default: as the kubeconfig does."))
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Copy ledgers; one cluster that fails does not keep the others from it."""
    from vidbench_cli.cluster import list_contexts

    if all_contexts and context:
        raise UsageError(_("--all-contexts are all, and --context is some of them"), _("leave one of them out"))
    contexts: list[str | None] = [*(list_contexts(kubeconfig) if all_contexts else context or [])] or [None]
    if cluster is not None and len(contexts) > 1:
        raise UsageError(_("--cluster names one cluster, and there are several contexts"), _("sync them one by one"))
    failures: list[CommandError] = []
    rows = []
    notes: list[Line] = []
    with open_store(store) as opened:
        for name in contexts:
            try:
                label, scope, done = _sync_one(opened, kubeconfig, name, namespace, all_namespaces, cluster, output)
            except ClusterError as error:
                failures.append(error)
                rows.append(_failed_row(name or "", error))
                continue
            rows.append(_synced_row(name or "", label, scope, done))
            notes += [
                Line(_("not a result that can be read: {name}: {problem}").format(name=entry.name, problem=entry.problem), "yellow")
                for entry in done.written.unreadable[:_UNREADABLE_SHOWN]
            ]  # fmt: skip
        count = opened.count()
        said = ngettext("{count} result is in {place}", "{count} results are in {place}", count)
        notes.append(Line(said.format(count=count, place=opened.location.text), "dim"))
    columns = (
        Column("context", _("CONTEXT")), Column("cluster", _("CLUSTER")), Column("namespace", _("NAMESPACE")),
        Column("listed", _("LISTED")), Column("added", _("ADDED")), Column("updated", _("UPDATED")),
        Column("unchanged", _("UNCHANGED")), Column("refused", _("PRUNED/ERASED")), Column("unreadable", _("UNREADABLE")),
        Column("resumed", _("RESUMED"), wide=True), Column("error", _("ERROR"), folds=True),
    )  # fmt: skip
    write(Page(tables=(Table(columns, tuple(rows)),), notes=tuple(notes)), output)
    if len(contexts) == 1 and failures:
        raise failures[0]
    if failures:
        raise ClusterError(
            _("{failed} of {all} contexts were not synced").format(failed=len(failures), all=len(contexts)),
            "\n".join(f"{error.message}: {error.remedy}" for error in failures),
        )


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help=_("90d, 12h, or a date."))],
    store: StoreOption = None,
    cluster: Annotated[str, typer.Option(help=_("Of this cluster alone."))] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Delete old results from the store, but none that is labelled to be kept."""
    from datetime import UTC, datetime

    before = parse_when(older_than, "--older-than")
    if before > datetime.now(UTC):
        # The store remembers the date: it would take no result any more until then.
        raise UsageError(
            _("--older-than: {text} is still to come").format(text=older_than), _("write 90d, or a date in the past")
        )
    with open_store(store) as opened:
        number = opened.prune(before, cluster, rehearse=True)
        what = _("{number} results measured before {before:%Y-%m-%d %H:%M} UTC").format(number=number, before=before)
        if dry_run:
            typer.echo(_("would delete {what}").format(what=what))
            return
        confirm(
            _("Delete {what} from {place}? They are not stored again.").format(what=what, place=opened.location.text),
            yes,
        )
        done = opened.prune(before, cluster)
    typer.echo(_("deleted {number} results; `vidbench sync` does not bring them back").format(number=done))


def trends(
    metric: Annotated[str, typer.Option("--metric", "-m", help=_("A column of the results."))] = "latency",
    by: Annotated[str, typer.Option("--by", help=_("day, week, month, run, driver, node or cluster."))] = "day",
    model: Annotated[Names, typer.Option(help=_("Of these models alone; may be repeated."))] = None,
    hardware: Annotated[Names, typer.Option(help=_("Of these hardware entries alone."))] = None,
    variant: Annotated[Names, typer.Option(help=_("Of these variants alone."))] = None,
    cluster: Annotated[Names, typer.Option(help=_("Of these clusters alone."))] = None,
    namespace: Annotated[Names, typer.Option("--namespace", "-n", help=_("Of these namespaces alone."))] = None,
    since: Since = None,
    until: Since = None,
    store: StoreOption = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the trends that the store knows of."""
    from vidbench_analysis.metrics import METRICS
    from vidbench_cli.trends_page import trends_page
    from vidbench_store.trends import Axis, find_trends, is_series, series_metrics

    axes = [axis.value for axis in Axis]
    if by not in axes:
        raise UsageError(
            _("--by {by!r} is nothing to go by").format(by=by), _("there are: {all}").format(all=", ".join(axes))
        )
    if metric not in METRICS or not is_series(METRICS[metric]):
        raise UsageError(
            _("there are no trends of {metric!r}").format(metric=metric),
            _("there are of: {all}").format(all=", ".join(series_metrics())),
        )
    which = _filter(model, hardware, variant, cluster, namespace, since, until)
    with open_store(store) as opened:
        points = find_trends(opened, METRICS[metric], Axis(by), which)
        place = opened.location.text
    if not points:
        make_console(stderr=True).print(
            _("No such results in {place}. Copy some: vidbench sync").format(place=place), soft_wrap=True
        )
    write(trends_page(points, METRICS[metric], Axis(by)), output)


def export(
    called: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_("A path, a URL that fsspec reaches, or - for standard output."))] = "-",
    form: Annotated[str | None, typer.Option("--format", "-f", help=_("json, csv or parquet. Default: what the target ends with."))] = None,
    rows: Annotated[str, typer.Option(help=_("Of CSV and Parquet: a row for each of `series` (statistics) or `samples` (values)."))] = "series",
    from_cluster: Annotated[bool, typer.Option("--from-cluster", help=_("From the cluster's ledger, not from the store."))] = False,
    run: Annotated[Names, typer.Option(help=_("Of these runs alone; may be repeated."))] = None,
    model: Annotated[Names, typer.Option(help=_("Of these models alone; may be repeated."))] = None,
    hardware: Annotated[Names, typer.Option(help=_("Of these hardware entries alone."))] = None,
    variant: Annotated[Names, typer.Option(help=_("Of these variants alone."))] = None,
    since: Since = None,
    until: Since = None,
    store: StoreOption = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:  # fmt: skip
    """Write results to a file; what was written goes to standard error."""
    from vidbench_cli.ledger_export import STANDARD_OUTPUT, FileFormat, guess_format, opened
    from vidbench_cli.ledger_export import export as export_results
    from vidbench_store.flat import Rows

    chosen = _choice(FileFormat, form, "--format") if form else guess_format(target)
    shape = _choice(Rows, rows, "--rows")
    if chosen is None:
        if target != STANDARD_OUTPUT:
            raise UsageError(
                _("what {target} ends with is no format").format(target=target.split("?", 1)[0]),
                _("say --format json, csv or parquet"),
            )
        chosen = FileFormat.JSON
    if chosen is FileFormat.JSON and given_options(called, {"rows": "--rows"}):
        raise UsageError(
            _("--rows is of CSV and Parquet: JSON holds results as they are, with series and samples"),
            _("leave it out, or say --format csv"),
        )
    if target == STANDARD_OUTPUT and chosen is FileFormat.PARQUET and sys.stdout.isatty():
        raise UsageError(_("Parquet is nothing for a terminal"), _("name a file: vidbench export results.parquet"))
    namespaces = [namespace] if namespace else None
    which = _filter(model, hardware, variant, None, namespaces, since, until, run)
    with _found(store, from_cluster, which, kubeconfig, context, namespace, all_namespaces) as (found, place):
        # The first is read before anything is written: what cannot be read at all leaves no half of a document.
        results = iter(found)
        results = chain(list(islice(results, 1)), results)
        if target == STANDARD_OUTPUT:
            done = export_results(results, sys.stdout.buffer, chosen, shape)
        else:
            with opened(target) as file:
                done = export_results(results, file, chosen, shape)
    console = make_console(stderr=True)
    for entry in done.unreadable[:_UNREADABLE_SHOWN]:
        text = _("not a result that can be read: {name}: {problem}").format(name=entry.name, problem=entry.problem)
        console.print(printable(text))
    text = _("{results} results ({records} rows, {unreadable} not readable) of {place}")
    console.print(
        text.format(results=done.results, records=done.records, unreadable=len(done.unreadable), place=place),
        soft_wrap=True,
    )


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn errors of the store into errors of the command line."""
    from vidbench_store.location import StoreError

    try:
        yield
    except StoreError as error:
        raise StoreFailedError(str(error)) from None


def find_store(store: str | None) -> Location:
    """Return where the store is; raises UsageError for what is none."""
    from vidbench_store.location import StoreError, find_location

    try:
        return find_location(store)
    except StoreError as error:
        raise UsageError(str(error)) from None


@contextmanager
def open_store(store: str | None) -> Iterator[Store]:
    """Open the store for a command; every error of it ends the command with a message."""
    from vidbench_store.store import Store

    with store_errors(), Store.open(find_store(store)) as opened:
        yield opened


def confirm(question: str, yes: bool) -> None:
    """Ask, unless told not to; raises UsageError where nobody can be asked, or who was asked says no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            _("this deletes for good, and nobody can be asked here"), _("look with --dry-run, then add --yes")
        )
    if not typer.confirm(question):
        raise UsageError(_("nothing was done"))


def parse_when(text: str, option: str) -> datetime:
    """Return the moment of a date, of a time, or of an age before now such as 30d or 12h. Raises UsageError."""
    import re
    from datetime import UTC, datetime, timedelta

    age = re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip())
    if age:
        unit = {"h": "hours", "d": "days", "w": "weeks"}[age[2]]
        try:
            return datetime.now(UTC) - timedelta(**{unit: int(age[1])})
        except OverflowError as error:
            raise UsageError(
                _("{option}: there was no time so long ago: {text}").format(option=option, text=text)
            ) from error
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            _("{option}: {text!r} is no time").format(option=option, text=text),
            _("write 2026-11-28, 2026-11-28T12:00:00Z, 30d, 12h or 2w"),
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _choice(kind: Any, text: str, option: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        words = ", ".join(entry.value for entry in kind)
        raise UsageError(
            _("{option} knows no {text!r}").format(option=option, text=text), _("there are: {all}").format(all=words)
        ) from error


def _filter(
    model: Names, hardware: Names, variant: Names, cluster: Names, namespace: Names, since: str | None,
    until: str | None, run: Names = None,
) -> Filter:  # fmt: skip
    from vidbench_store.store import Filter

    return Filter(
        models=tuple(model or ()),
        hardware=tuple(hardware or ()),
        variants=tuple(variant or ()),
        clusters=tuple(cluster or ()),
        namespaces=tuple(namespace or ()),
        runs=tuple(run or ()),
        since=parse_when(since, "--since") if since else None,
        until=parse_when(until, "--until") if until else None,
    )


def _sync_one(
    store: Store, kubeconfig: str | None, context: str | None, namespace: str | None, everywhere: bool,
    label: str | None, output: Format,
) -> tuple[str, str, Synced]:  # fmt: skip
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger_source import ClusterLedger, cluster_name
    from vidbench_store.store import EVERYTHING, Place
    from vidbench_store.sync import sync_ledger

    cluster = Cluster(Where(kubeconfig, context, namespace))
    label = label or cluster_name(kubeconfig, context) or cluster.server
    scope = EVERYTHING if everywhere else cluster.namespace
    source = ClusterLedger(cluster, everywhere, _CHUNK)
    with _progress(label, output) as advance:
        done = sync_ledger(store, label, Place(cluster.server, scope), source, progress=advance)
    return label, scope, done


@contextmanager
def _progress(label: str, output: Format) -> Iterator[Any]:
    """Show how many results were listed, on a terminal."""
    console = make_console(stderr=True)
    if not output.for_people or not console.is_terminal:
        yield lambda _listed: None
        return
    from rich.markup import escape

    with console.status(escape(label)) as status:
        yield lambda listed: status.update(_("{label}: {listed} results").format(label=escape(label), listed=listed))


def _synced_row(context: str, label: str, scope: str, done: Synced) -> tuple[Any, ...]:
    written = done.written
    return (
        cell(context or None, context or _("(current)")), cell(label), cell(scope or None, scope or _("(all)")),
        cell(done.listed), cell(written.added), cell(written.updated), cell(written.unchanged), cell(written.refused),
        cell(len(written.unreadable)), cell(done.resumed), cell(None),
    )  # fmt: skip


def _failed_row(context: str, error: CommandError) -> tuple[Any, ...]:
    return (
        cell(context or None, context or _("(current)")), *(cell(None) for _column in range(9)),
        cell(error.message, style="red"),
    )  # fmt: skip


@contextmanager
def _found(
    store: str | None, from_cluster: bool, which: Filter, kubeconfig: str | None, context: str | None,
    namespace: str | None, everywhere: bool,
) -> Iterator[tuple[Iterator[tuple[str, Any]], str]]:  # fmt: skip
    """Give the results that a filter selects, from a store or a cluster, and what that place is called."""
    if not from_cluster:
        if context or everywhere or kubeconfig:
            raise UsageError(_("--context, --kubeconfig and -A are of a cluster"), _("add --from-cluster"))
        with open_store(store) as opened:
            yield opened.find_results(which), opened.location.text
        return
    if store:
        raise UsageError(_("--store and --from-cluster are two places"), _("leave one of them out"))
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger_source import cluster_name, read_ledger

    cluster: Cluster = Cluster(Where(kubeconfig, context, namespace))
    label = cluster_name(kubeconfig, context) or cluster.server
    yield read_ledger(cluster, label, everywhere, _CHUNK, which), label
