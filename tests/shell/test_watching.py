"""Kopf as it is, on an emulated API server: what it asks for, what it writes (nothing), and what its death costs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import kmock
import pytest
import yaml
from support.builders import observed_run
from support.raw_objects import ended_pod, raw_job, raw_node, raw_pod, raw_run

from vidbench_api.names import LABEL_RUN
from vidbench_operator.adapters.projections import RunHead
from vidbench_operator.core.observed import ObservedRun
from vidbench_operator.ports import RunKey
from vidbench_operator.shell.children import ChildStore, Listed
from vidbench_operator.shell.handlers import LIST_CHUNK, make_registry, make_settings
from vidbench_operator.shell.intake import Intake
from vidbench_operator.shell.mailbox import Mailbox
from vidbench_operator.shell.supervision import keep_alive
from vidbench_operator.shell.watching import Watches, WatchesEndedError

KOPF_WAITS_SECONDS = 5.0
"""For its streams, before it ends by itself."""

KEY = RunKey("team", "nightly")
RUN: ObservedRun = observed_run(namespace="team", name="nightly")
PODS = "/api/v1/namespaces/team/pods"
JOBS = "/apis/batch/v1/namespaces/team/jobs"
RUNS = "/apis/vidbench.io/v1alpha1/namespaces/team/benchmarkruns"

RESOURCES = {
    "v1/namespaces": ("Namespace", False),
    "v1/pods": ("Pod", True),
    "v1/nodes": ("Node", False),
    "batch/v1/jobs": ("Job", True),
    "apiextensions.k8s.io/v1/customresourcedefinitions": ("CustomResourceDefinition", False),
    "vidbench.io/v1alpha1/benchmarkruns": ("BenchmarkRun", True),
    "vidbench.io/v1alpha1/videomodels": ("VideoModel", True),
    "vidbench.io/v1alpha1/runnerclasses": ("RunnerClass", False),
    "vidbench.io/v1alpha1/benchmarkresults": ("BenchmarkResult", True),
}


class RecordingQueue:
    """Remembers which runs a pass was asked for."""

    def __init__(self) -> None:
        self.added: list[RunKey] = []

    def add(self, key: RunKey) -> None:
        self.added.append(key)


class Scene:
    """An emulated API server, and Kopf watching it for a store."""

    def __init__(self, emulator: kmock.KubernetesEmulator, namespaces: tuple[str, ...] = ()) -> None:
        self.emulator = emulator
        self.store = ChildStore()
        self.queue = RecordingQueue()
        self.lives = 0
        self.relists = 0
        self.namespaces = namespaces
        self.task: asyncio.Task[None] | None = None

    async def live_once(self) -> None:
        """Watch until Kopf ends."""
        self.lives += 1
        loop = asyncio.get_running_loop()
        intake = Intake(self.store, self.queue, Mailbox(loop.call_soon_threadsafe), self._relisted)
        await Watches(make_registry(intake, nodes=True), make_settings(), self.namespaces).run()

    def _relisted(self) -> None:
        self.relists += 1

    async def start(self) -> None:
        """Watch, restarted if it dies, and wait until every kind is watched."""
        self.task = asyncio.create_task(keep_alive("watches", self.live_once))
        await self.wait_until(lambda: self.watches() >= 6)

    def watches(self) -> int:
        """How many watches were begun."""
        return sum(request.params.get("watch") == "true" for request in self.emulator)

    async def wait_until(self, holds: Callable[[], object], seconds: float = 20.0) -> float:
        """Wait until something holds; returns the seconds that it took."""
        started = time.monotonic()
        while not holds():
            assert time.monotonic() - started < seconds
            await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def create(self, path: str, raw: dict[str, Any]) -> None:
        async with self.emulator.post(path, json=raw) as response:
            assert response.status == 200

    async def delete(self, path: str, name: str) -> None:
        async with self.emulator.delete(f"{path}/{name}") as response:
            assert response.status == 200

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])


@pytest.fixture
async def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[kmock.KubernetesEmulator]:
    async with kmock.KubernetesEmulator() as handler, kmock.Server(handler) as server:
        for name, (kind, namespaced) in RESOURCES.items():
            handler.resources[name] = {
                "kind": kind, "singular": kind.lower(), "namespaced": namespaced,
                "verbs": {"get", "list", "watch"}, "shortnames": set(), "categories": set(), "subresources": set(),
            }  # fmt: skip
        monkeypatch.setenv("KUBECONFIG", str(_write_kubeconfig(tmp_path, str(server.url))))
        yield handler


@pytest.fixture
async def scene(emulator: kmock.KubernetesEmulator) -> AsyncIterator[Scene]:
    scene = Scene(emulator)
    yield scene
    await scene.stop()


def _write_kubeconfig(directory: Path, server: str) -> Path:
    path = directory / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": server}}],
                "users": [{"name": "test", "user": {"token": "test"}}],
            }
        )
    )
    return path


async def test_watches_show_what_there_is_and_write_nothing(scene: Scene) -> None:
    await scene.create(RUNS, raw_run())
    await scene.create(JOBS, raw_job())
    await scene.create(PODS, raw_pod())
    await scene.create("/api/v1/nodes", raw_node())
    written = len(list(scene.emulator))
    await scene.start()
    # Each kind has a watch of its own, and a Job may be heard of before its run.
    await scene.wait_until(lambda: scene.store.jobs_of(RUN) and scene.store.pods_of(RUN) and scene.store.phases())
    assert set(scene.queue.added) == {KEY}
    assert scene.store.phases() == {"Pending": 1}
    assert scene.relists >= 1
    await asyncio.sleep(1.0)
    assert {request.method.value for request in list(scene.emulator)[written:]} == {"GET"}


async def test_watches_begin_for_a_user_without_a_name(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container runs as a number that no password file knows."""
    monkeypatch.setattr("getpass.getuser", Mock(side_effect=KeyError("getpwuid(): uid not found: 65532")))
    await scene.start()
    assert scene.lives == 1


