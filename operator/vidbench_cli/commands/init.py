"""`vidbench init`: write a manifest to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidbench_cli.errors import UsageError
from vidbench_cli.texts import _

if TYPE_CHECKING:
    from collections.abc import Sequence


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=_("Write a commented run.yaml for chosen models and hardware."))(init)


def init(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help=_("Model: a catalogue entry or a VideoModel. Repeatable. Default: tiny-wan.")
        ),
    ] = None,
    gpus: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="PRODUCT",
            help=_("Node label nvidia.com/gpu.product, e.g. NVIDIA-H100-80GB-HBM3. Repeatable."),
        ),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help=_("Measure on the CPU."))] = False,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help=_("The models' configuration without their weights: no download."))
    ] = False,
    name: Annotated[str | None, typer.Option(help=_("Name of the run. Default: the first model's."))] = None,
    runner_class: Annotated[
        str | None, typer.Option(help=_("RunnerClass. Default: `default`, with --cpu alone `cpu`."))
    ] = None,
    shards: Annotated[int, typer.Option(min=1, max=64, help=_("Processes a cell."))] = 3,
    seeds: Annotated[int, typer.Option(min=1, max=64, help=_("Samples a shard."))] = 5,
    file: Annotated[
        str, typer.Option("--filename", "-f", metavar="FILE", help=_("Where to; `-`: standard output."))
    ] = "run.yaml",
    force: Annotated[bool, typer.Option("--force", help=_("Write over a file."))] = False,
) -> None:
    """Write a manifest."""
    from vidbench_cli.checking import check_schemas
    from vidbench_cli.first_run import Choices, default_name, first_run
    from vidbench_cli.manifest_files import STANDARD_INPUT, parse_objects

    chosen = models or ["tiny-wan"]
    # Models that are for a look at the whole need no GPU.
    on_cpu = cpu or (not gpus and all(_is_small(entry) for entry in chosen))
    own = [entry for entry in chosen if not _in_catalogue(entry)]
    choices = Choices(
        name=name or default_name(chosen),
        models=tuple(dict.fromkeys(chosen)),
        gpus=tuple(dict.fromkeys(gpus or ())),
        cpu=on_cpu,
        random_weights=random_weights,
        runner_class=runner_class or ("cpu" if on_cpu and not gpus else "default"),
        shards=shards,
        seeds=seeds,
    )
    text = first_run(choices)
    wrong = check_schemas(parse_objects(text, file))
    if wrong:
        raise UsageError(
            _("such a run would be refused: {field}: {message}").format(field=wrong[0].field, message=wrong[0].message),
            wrong[0].remedy,
        )
    if file == STANDARD_INPUT:
        typer.echo(text, nl=False)
        return
    _write(Path(file), text, force)
    typer.echo(
        _("{file} is written. Next: vidbench validate -f {file}; vidbench plan -f {file}").format(file=file), err=True
    )
    for entry in own:
        typer.echo(
            _("{model} is not in the catalogue: the namespace needs a VideoModel of that name").format(model=entry),
            err=True,
        )


def _is_small(name: str) -> bool:
    """Whether it is an entry of the catalogue that is made in the pod, or none that computes."""
    from vidbench_api.catalogue import CATALOGUE

    source = CATALOGUE[name].source if name in CATALOGUE else None
    return source is not None and (source.tiny is not None or source.mock is not None)


def _in_catalogue(name: str) -> bool:
    """Whether a run may name this entry of the catalogue; False for a name that is none. Raises UsageError."""
    from difflib import get_close_matches

    from vidbench_api.catalogue import CATALOGUE, NOT_RUNNABLE

    if name in CATALOGUE:
        return True
    if name in NOT_RUNNABLE:
        raise UsageError(
            _("nothing runs {model} here: {why}").format(model=name, why=NOT_RUNNABLE[name]),
            _("vidbench list-models --runnable shows what does"),
        )
    near: Sequence[str] = get_close_matches(name, CATALOGUE, n=3, cutoff=0.75)
    if near:
        typer.echo(_("did you mean {names}?").format(names=", ".join(near)), err=True)
    return False


def _write(path: Path, text: str, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(
            _("{file} is there already").format(file=path), _("--force writes over it; -f names another one")
        ) from error
    except OSError as error:
        raise UsageError(
            _("{file} cannot be written: {error}").format(file=path, error=error.strerror or error)
        ) from error
