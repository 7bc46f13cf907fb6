"""The results that a command's selectors mean, wherever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_api.result import BenchmarkResultSpec

Selected = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RESULTS]...",
        help=_("RUN, baseline/NAME or a cell: RUN:model/hardware/variant; * is any. Default: all results there are."),
    ),
]


def find_results(
    selectors: list[str] | None,
    files: list[str] | None,
    store: str | None,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> tuple[list[BenchmarkResultSpec], list[str]]:
    """Return each result once, and notes for people; all that the ledger has without selectors.

    Raises:
        CommandError: a selector is none, or selects nothing.
    """
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.ledger import open_ledger, weights_notes
    from vidbench_cli.selectors import parse_selector

    wanted = [parse_selector(text) for text in selectors or ()]
    ledger = open_ledger(lambda: Cluster(Where(kubeconfig, context, namespace)), files or (), store)
    if not wanted:
        everything = [entry.spec for entry in ledger.all()]
        return everything, weights_notes(everything)
    found = [ledger.find(selector) for selector in wanted]
    unique = {(entry.namespace, entry.name): entry.spec for each in found for entry in each.entries}
    notes = [note for each in found for note in each.notes]
    return list(unique.values()), notes + weights_notes(unique.values())
