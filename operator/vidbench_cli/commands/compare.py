"""`vidbench compare`: runs, baselines or what they are made of, side by side, with intervals and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.errors import UsageError
from vidbench_cli.options import METRICS_BY_DEFAULT, Context, Files, FromStore, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.ledger import Found, Ledger
    from vidbench_cli.output import Page

AXES = ("run", "model", "hardware", "variant", "node")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_("Compare results: the first is the reference. Intervals and verdicts by docs/research.md."))(
        compare
    )


def compare(
    selectors: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS...", help=_("RUN, baseline/NAME or a cell: RUN:model/hardware/variant; * is any.")
        ),
    ],
    by: Annotated[
        str | None, typer.Option("--by", help=_("Split all results by run, model, hardware, variant or node."))
    ] = None,
    against: Annotated[str | None, typer.Option(help=_("Which side is the reference. Default: the first."))] = None,
    metric: Annotated[
        str, typer.Option("--metric", "-m", help=_("Metrics between commas; `all` is every one that was measured."))
    ] = METRICS_BY_DEFAULT,
    margin: Annotated[
        list[str] | None,
        typer.Option(help=_("Below this a difference does not matter: 2%, or for one metric energy=5%. Default: 2%.")),
    ] = None,
    pairing: Annotated[
        str, typer.Option(help=_("Node: shards of the same number on the same node are pairs (of one run)."))
    ] = "None",
    ranks: Annotated[
        bool,
        typer.Option(
            "--ranks", help=_("Test by ranks as well (Mann-Whitney; Wilcoxon for pairs): is the distribution the same?")
        ),
    ] = False,
    from_files: Files = None,
    store: FromStore = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Compare results with those of the first selector, or along an axis."""
    if by is not None and by not in AXES:
        raise UsageError(
            _("--by {value!r} is no axis").format(value=by), _("one of: {names}").format(names=", ".join(AXES))
        )
    if pairing not in ("None", "Node"):
        raise UsageError(_("--pairing {value!r} is neither None nor Node").format(value=pairing))
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger import open_ledger
    from vidbench_cli.selectors import parse_selector
    from vidbench_cli.sides import need_two

    wanted = [parse_selector(text) for text in selectors]
    if by is None:
        need_two(wanted)
    ledger = open_ledger(lambda: Cluster(Where(kubeconfig, context, namespace)), from_files or (), store)
    found = [ledger.find(selector) for selector in wanted]
    write(make_page(ledger, found, by, against, metric, margin or [], pairing, ranks), output)


def make_page(
    ledger: Ledger,
    found: list[Found],
    by: str | None,
    against: str | None,
    metric: str,
    margin: list[str],
    pairing: str,
    ranks: bool = False,
) -> Page:
    """Return the page of what was found in a ledger; raises UsageError."""
    from vidbench_analysis.metrics import METRICS, Pairing
    from vidbench_analysis.multiplicity import holm
    from vidbench_analysis.ranks import by_ranks
    from vidbench_analysis.side_by_side import Axis, compare_pairs, has_metric, line_up
    from vidbench_cli.compare_page import compare_page
    from vidbench_cli.ledger import weights_notes
    from vidbench_cli.prompts import find_samples
    from vidbench_cli.sides import choose_sides, parse_margins, parse_metrics

    metrics = tuple(METRICS.values()) if metric == "all" else parse_metrics(metric)
    margins = parse_margins(margin, metrics)
    sides = choose_sides(found, Axis(by) if by else None, against)
    samples = find_samples(ledger, (spec for each in found for spec in each.specs), metrics)
    pairs = [pair for subject in sides.subjects for pair in line_up(subject, sides.reference, sides.in_common, samples)]
    rows = compare_pairs(pairs, metrics, margins, Pairing(pairing))
    asked = metric not in ("all", METRICS_BY_DEFAULT)
    rows = tuple(row for row in rows if asked or has_metric(row) or row.metric.name == "latency")
    # What had no p was not tested; nothing here was named in advance, so that it counts for nothing either.
    adjusted = holm({str(at): row.comparison.p for at, row in enumerate(rows) if row.comparison.p is not None})
    notes = [note for each in found for note in each.notes]
    notes += weights_notes(spec for each in found for spec in each.specs)
    tested = (
        [by_ranks(row.comparison, row.pair.subject, row.pair.reference, row.metric) for row in rows] if ranks else None
    )
    return compare_page(rows, [adjusted.get(str(at)) for at in range(len(rows))], notes, tested)
