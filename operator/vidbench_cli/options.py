"""The options that commands share, spelt as kubectl spells them. A command takes those that mean something for it.

def show(name: RunName, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None,
         output: Output = Format.TABLE) -> None:
    cluster = Cluster(Where(kubeconfig, context, namespace))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from .completion import complete_contexts, complete_namespaces, complete_runs
from .output import Format
from .texts import _

_KUBE = _("Cluster")
METRICS_BY_DEFAULT = "latency,memory,energy"
"""What most people compare first: time, memory and energy, where they were measured."""

Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help=_("Default: the context's."),
        rich_help_panel=_KUBE,
        autocompletion=complete_namespaces,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(help=_("Context of the kubeconfig."), rich_help_panel=_KUBE, autocompletion=complete_contexts),
]
Kubeconfig = Annotated[str | None, typer.Option(help=_("Path of a file. Default: as kubectl."), rich_help_panel=_KUBE)]
AllNamespaces = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help=_("Of every namespace."), rich_help_panel=_KUBE)
]
Output = Annotated[Format, typer.Option("--output", "-o", help=_("Format."))]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        help=_("Read results from a file or folder (JSON, YAML; - is standard input) and ask no cluster."),
        rich_help_panel=_KUBE,
    ),
]
FromStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help=_("Read results from this store and ask no cluster; `default` is the usual place."),
        rich_help_panel=_KUBE,
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help=_("Name of a BenchmarkRun."), autocompletion=complete_runs)]


def given_options(called: typer.Context, options: Mapping[str, str]) -> list[str]:
    """Return which options somebody gave, be it with their defaults; `options` are spellings by parameter."""
    sources = ((option, called.get_parameter_source(name)) for name, option in options.items())
    return [option for option, source in sources if source is not None and source.name == "COMMANDLINE"]
