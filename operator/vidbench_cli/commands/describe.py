"""`vidbench describe`: the whole story of a run, or of one of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.completion import complete_cells
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output, RunName
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidbench_cli.cluster import Cluster, Object
    from vidbench_cli.runs import RunView
    from vidbench_cli.story_page import Surroundings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        help=_(
            "Tell the whole story of a run or a cell: attempts, nodes, reasons, Events, what it waits for, where to look."
        )
    )(describe)


def describe(
    name: RunName,
    cell: Annotated[
        str | None,
        typer.Argument(
            metavar="CELL",
            help=_("model/hardware/variant, or a part of it. Default: the run."),
            autocompletion=complete_cells,
        ),
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Describe a run or a cell."""
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.runs import RunReader
    from vidbench_cli.story_page import cell_story, run_story
    from vidbench_cli.targets import pick_row

    cluster = Cluster(Where(kubeconfig, context, namespace))
    view = RunReader(cluster, name).read()
    row = pick_row(view.status.rows, cell) if cell else None
    around = _look_around(cluster, view)
    write(run_story(view, around) if row is None else cell_story(view, row, around), output)


def _look_around(cluster: Cluster, view: RunView) -> Surroundings:
    """Read Events and pods; who may not see them still gets the rest of the story."""
    from vidbench_api.names import LABEL_RUN_UID
    from vidbench_cli.cluster import EVENTS, PODS
    from vidbench_cli.errors import ClusterError
    from vidbench_cli.story_page import Surroundings

    unseen: list[str] = []

    def seen(read: Callable[[], list[Object]]) -> list[Object] | None:
        try:
            return read()
        except ClusterError as error:
            unseen.append(_("Not shown: {message}").format(message=error.message))
            return None

    events = seen(lambda: cluster.find(EVENTS, fields=f"involvedObject.uid={view.uid}"))
    pods = seen(lambda: cluster.find(PODS, labels=f"{LABEL_RUN_UID}={view.uid}"))
    return Surroundings(events, pods, tuple(unseen))