async def test_watches_ask_the_server_for_labelled_children_only_and_in_chunks(scene: Scene) -> None:
    await scene.start()
    for request in scene.emulator:
        if request.resource is None or request.resource.plural not in ("jobs", "pods"):
            continue
        assert request.params["labelSelector"] == LABEL_RUN
        assert request.params.get("limit") == str(LIST_CHUNK) or request.params.get("watch") == "true"


async def test_watches_leave_namespaces_and_definitions_alone(scene: Scene) -> None:
    """Kopf's own scanning would need rights on both."""
    await scene.start()
    plurals = {request.resource.plural for request in scene.emulator if request.resource and request.resource.plural}
    assert plurals == {"benchmarkruns", "jobs", "pods", "videomodels", "runnerclasses", "nodes"}


async def test_verdict_is_taken_out_of_the_event_of_a_pods_deletion(scene: Scene) -> None:
    """What the kubelet wrote last is in no list any more."""
    await scene.start()
    pod = ended_pod(message="the verdict")
    await scene.create(PODS, pod)
    await scene.delete(PODS, pod["metadata"]["name"])
    await scene.wait_until(lambda: any(entry.gone for entry in scene.store.pods_of(RUN)))
    [remembered] = scene.store.pods_of(RUN)
    assert (remembered.message, remembered.exit_code, remembered.gone) == ("the verdict", 0, True)
    assert scene.queue.added[-1] == KEY


async def test_broken_objects_do_not_stop_the_watches(scene: Scene) -> None:
    await scene.start()
    broken = raw_pod("broken")
    broken["status"] = {"containerStatuses": "nonsense", "conditions": 7}
    broken["metadata"]["annotations"] = {"vidbench.io/request-digest": "\u0000"}
    await scene.create(PODS, broken)
    await scene.create(JOBS, raw_job("nightly-nonsense") | {"status": []})
    await scene.create(RUNS, raw_run("broken") | {"spec": "nonsense", "status": 3})
    await scene.create(PODS, ended_pod("good"))
    await scene.wait_until(lambda: any(entry.uid == "good" for entry in scene.store.pods_of(RUN)))
    await scene.wait_until(lambda: RunKey("team", "broken") in scene.queue.added)
    assert scene.lives == 1


async def test_change_of_a_class_wakes_the_runs_that_wait(scene: Scene) -> None:
    await scene.start()
    scene.store.put_run(KEY, RunHead("u", 1, deleting=False, accepted=False, phase="Pending"))
    scene.store.put_run(RunKey("team", "running"), RunHead("v", 1, deleting=False, accepted=True, phase="Running"))
    await scene.create(
        "/apis/vidbench.io/v1alpha1/runnerclasses", {"metadata": {"name": "gpu", "uid": "c"}, "spec": {"image": "r"}}
    )
    await scene.wait_until(lambda: scene.queue.added)
    assert scene.queue.added == [KEY]


async def test_death_of_kopf_is_not_waited_out_and_forgets_no_verdict(scene: Scene) -> None:
    """An error in the stream that is not 410 ends Kopf as a whole. How soon a dead task is restarted: test_background.py."""
    await scene.start()
    pod = ended_pod(message="the verdict")
    await scene.create(PODS, pod)
    await scene.delete(PODS, pod["metadata"]["name"])
    await scene.wait_until(lambda: any(entry.gone for entry in scene.store.pods_of(RUN)))
    before = scene.watches()
    error = {"kind": "Status", "code": 500, "message": "etcd is away", "metadata": {"namespace": "team", "name": "x"}}
    await scene.emulator._buses[kmock.resource("v1/pods")].put({"type": "ERROR", "object": error})
    seconds = await scene.wait_until(lambda: scene.lives == 2)
    assert seconds < KOPF_WAITS_SECONDS
    await scene.wait_until(lambda: scene.watches() >= before + 6)
    await scene.wait_until(lambda: len([thread for thread in threading.enumerate() if thread.name == "watches"]) == 1)
    assert [entry.message for entry in scene.store.pods_of(RUN)] == ["the verdict"]
    await scene.create(PODS, ended_pod("after"))
    await scene.wait_until(lambda: any(entry.uid == "after" for entry in scene.store.pods_of(RUN)))


async def test_watches_that_end_by_themselves_say_so(emulator: kmock.KubernetesEmulator) -> None:
    scene = Scene(emulator)
    life = asyncio.create_task(scene.live_once())
    await scene.wait_until(lambda: scene.watches() >= 6)
    error = {"kind": "Status", "code": 500, "metadata": {"namespace": "team", "name": "x"}}
    await emulator._buses[kmock.resource("v1/pods")].put({"type": "ERROR", "object": error})
    with pytest.raises(WatchesEndedError, match="500"):
        await life


async def test_deletions_in_a_gap_of_the_watch_are_found_by_a_sweep(scene: Scene) -> None:
    await scene.create(JOBS, raw_job())
    await scene.create(PODS, raw_pod())
    await scene.start()
    await scene.wait_until(lambda: scene.store.jobs_of(RUN) and scene.store.pods_of(RUN))
    mark = scene.store.begin_sweep()
    changed = scene.store.finish_sweep(mark, Listed(frozenset({KEY}), [], [], {}))
    assert changed == {KEY}
    assert scene.store.jobs_of(RUN) == ()
    assert [pod.gone for pod in scene.store.pods_of(RUN)] == [True]
    assert scene.store.unconfirmed == 2
