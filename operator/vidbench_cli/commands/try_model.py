"""`vidbench test-model`: does this model make a clip? One sample, on the cluster as a run that is deleted afterwards, or by a process here."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidbench_cli.errors import ClusterAwayError, ClusterError, RunFailedError, UsageError
from vidbench_cli.escaping import printable
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output, given_options
from vidbench_cli.output import Format, Line, make_console, write
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from vidbench_cli.cluster import Cluster
    from vidbench_cli.runs import RunView

POLL_SECONDS = 1.0
OPERATOR_SECONDS = 60.0
"""An operator that has not looked at a run for so long is not there."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test-model", help=_("Generate one clip with one model on the cluster, and say what came of it."))(
        try_model
    )


_OF_A_CLUSTER = {"namespace": "--namespace", "context": "--context", "kubeconfig": "--kubeconfig"}
"""Options that mean nothing to a process on this machine, by their parameters."""


def try_model(
    called: typer.Context,
    model: Annotated[str, typer.Argument(help=_("A catalogue entry or a VideoModel of the namespace."))],
    gpus: Annotated[int, typer.Option(min=0, max=16, help=_("GPUs of the pod; 0: the CPU."))] = 1,
    node_selector: Annotated[
        list[str] | None,
        typer.Option("--node-selector", metavar="KEY=VALUE", help=_("Label that the node must have. Repeatable.")),
    ] = None,
    runner_class: Annotated[
        str | None, typer.Option(help=_("RunnerClass. Default: `default`, with --gpus 0 `cpu`."))
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help=_("Its configuration without its weights."))
    ] = False,
    height: Annotated[int | None, typer.Option(help=_("Of the clip; default: the model's."))] = None,
    width: Annotated[int | None, typer.Option(help=_("Of the clip; default: the model's."))] = None,
    frames: Annotated[int | None, typer.Option(help=_("Of the clip; default: the model's."))] = None,
    steps: Annotated[int | None, typer.Option(help=_("Denoising steps; default: the model's."))] = None,
    prompt: Annotated[str | None, typer.Option(help=_("Default: a cat in wet grass."))] = None,
    timeout: Annotated[
        int, typer.Option(min=30, max=86_400, help=_("Seconds for all of it, waiting for a node included."))
    ] = 3600,
    local: Annotated[
        bool, typer.Option("--local", help=_("With a process on this machine: no cluster is asked."))
    ] = False,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--filename",
            "-f",
            metavar="FILE",
            help=_("With --local: manifest of the VideoModel, for one that is not in the catalogue."),
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help=_("Do not delete the run afterwards; its result stays in any case."))
    ] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TABLE,
) -> None:
    """Test a model; exit code 4 if it made no clip."""
    from vidbench_cli.checking import check_schemas
    from vidbench_cli.run_page import run_page
    from vidbench_cli.trial_run import PROMPT, is_good, remedy_of, trial_name, trial_run

    sizes = {"height": height, "width": width, "frames": frames}
    body = trial_run(
        trial_name(model, secrets.token_hex(3)),
        model,
        gpus=gpus,
        node_selector=_labels(node_selector or []),
        runner_class=runner_class or ("default" if gpus else "cpu"),
        random_weights=random_weights,
        clip={name: size for name, size in sizes.items() if size is not None},
        steps=steps,
        prompt=prompt or PROMPT,
        seconds=timeout,
    )
    wrong = check_schemas([body])
    if wrong:
        raise UsageError(f"{wrong[0].field}: {wrong[0].message}", wrong[0].remedy)
    _refuse_what_means_nothing(called, local, files or [])
    view = (
        _here(body, files or [], keep)
        if local
        else _on_cluster(body, (namespace, context, kubeconfig), timeout, keep, output)
    )
    rows = view.status.rows
    row = rows[0] if rows else None
    page = run_page(view)
    write(replace(page, notes=(*page.notes, *_kept(view.name, keep and not local))), output)
    if not is_good(row):
        reason = row.reason if row is not None and row.reason else _reason(view)
        said = (row.message if row is not None else None) or view.status.message or ""
        text = _("{model} made no clip: {reason}: {said}")
        raise RunFailedError(text.format(model=model, reason=reason or "?", said=said), remedy_of(reason))


def _refuse_what_means_nothing(called: typer.Context, local: bool, files: list[str]) -> None:
    """Raise UsageError for options that would be ignored where the model is tested."""
    if files and not local:
        raise UsageError(_("-f is for --local"), _("on a cluster: kubectl apply -f {file}").format(file=files[0]))
    if local and (given := given_options(called, _OF_A_CLUSTER)):
        raise UsageError(
            _("{options}: of a cluster, and --local asks none").format(options=", ".join(given)),
            _("leave these out, or --local"),
        )


