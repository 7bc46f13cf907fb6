"""Measures a run on this machine from a manifest to its end, or goes on where an earlier session was interrupted.

The operator's reconciler decides; `World` lets it. Shows nothing: a `Watcher` is told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path
from typing import Final, Protocol

import yaml

from vidbench_api.catalogue import CATALOGUE
from vidbench_api.kinds import VideoModelSpec
from vidbench_api.result import BenchmarkResultSpec
from vidbench_cli.errors import CommandError, UsageError
from vidbench_cli.texts import _
from vidbench_operator.core.observed import ObservedRun, References
from vidbench_operator.core.plan import EmitEvent
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal
from vidbench_operator.ports import RunKey
from vidbench_operator.reconciler import Reconciler

from .documents import Documents, read_class, read_documents
from .files import BusyError, DamagedError, Object, RunDirectory, replace_file
from .fitting import fit, image_of, local_class
from .folders import Mount, found_models
from .machine import Machine, find_machine
from .world import Surroundings, World, from_object, new_run, to_object

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

    manifest: Path
    directory: Path | None = None
    parallel: int = 1
    runner_class: Path | None = None
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True)
class LocalRun:
    """A local run as its directory holds it."""

    directory: Path
    run: ObservedRun
    results: tuple[BenchmarkResultSpec, ...]
    objects: tuple[Object, ...]
    """The BenchmarkResults as objects, in the order of their names."""

    interrupted: bool = False

    @property
    def run_object(self) -> Object:
        """Return the BenchmarkRun as an object."""
        return to_object(self.run)


def read_directory(path: Path) -> LocalRun:
    """Read a run and its results from a directory; writes nothing.

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
        objects = directory.read_results()
        results = tuple(BenchmarkResultSpec.model_validate(entry["spec"]) for entry in objects.values())
        return LocalRun(directory.path, from_object(body), results, tuple(objects.values()))
    except (DamagedError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def run_locally(options: LocalOptions, watcher: Watcher, environment: Mapping[str, str] = os.environ) -> LocalRun:
    """Measure what is not measured yet; returns the run as it is at its end, or when it was interrupted.

    Raises:
        UsageError: the manifest, the directory or this installation is not what it has to be.
    """
    text = _read_text(options.manifest)
    documents = read_documents(text, str(options.manifest))
    path = options.directory or Path("vidbench-runs") / documents.name
    directory = RunDirectory(path)
    try:
        with directory.held():
            away_since = directory.last_sign_of_life()
            directory.sign()
            return _run_in(directory, documents, text, options, watcher, environment, away_since)
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
    text: str,
    options: LocalOptions,
    watcher: Watcher,
    environment: Mapping[str, str],
    away_since: float,
) -> LocalRun:
    machine = find_machine(environment)
    stored = directory.read_run()
    if stored is not None:
        _check_same(directory, text)
        if is_terminal(from_object(stored).status):
            watcher.note(_("this run has ended before; {path} shows what it found").format(path=directory.path))
            return read_directory(directory.path)
    used = _used_models(documents)
    check_installed(used)
    if documents.spec.suspend:
        raise UsageError(_("spec.suspend is true: nothing would be measured"), _("Set it to false, or leave it out."))
    fitted = fit(documents.spec, machine, options.parallel)
    models, notes = found_models(documents.models, documents.presets, options.mounts, directory.path.parent / "models")
    for note in (*fitted.notes, *notes):
        watcher.note(note)
    references = _references(documents, models, options, machine, environment)
    if stored is None:
        replace_file(directory.manifest, text)
    world = World(
        directory,
        new_run(documents.name, fitted.spec, away_since) if stored is None else from_object(stored),
        Surroundings(machine, references, environment),
        watcher.event,
    )
    world.resume(options.parallel, away_since if stored is not None else None)
    interrupted = asyncio.run(_play(world, watcher))
    return replace(read_directory(directory.path), interrupted=interrupted)


async def _play(world: World, watcher: Watcher) -> bool:
    """Let reconciler and machine take turns until the run has ended; returns whether it was interrupted before."""
    reconciler = Reconciler(world, world, CATALOGUE, Policy())
    key = RunKey(world.run.namespace, world.run.name)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    due = 0.0
    try:
        while not stop.is_set():
            if world.tick() or world.now() >= due:
                wait = await reconciler.reconcile(key)
                due = world.now() + (wait if wait is not None else float("inf"))
                world.tick()
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
    machine: Machine,
    environment: Mapping[str, str],
) -> References:
    name = documents.spec.runner_class_name
    if options.runner_class is not None:
        runner_class = read_class(_read_text(options.runner_class), str(options.runner_class), name)
    elif name in documents.classes:
        runner_class = documents.classes[name]
    else:
        own = environment.get("OMP_NUM_THREADS", "")
        threads = int(own) if own.isdigit() and int(own) else max(1, machine.cpus // options.parallel)
        runner_class = local_class(machine, image_of(_versions()), threads, _used_models(documents))
    return References(runner_class, models)


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _check_same(directory: RunDirectory, text: str) -> None:
    """Raise UsageError if the directory's run came from a manifest that says something else."""
    before = list(yaml.safe_load_all(directory.manifest.read_text(encoding="utf-8")))
    if before != list(yaml.safe_load_all(text)):
        raise UsageError(
            _("{path} holds a run of another manifest ({file})").format(path=directory.path, file=directory.manifest),
            _("Give the run another name, or --directory another place; a run that was begun cannot be changed."),
        )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(_("{path} cannot be read: {error}").format(path=path, error=error)) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(
        _("{path} is damaged: {error}").format(path=path, error=error),
        _("Give another --directory; what this one holds stays as it is."),
    )
