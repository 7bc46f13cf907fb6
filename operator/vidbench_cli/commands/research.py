"""`vidbench research plan|report`: whether a run can answer its hypotheses, and what it answered, as a document.

`frontier` and `fleet` of the same group are in files of their own.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.commands.fleet import fleet
from vidbench_cli.commands.frontier import frontier
from vidbench_cli.errors import UsageError
from vidbench_cli.escaping import printable
from vidbench_cli.options import METRICS_BY_DEFAULT, Context, Files, FromStore, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidbench_cli.cluster import Cluster
    from vidbench_cli.ledger import Ledger
    from vidbench_cli.research_inputs import Run

RunName = Annotated[str | None, typer.Argument(metavar="RUN", help=_("A run of the cluster."))]
Manifest = Annotated[
    str | None,
    typer.Option(
        "--filename",
        "--file",
        "-f",
        metavar="FILE",
        help=_("Take the run from this manifest (YAML or JSON; - is standard input)."),
    ),
]


class Text(StrEnum):
    """What a report is written as."""

    MARKDOWN = "markdown"
    LATEX = "latex"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command(
        "plan", help=_("Show the power of each hypothesis and the shards that it needs, by earlier results.")
    )(plan)
    group.command(
        "report", help=_("Write a run's methods, results, tests, limits and provenance as Markdown or LaTeX.")
    )(report)
    group.command("frontier", help=_("Show which cells no other beats in latency, memory and energy at once."))(
        frontier
    )
    group.command("fleet", help=_("Show what nodes and GPUs add to the spread, and which nodes stand out."))(fleet)
    app.add_typer(group, name="research", help=_("Plan and report runs that ask a question (spec.analysis)."))


def plan(
    run: RunName = None,
    file: Manifest = None,
    spread: Annotated[
        str | None,
        typer.Option(help=_("Assume this spread between shards, e.g. 1%, where no earlier result shows one.")),
    ] = None,
    power: Annotated[float, typer.Option(help=_("The power to reach."), min=0.5, max=0.99)] = 0.80,
    from_files: Files = None,
    store: FromStore = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what each hypothesis can expect; earlier results are those of the namespace, of --from or of --store."""
    from vidbench_analysis.research_plan import foresee
    from vidbench_cli.prospects_page import prospects_page
    from vidbench_cli.research_inputs import baselines_of, cells_of

    connect = _connect(kubeconfig, context, namespace)
    wanted = _read_run(run, file, from_files, connect)
    if not wanted.spec.analysis.hypotheses:
        raise UsageError(
            _("{name} names no hypothesis").format(name=wanted.name),
            _("state them in spec.analysis.hypotheses before the run begins: docs/research.md"),
        )
    earlier = _earlier(from_files, store, file, connect)
    entries = earlier.all() if earlier else ()
    others = [entry.spec for entry in entries if entry.spec.run.uid != wanted.uid]
    held = baselines_of(wanted, entries)
    prospects = foresee(wanted.spec, cells_of(wanted), others, _share(spread), power, held)
    write(prospects_page(wanted.name, prospects, power), output)