def _on_cluster(
    body: dict[str, Any], where: tuple[str | None, str | None, str | None], timeout: int, keep: bool, output: Format
) -> RunView:
    from vidbench_cli.cluster import RUNS, Cluster, Where

    namespace, context, kubeconfig = where
    cluster = Cluster(Where(kubeconfig, context, namespace))
    _require_model(cluster, body["spec"]["models"][0]["name"])
    stored = cluster.create(RUNS, body)
    name, uid = stored["metadata"]["name"], stored["metadata"]["uid"]
    try:
        return _wait(cluster, name, timeout, output)
    finally:
        if not keep:
            _delete(cluster, name, uid)


def _require_model(cluster: Cluster, name: str) -> None:
    """Refuse a model that nobody knows: its run would only wait for somebody to make it. Raises UsageError."""
    from difflib import get_close_matches

    from vidbench_api.catalogue import CATALOGUE
    from vidbench_cli.cluster import MODELS

    if name in CATALOGUE:
        return
    try:
        own = [str(body["metadata"]["name"]) for body in cluster.find(MODELS)]
    except ClusterAwayError:
        raise
    except ClusterError:
        return
    if name in own:
        return
    near = get_close_matches(name, [*own, *CATALOGUE], n=3)
    raise UsageError(
        _("there is no model {name!r}, neither in the catalogue nor as a VideoModel of namespace {namespace!r}").format(
            name=name, namespace=cluster.namespace
        ),
        _("did you mean {names}?").format(names=_(" or ").join(near)) if near else "vidbench list-models",
    )


def _here(body: dict[str, Any], files: list[str], keep: bool) -> RunView:
    """Measure with a runner's process on this machine; kept is it below ./vidbench-runs."""
    import tempfile
    from pathlib import Path

    from vidbench_cli.local.display import Screen
    from vidbench_cli.local.session import LocalOptions, run_locally
    from vidbench_cli.manifest_files import read_objects

    with tempfile.TemporaryDirectory(prefix="vidbench-") as folder, Screen() as screen:
        options = LocalOptions((*read_objects(files), body), directory=None if keep else Path(folder) / "run")
        outcome = run_locally(options, screen)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome.view


def _labels(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UsageError(
                _("--node-selector {text!r} is no KEY=VALUE").format(text=text),
                _("e.g. nvidia.com/gpu.product=NVIDIA-L40S"),
            )
        labels[key] = value
    return labels


def _wait(cluster: Cluster, name: str, seconds: int, output: Format) -> RunView:
    """Wait for the run's end, telling what it waits for; raises ClusterError if no operator takes it up."""
    from vidbench_cli.cluster import ask_patiently
    from vidbench_cli.runs import RunReader

    reader = RunReader(cluster, name)
    console = make_console(stderr=True) if output.for_people else None
    began, told = time.monotonic(), ""
    while True:
        view = ask_patiently(reader.read)
        if view.ended:
            return view
        said = view.status.message or ""
        if console is not None and said and said != told:
            console.print(printable(said), style="dim")
            told = said
        waited = time.monotonic() - began
        if waited > OPERATOR_SECONDS and view.status.phase is None:
            raise ClusterError(
                _("no operator has looked at the run for {seconds:.0f} s").format(seconds=waited),
                "vidbench health-check",
            )
        if waited > seconds + OPERATOR_SECONDS:
            raise ClusterError(
                _("the run has not ended {seconds:.0f} s after its time was over").format(seconds=waited - seconds),
                "vidbench health-check",
            )
        time.sleep(POLL_SECONDS)


def _delete(cluster: Cluster, name: str, uid: str) -> None:
    """Delete the run; that it may not be deleted must not hide what it found."""
    from vidbench_cli.cluster import RUNS

    try:
        cluster.delete(RUNS, name, uid=uid)
    except ClusterError as error:
        make_console(stderr=True).print(
            printable(_("run {name} is still there: {error}").format(name=name, error=error.message)), style="yellow"
        )


def _kept(name: str, keep: bool) -> list[Line]:
    return (
        [Line(_("the run is kept: vidbench describe {name}; kubectl delete br {name}").format(name=name), "dim")]
        if keep
        else []
    )


def _reason(view: RunView) -> str | None:
    """Return why a run without rows ended: its Failed condition's reason."""
    return next(
        (entry.reason for entry in view.status.conditions if entry.type == "Failed" and entry.status == "True"), None
    )
