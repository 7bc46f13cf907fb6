"""The heartbeat in virtual time: what it asks, how soon it sees, and what it sets off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.virtual_time import in_virtual_time

from vidbench_operator.ports import Unavailable
from vidbench_operator.shell.heartbeat import Heartbeat


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as entries:
        yield entries


class Scene:
    """A server that answers, refuses or hangs, and watches that know so many runs."""

    def __init__(self) -> None:
        self.mode = "answers"
        self.runs = self.known = 2
        self.asked = 0
        self.looks: list[float] = []
        self.beginnings: list[float] = []
        loop = asyncio.get_running_loop()
        self.heart = Heartbeat(
            self.count,
            lambda: self.known,
            period_seconds=1.0,
            look=lambda: self.looks.append(loop.time()),
            begin_anew=lambda: self.beginnings.append(loop.time()),
        )
        self.task = asyncio.create_task(self.heart.run())

    async def count(self) -> int:
        self.asked += 1
        if self.mode == "hangs":
            await asyncio.Event().wait()
        if self.mode == "refuses":
            raise Unavailable("nobody there")
        return self.runs

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@in_virtual_time
async def test_healthy_server_is_asked_once_a_second_and_nothing_is_done() -> None:
    scene = Scene()
    await asyncio.sleep(100)
    assert 95 <= scene.asked <= 101
    assert scene.looks == scene.beginnings == []
    await scene.stop()


@in_virtual_time
async def test_server_that_refused_is_looked_at_within_a_second_of_its_return() -> None:
    scene = Scene()
    await asyncio.sleep(5)
    scene.mode = "refuses"
    await asyncio.sleep(20)
    scene.mode = "answers"
    back = asyncio.get_running_loop().time()
    await asyncio.sleep(5)
    [look] = scene.looks
    assert look - back < 1.0
    assert scene.beginnings == []
    await scene.stop()


@in_virtual_time
async def test_half_open_connections_are_given_up_within_two_seconds_of_the_return() -> None:
    scene = Scene()
    await asyncio.sleep(5)
    scene.mode = "hangs"
    await asyncio.sleep(20)
    scene.mode = "answers"
    back = asyncio.get_running_loop().time()
    await asyncio.sleep(5)
    [begun] = scene.beginnings
    assert begun - back < 2.0
    assert scene.looks == [begun]
    await scene.stop()


@in_virtual_time
async def test_deaf_watches_are_found_within_two_seconds() -> None:
    scene = Scene()
    await asyncio.sleep(5.5)
    scene.runs = 3
    changed = asyncio.get_running_loop().time()
    await asyncio.sleep(10)
    [begun] = scene.beginnings
    assert begun - changed < 2.0
    await scene.stop()


@in_virtual_time
async def test_watches_that_hear_are_let_be() -> None:
    scene = Scene()
    await asyncio.sleep(5)
    scene.runs = 50
    for _ in range(47):
        await asyncio.sleep(0.2)
        scene.heart.hear()
        scene.known += 1
    scene.known = 50
    await asyncio.sleep(5)
    assert scene.beginnings == []
    await scene.stop()
