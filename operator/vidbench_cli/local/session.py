"""Measures a run on this machine from a manifest to its end, or goes on where an earlier session was interrupted.

The operator's reconciler decides; `World` lets it. Shows nothing: a `Watcher` is told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final, Protocol

import yaml

from vidbench_api.catalogue import CATALOGUE
from vidbench_api.kinds import VideoModelSpec
from vidbench_cli.errors import CommandError, UsageError
from vidbench_cli.manifest_files import read_objects
from vidbench_cli.runs import RunView
from vidbench_cli.texts import _
from vidbench_operator.core.observed import References
from vidbench_operator.core.plan import EmitEvent
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal
from vidbench_operator.ports import RunKey
from vidbench_operator.reconciler import Reconciler

from .documents import Documents, class_of, documents_of
from .files import BusyError, DamagedError, Object, RunDirectory, replace_file
from .fitting import fit, image_of, local_class
from .folders import Mount, found_models
from .machine import Machine, find_machine
from .world import Surroundings, World, from_object, new_run, results_in, view_of

LOOK_SECONDS: Final = 0.2
_ALWAYS_NEEDED: Final = ("psutil", "numpy", "fsspec", "cv2")
_NEEDED_FOR_MODELS: Final = ("torch", "diffusers", "transformers", "accelerate")
_LIBRARIES: Final = ("vidbench", "torch", "diffusers", "transformers")


class Watcher(Protocol):
    """Who is told what happens."""

    def note(self, text: str) -> None:
        """Hear what people should know before it begins."""
        ...

    def event(self, event: EmitEvent) -> None:
        """Hear what the operator would say by an Event."""
        ...

    def look(self, world: World) -> None:
        """See how things stand; called a few times a second."""
        ...


@dataclass(frozen=True)
class LocalOptions:
    """What the command line says."""

    bodies: tuple[Object, ...]
    """The objects of the manifest."""

    directory: Path | None = None
    parallel: int = 1
    runner_class: str | None = None
    """File of a RunnerClass."""

    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True)
class Here:
    """What a session finds when it begins."""

    machine: Machine
    environment: Mapping[str, str]
    away_since: float
    """When somebody worked on the directory last, in seconds since the epoch."""


@dataclass(frozen=True)
class LocalOutcome:
    """A run as it is when a session is over."""

    view: RunView
    directory: RunDirectory
    interrupted: bool = False


def read_directory(path: Path) -> RunView:
    """Read a run with its results from a directory; writes nothing.

    Raises:
        UsageError: there is no run in it, or a file that cannot be read.
    """
    directory = RunDirectory(path)
    try:
        body = directory.read_run()
        if body is None:
            raise UsageError(
                _("{path} holds no local run").format(path=path),
                _("Give the directory that `vidbench benchmark --local` named, e.g. ./vidbench-runs/NAME."),
            )
        return view_of(from_object(body), results_in(directory))
    except DamagedError as error:
        raise _damaged(path, error) from error


def run_locally(
    options: LocalOptions,
    watcher: Watcher,
    environment: Mapping[str, str] = os.environ,
    machine: Machine | None = None,
) -> LocalOutcome:
    """Measure what is not measured yet; returns the run as it is at its end, or when it was interrupted.

    Without a `machine`, this one is looked at.

    Raises:
        UsageError: the manifest, the directory or this installation is not what it has to be.
    """
    documents = documents_of(options.bodies)
    path = options.directory or Path("vidbench-runs") / documents.name
    directory = RunDirectory(path)
    try:
        with directory.held():
            away_since = directory.last_sign_of_life()
            directory.sign()
            here = Here(machine or find_machine(environment), environment, away_since)
            return _run_in(directory, documents, options, watcher, here)
    except BusyError as error:
        raise UsageError(
            _("{path} is being worked on by process {pid}").format(path=path, pid=error),
            _("Wait for it, or give another --directory."),
        ) from error
    except DamagedError as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise CommandError(
            _("cannot go on: {error}").format(error=error),
            _("Once that is right, run the same command again: what is finished is kept."),
        ) from error


def _run_in(
    directory: RunDirectory,
    documents: Documents,
    options: LocalOptions,
    watcher: Watcher,
    here: Here,
) -> LocalOutcome:
    stored = directory.read_run()
    if stored is not None:
        _check_same(directory, options.bodies)
        if is_terminal(from_object(stored).status):
            watcher.note(_("this run has ended before; {path} shows what it found").format(path=directory.path))
            return LocalOutcome(read_directory(directory.path), directory)
    used = _used_models(documents)
    check_installed(used)
    if documents.spec.suspend:
        raise UsageError(_("spec.suspend is true: nothing would be measured"), _("Set it to false, or leave it out."))
    fitted = fit(documents.spec, here.machine, options.parallel)
    for note in fitted.notes:
        watcher.note(note)
    made = directory.path.parent / "models"
    models = found_models(documents.models, documents.presets, options.mounts, made, watcher.note)
    references = _references(documents, models, options, here)
    if stored is None:
        replace_file(directory.manifest, yaml.safe_dump_all(options.bodies, sort_keys=False, allow_unicode=True))
    world = World(
        directory,
        new_run(documents.name, fitted.spec, time.time()) if stored is None else from_object(stored),
        Surroundings(here.machine, references, here.environment),
        watcher.event,
    )
    world.resume(options.parallel, here.away_since if stored is not None else None)
    interrupted = asyncio.run(_play(world, watcher))
    return LocalOutcome(read_directory(directory.path), directory, interrupted)


async def _play(world: World, watcher: Watcher) -> bool:
    """Let reconciler and machine take turns until the run has ended; returns whether it was interrupted before."""
    reconciler = Reconciler(world, world, CATALOGUE, Policy())
    key = RunKey(world.run.namespace, world.run.name)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    due, changed = 0.0, True
    try:
        while not stop.is_set():
            changed = world.tick() or changed
            if changed or world.now() >= due:
                wait = await reconciler.reconcile(key)
                due = world.now() + (wait if wait is not None else float("inf"))
                changed = world.tick()
            watcher.look(world)
            if is_terminal(world.run.status) and not world.running:
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
        await _leave(world, watcher, stop)
        return True
    finally:
        world.kill_all()


async def _leave(world: World, watcher: Watcher, stop: asyncio.Event) -> None:
    """Let the runners end; a second interrupt does not wait for them."""
    stop.clear()
    world.stop_all()
    watcher.note(_("interrupted: the runners are told to stop; once more ends them at once"))
    while world.running and not stop.is_set():
        world.tick()
        watcher.look(world)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_SECONDS)


def check_installed(models: list[VideoModelSpec]) -> None:
    """Raise UsageError if the libraries of a runner are not installed; a service and a mock need few of them."""
    loads = any(model.source.http is None and model.source.mock is None for model in models)
    needed = _ALWAYS_NEEDED + (_NEEDED_FOR_MODELS if loads else ())
    missing = [name for name in ("vidbench_runner", *needed) if util.find_spec(name) is None]
    if missing:
        raise UsageError(
            _("measuring on this machine takes libraries that are not installed: {names}").format(
                names=", ".join(missing)
            ),
            _("pip install 'vidbench[cli,runner]'"),
        )


def _used_models(documents: Documents) -> list[VideoModelSpec]:
    names = [model.model_ref.name if model.model_ref else model.name for model in documents.spec.models]
    known = {**CATALOGUE, **documents.models}
    return [known[name] for name in names if name in known]


def _references(
    documents: Documents,
    models: dict[str, VideoModelSpec],
    options: LocalOptions,
    here: Here,
) -> References:
    name = documents.spec.runner_class_name
    if options.runner_class is not None:
        runner_class = class_of(read_objects([options.runner_class]), options.runner_class, name)
    elif name in documents.classes:
        runner_class = documents.classes[name]
    else:
        own = here.environment.get("OMP_NUM_THREADS", "")
        threads = int(own) if own.isdigit() and int(own) else max(1, here.machine.cpus // options.parallel)
        runner_class = local_class(here.machine, image_of(_versions()), threads, _used_models(documents))
    return References(runner_class, models)


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _check_same(directory: RunDirectory, bodies: Sequence[Object]) -> None:
    """Raise UsageError if the directory's run came from a manifest that says something else, or has none any more."""
    if not directory.manifest.exists():
        raise _damaged(directory.path, FileNotFoundError(_("{file} is missing").format(file=directory.manifest.name)))
    if read_objects([str(directory.manifest)]) != list(bodies):
        raise UsageError(
            _("{path} holds a run of another manifest ({file})").format(path=directory.path, file=directory.manifest),
            _("give the run another name, or --directory another place: a run that was begun cannot be changed"),
        )


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(
        _("{path} is damaged: {error}").format(path=path, error=error),
        _("Give another --directory; what this one holds stays as it is."),
    )
