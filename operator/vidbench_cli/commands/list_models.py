"""`vidbench list-models`: what a run may name, with what is known of it and from where."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.commands.validate import Offline
from vidbench_cli.errors import ClusterAwayError, ClusterError, UsageError
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output
from vidbench_cli.output import Cell, Column, Format, Line, Page, Table, cell, write
from vidbench_cli.texts import _, ngettext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vidbench_api.kinds import VideoModelSpec
    from vidbench_api.result import BenchmarkResultSpec
    from vidbench_cli.cluster import Cluster
    from vidbench_cli.model_list import KnownModel

_MEBIBYTE = 1024 * 1024


class Task(StrEnum):
    """What a model makes clips from."""

    TEXT_TO_VIDEO = "TextToVideo"
    TEXT_TO_VIDEO_WITH_AUDIO = "TextToVideoWithAudio"
    IMAGE_TO_VIDEO = "ImageToVideo"
    IDENTITY_TO_VIDEO = "IdentityToVideo"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "list-models", help=_("List the models of the catalogue, services, and the VideoModels of the namespace.")
    )(list_all)


def list_all(
    task: Annotated[Task | None, typer.Option(help=_("Only these."), case_sensitive=False)] = None,
    max_vram: Annotated[
        str | None,
        typer.Option("--max-vram", metavar="SIZE", help=_("Only what may fit into a GPU of that memory, e.g. 24Gi.")),
    ] = None,
    fits: Annotated[
        bool, typer.Option("--fits", help=_("Only what may fit the largest GPU of this cluster, by the nodes' labels."))
    ] = False,
    runnable: Annotated[bool, typer.Option("--runnable", help=_("Only what a run may name."))] = False,
    offline: Offline = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """List models."""
    from vidbench_cli.model_list import fit_of, list_models

    if fits and max_vram:
        raise UsageError(_("--fits and --max-vram both name a GPU's memory"), _("leave one of them out"))
    if fits and offline:
        raise UsageError(
            _("--fits asks the cluster's nodes"), _("leave out --offline, or name the memory: --max-vram 24Gi")
        )
    cluster, notes = (None, []) if offline else _connect(namespace, context, kubeconfig)
    if fits and cluster is None:
        raise ClusterError(notes[0] if notes else _("no cluster"), _("name the memory instead: --max-vram 24Gi"))
    models, results, more = _ask(cluster) if cluster is not None else ({}, [], [])
    limit, named = _limit(cluster, max_vram, fits)
    known = [
        entry
        for entry in list_models(models, results)
        if (task is None or entry.task == task.value) and not (runnable and entry.why_not)
    ]
    shown = [entry for entry in known if limit is None or fit_of(entry.memory, limit) in ("Yes", "Perhaps")]
    unknown = 0 if limit is None else sum(fit_of(entry.memory, limit) == "Unknown" for entry in known)
    notes = [*notes, *more, *([named] if named else [])]
    if unknown:
        text = ngettext(
            "{count} model is left out, as nothing is known of its memory",
            "{count} models are left out, as nothing is known of their memory",
            unknown,
        )
        notes.append(text.format(count=unknown))
    write(_page(shown, limit, notes), output)


def _connect(namespace: str | None, context: str | None, kubeconfig: str | None) -> tuple[Cluster | None, list[str]]:
    from vidbench_cli.cluster import Cluster, Where

    try:
        return Cluster(Where(kubeconfig, context, namespace)), []
    except ClusterError as error:
        if context or kubeconfig:
            raise
        return None, [_("only the catalogue: {error}").format(error=error.message)]


def _ask(cluster: Cluster) -> tuple[dict[str, VideoModelSpec], list[BenchmarkResultSpec], list[str]]:
    """Read models and ledger; what may not be read is a note."""
    from vidbench_cli.knowledge import read_ledger, read_models

    notes: list[str] = []
    models: dict[str, VideoModelSpec] = {}
    results: list[BenchmarkResultSpec] = []
    try:
        models, broken = read_models(cluster, cluster.namespace)
        notes += [f"{name}: {why}" for name, why in broken.items()]
        results = [*read_ledger(cluster, cluster.namespace)[0].values()]
    except ClusterAwayError as error:
        raise type(error)(error.message, f"{error.remedy}\n" + _("the catalogue alone: --offline")) from error
    except ClusterError as error:
        notes.append(f"{error.message}; {error.remedy}" if error.remedy else error.message)
    return models, results, notes


def _limit(cluster: Cluster | None, max_vram: str | None, fits: bool) -> tuple[int | None, str]:
    from vidbench_operator.core.quantities import parse_quantity

    if max_vram is not None:
        size = parse_quantity(max_vram.removesuffix("B"))
        if not size or size < _MEBIBYTE:
            raise UsageError(
                _("--max-vram: {size!r} is no amount of memory").format(size=max_vram),
                _("write e.g. 24Gi, 80G or 16384Mi"),
            )
        return int(size // _MEBIBYTE), ""
    if not fits or cluster is None:
        return None, ""
    from vidbench_cli.knowledge import read_nodes
    from vidbench_cli.model_list import largest_gpu

    largest = largest_gpu(read_nodes(cluster).values())
    if largest is None:
        raise ClusterError(
            _("no node shows the memory of a GPU (label nvidia.com/gpu.memory)"),
            _("GPU feature discovery of the NVIDIA GPU operator sets it; or name the memory: --max-vram 24Gi"),
        )
    return largest[0], _("the largest GPU has {size} MiB, on node {node}").format(size=largest[0], node=largest[1])


def _page(shown: Sequence[KnownModel], limit: int | None, notes: Sequence[str]) -> Page:
    columns = (
        Column("name", _("NAME")), Column("origin", _("FROM")), Column("task", _("TASK")), Column("parameters", _("PARAMETERS")),
        Column("gpuMemoryMebibytes", _("GPU MIB")), Column("atLeast", _("AT LEAST"), wide=True), Column("fits", _("FITS"), wide=limit is None),
        Column("memorySource", _("MEMORY FROM"), folds=True),
        Column("memorySaid", _("ITS SOURCE SAYS"), wide=True, folds=True), Column("runnable", _("RUNS")),
        Column("pipelineClass", _("CLASS"), wide=True), Column("source", _("SOURCE"), wide=True, folds=True),
        Column("licence", _("LICENCE"), wide=True, folds=True), Column("defaultClip", _("DEFAULT CLIP"), wide=True),
        Column("randomWeights", _("RANDOM WEIGHTS"), wide=True), Column("whyNot", _("WHY NOT"), wide=True, folds=True),
    )  # fmt: skip
    table = Table(columns, tuple(_row(entry, limit) for entry in shown))
    counted = ngettext(
        "{count} model; GPU MIB is of a default clip without offload",
        "{count} models; GPU MIB is of a default clip without offload",
        len(shown),
    )
    lines = [counted.format(count=len(shown)), *notes]
    return Page(
        tables=(table,) if shown else (),
        notes=tuple(Line(line, "dim") for line in lines),
        data={"models": table.records, "notes": list(notes)},
    )


def _row(entry: KnownModel, limit: int | None) -> tuple[Cell, ...]:
    from vidbench_cli.model_list import fit_of

    memory = entry.memory
    fit = fit_of(memory, limit) if limit is not None else None
    amount = None if memory.mebibytes is None else f"{'>= ' if memory.at_least else ''}{memory.mebibytes}"
    return (
        cell(entry.name), cell(entry.origin + ("*" if entry.overrides else "")), cell(entry.task), cell(entry.parameters),
        cell(memory.mebibytes, amount), cell(memory.at_least), cell(fit), cell(memory.source), cell(entry.memory_said),
        cell(entry.why_not is None, _("no") if entry.why_not else _("yes"), "dim" if entry.why_not else ""),
        cell(entry.pipeline_class), cell(entry.hub), cell(entry.licence), cell(entry.default_clip), cell(entry.random_weights),
        cell(entry.why_not),
    )  # fmt: skip