def report(
    run: RunName = None,
    file: Manifest = None,
    text: Annotated[Text, typer.Option("--as", help=_("What it is written as."))] = Text.MARKDOWN,
    to: Annotated[str | None, typer.Option("--to", help=_("File to write. Default: standard output."))] = None,
    metric: Annotated[
        str, typer.Option("--metric", "-m", help=_("Metrics between commas; `all` is every one that was measured."))
    ] = "all",
    objectives: Annotated[
        str, typer.Option(help=_("One to three metrics that the frontier is over, between commas."))
    ] = METRICS_BY_DEFAULT,
    from_files: Files = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Write the report. The same run and results give the same bytes."""
    from vidbench_analysis.metrics import METRICS
    from vidbench_analysis.reports.latex import render_latex
    from vidbench_analysis.reports.markdown import render_markdown
    from vidbench_analysis.reports.research import Study, research_report
    from vidbench_cli.ledger import open_ledger
    from vidbench_cli.prompts import samples_of
    from vidbench_cli.research_inputs import baselines_of, cells_of
    from vidbench_cli.selectors import Selector
    from vidbench_cli.sides import parse_metrics, parse_objectives

    metrics = tuple(METRICS.values()) if metric == "all" else parse_metrics(metric)
    connect = _connect(kubeconfig, context, namespace)
    wanted = _read_run(run, file, from_files, connect)
    ledger = open_ledger(connect, from_files or ())
    found = ledger.find(Selector(wanted.name, "run", wanted.name))
    others = ledger.all() if wanted.spec.baselines else ()
    study = Study(
        wanted.name,
        wanted.uid or found.specs[0].run.uid,
        wanted.namespace or found.entries[0].namespace,
        wanted.spec,
        cells_of(wanted, found.specs),
        baselines_of(wanted, others),
        next(iter(samples_of(found.specs, ledger.requests(found.specs)).values()), ()),
        metrics,
        parse_objectives(objectives),
    )
    rendered = (render_latex if text is Text.LATEX else render_markdown)(research_report(study))
    if to is None:
        typer.echo(rendered, nl=False)
        return
    try:
        Path(to).write_text(rendered, encoding="utf-8")
    except OSError as error:
        raise UsageError(_("{file} cannot be written: {error}").format(file=to, error=error)) from error


def _connect(kubeconfig: str | None, context: str | None, namespace: str | None) -> Callable[[], Cluster]:
    def connect() -> Cluster:
        from vidbench_cli.cluster import Cluster, Where

        return Cluster(Where(kubeconfig, context, namespace))

    return connect


def _read_run(name: str | None, file: str | None, files: list[str] | None, connect: Callable[[], Cluster]) -> Run:
    """Return the run of a manifest, of the files that also hold results, or of the cluster."""
    from vidbench_cli.cluster import RUNS
    from vidbench_cli.ledger import read_objects
    from vidbench_cli.research_inputs import KIND, run_of

    if (name is None) == (file is None):
        raise UsageError(_("give the name of a run, or a manifest with -f"))
    if file is None and not files:
        return run_of(connect().get(RUNS, name or ""))
    place = [file] if file is not None else files or []
    runs = [body for body in read_objects(place, KIND) if name in (None, (body.get("metadata") or {}).get("name"))]
    # The folder of a local run holds the manifest beside the run that came of it.
    runs = [body for body in runs if (body.get("metadata") or {}).get("uid")] or runs
    if len(runs) != 1:
        raise UsageError(
            _("there are {count} BenchmarkRuns {name} in {place}").format(
                count=len(runs), name=name or "", place=", ".join(place)
            ),
            _("give one: -f FILE, or what `kubectl get br,bres -o yaml` wrote with --from"),
        )
    return run_of(runs[0])


def _earlier(
    files: list[str] | None, store: str | None, file: str | None, connect: Callable[[], Cluster]
) -> Ledger | None:
    """Return where earlier results are; None for a manifest alone where no cluster can be asked."""
    from vidbench_cli.errors import ClusterError
    from vidbench_cli.ledger import open_ledger
    from vidbench_cli.output import make_console

    try:
        return open_ledger(connect, files or (), store)
    except ClusterError as error:
        if file is None or store is not None:
            raise
        text = _("no earlier results: {error}").format(error=error.message)
        make_console(stderr=True).print(printable(text), style="dim")
        return None


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    from vidbench_analysis.metrics import Margin

    try:
        margin = Margin.parse(text)
    except ValueError as error:
        raise UsageError(_("--spread {text!r} is no share").format(text=text), _("for example 1%")) from error
    if not margin.relative:
        raise UsageError(_("--spread {text!r} is no share").format(text=text), _("for example 1%"))
    return margin.value
