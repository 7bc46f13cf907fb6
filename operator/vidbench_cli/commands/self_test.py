"""`vidbench self-test`: one cell twice, on this cluster; its spread is the smallest effect that the cluster may claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.errors import AlreadyThereError, RunFailedError, UsageError
from vidbench_cli.options import METRICS_BY_DEFAULT, Context, Files, Kubeconfig, Namespace, Output, given_options
from vidbench_cli.output import Format, make_console, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_analysis.intervals import Estimate
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger import Ledger
    from vidbench_cli.selectors import Selector
    from vidbench_cli.self_test_page import Wanted


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "self-test",
        help=_("Measure one cell twice: how much does it differ from itself, and which effect may be claimed?"),
    )(self_test)


def self_test(
    called: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help=_("A model of the catalogue or a VideoModel: apply a run of it.")),
    ] = None,
    run: Annotated[str | None, typer.Option(help=_("Read this run instead, which has two equal variants."))] = None,
    name: Annotated[str, typer.Option(help=_("Name of the run that is applied."))] = "self-test",
    runner_class: Annotated[str, typer.Option(help=_("Its RunnerClass."))] = "default",
    selector: Annotated[
        list[str] | None, typer.Option("--selector", "-l", help=_("Label of nodes: KEY=VALUE."))
    ] = None,
    gpus: Annotated[int, typer.Option(help=_("GPUs of a shard; 0 measures on the CPU."), min=0, max=16)] = 1,
    shards: Annotated[int, typer.Option(help=_("Shards of each of the two."), min=2, max=64)] = 5,
    samples: Annotated[int, typer.Option(help=_("Samples of a shard."), min=1, max=64)] = 5,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help=_("The model's configuration without its weights: no download."))
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help=_("Wait until it has ended and show what came of it."))
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=_("Print the run and apply nothing."))] = False,
    metric: Annotated[str, typer.Option("--metric", "-m", help=_("Metrics between commas."))] = METRICS_BY_DEFAULT,
    margin: Annotated[
        str | None,
        typer.Option(help=_("Differences below it do not matter: 2%, or for one metric energy=5%. Default: 2%.")),
    ] = None,
    from_files: Files = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Apply a run with one cell twice, or read one."""
    _refuse_what_means_nothing(called, model, run)
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger import open_ledger
    from vidbench_cli.selectors import parse_selector
    from vidbench_cli.self_test_page import Wanted

    where = Where(kubeconfig, context, namespace)
    if run is not None:
        ledger = open_ledger(lambda: Cluster(where), from_files or ())
        _show(ledger, parse_selector(run), metric, margin, output)
        return
    wanted = Wanted(model or "", name, runner_class, tuple(selector or ()), gpus, shards, samples, random_weights)
    cluster = _apply(wanted, where, dry_run, follow)
    if cluster is not None:
        _wait(cluster, name)
        _show(open_ledger(lambda: cluster, ()), parse_selector(name), metric, margin, output)


_OF_A_NEW_RUN = {
    "name": "--name",
    "runner_class": "--runner-class",
    "selector": "--selector",
    "gpus": "--gpus",
    "shards": "--shards",
    "samples": "--samples",
    "random_weights": "--random-weights",
    "follow": "--follow",
    "dry_run": "--dry-run",
}
"""Options that mean nothing where a run is read, by their parameters."""

_OF_WHAT_IS_SHOWN = {"metric": "--metric", "margin": "--margin", "output": "--output"}
"""Options that mean nothing where a run is only applied."""


def _refuse_what_means_nothing(called: typer.Context, model: str | None, run: str | None) -> None:
    """Raise UsageError for options that would be ignored, and for neither or both of a model and a run."""
    if (model is None) == (run is None):
        raise UsageError(
            _("give a model to measure, or --run NAME of a run with two equal variants"),
            _("for example: vidbench self-test wan21-1-3b --random-weights --follow"),
        )
    if run is None and called.params["from_files"]:
        raise UsageError(
            _("--from reads a run that was measured, and {model} is to be measured").format(model=model),
            _("leave out --from, or read a run with --run NAME --from FILE"),
        )
    if run is not None and (given := given_options(called, _OF_A_NEW_RUN)):
        raise UsageError(
            _("{options}: of a run that is applied, and --run reads one that there is").format(
                options=", ".join(given)
            ),
            _("leave these out, or give a model in place of --run"),
        )
    if (
        run is None
        and (called.params["dry_run"] or not called.params["follow"])
        and (given := given_options(called, _OF_WHAT_IS_SHOWN))
    ):
        raise UsageError(
            _("{options}: of the result that is shown, and there is none yet").format(options=", ".join(given)),
            _("add --follow, or give them with --run {name} when the run has ended").format(name=called.params["name"]),
        )


def _apply(wanted: Wanted, where: Where, dry_run: bool, follow: bool) -> Cluster | None:
    """Apply the run, or print it; returns the cluster if it is to be waited for there."""
    from vidbench_cli.cluster import RUNS, Cluster
    from vidbench_cli.self_test_page import run_of

    manifest = run_of(wanted)
    if dry_run:
        import yaml

        typer.echo(yaml.safe_dump(manifest, sort_keys=False), nl=False)
        return None
    cluster = Cluster(where)
    try:
        cluster.create(RUNS, manifest)
    except AlreadyThereError as error:
        error.remedy = _("read it: {command}; or apply another: --name NAME").format(
            command=_hint(cluster, wanted.name)
        )
        raise
    if follow:
        return cluster
    text = _("BenchmarkRun {name} is applied: {shards} shards of the same cell, twice. When it has ended:")
    make_console(stderr=True).print(text.format(name=wanted.name, shards=wanted.shards))
    typer.echo(_hint(cluster, wanted.name))
    return None


def _wait(cluster: Cluster, name: str) -> None:
    """Show a run until it has ended; raises RunFailedError where it has no results."""
    from vidbench_cli.following import follow
    from vidbench_cli.runs import RunReader

    view = follow(RunReader(cluster, name), _hint(cluster, name))
    if view.condition("Complete") != "True":
        raise RunFailedError(
            _("the run {name} ended without a result: {message}").format(name=name, message=view.status.message or "-"),
            _("vidbench get {name}").format(name=name),
        )


def _hint(cluster: Cluster, name: str) -> str:
    return f"vidbench self-test --run {name} -n {cluster.namespace}"


def _was_measured(found: Estimate) -> bool:
    return found.shards > 0 or found.reason == "PromptsUnknown"


def _show(ledger: Ledger, selector: Selector, metric: str, margin: str | None, output: Format) -> None:
    from vidbench_analysis.self_test import find_twins, run_self_test
    from vidbench_cli.ledger import weights_notes
    from vidbench_cli.prompts import find_samples
    from vidbench_cli.self_test_page import self_test_page
    from vidbench_cli.sides import parse_margins, parse_metrics

    found = ledger.find(selector)
    if not find_twins(found.specs):
        raise UsageError(
            _("{name!r} has no two variants that ask for the same").format(name=selector.text),
            _("vidbench self-test MODEL applies such a run"),
        )
    metrics = parse_metrics(metric)
    samples = find_samples(ledger, found.specs, metrics)
    tests = run_self_test(found.specs, metrics, parse_margins([] if margin is None else [margin], metrics), samples)
    shown = [test for test in tests if _was_measured(test.comparison.reference) or test.metric.name == "latency"]
    write(self_test_page(shown, (*found.notes, *weights_notes(found.specs))), output)
