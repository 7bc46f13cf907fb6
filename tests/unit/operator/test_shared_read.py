"""One read for many, never an old answer, and no failure for others."""

from __future__ import annotations

import asyncio

import pytest

from vidbench_operator.adapters.shared_read import SharedRead


class Source:
    """Counts reads; answers when it is let."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads: list[str] = []
        self.free = asyncio.Event()
        self.free.set()
        self.fails = False
        self.shared = SharedRead(self._read, 3.0, lambda: self.now)

    async def _read(self, key: str) -> int:
        self.reads.append(key)
        await self.free.wait()
        if self.fails:
            raise OSError(key)
        return len(self.reads)


async def test_who_asks_within_seconds_gets_the_same_answer() -> None:
    source = Source()
    assert await source.shared.get("a") == 1
    source.now += 3.0
    assert await source.shared.get("a") == 1
    source.now += 0.1
    assert await source.shared.get("a") == 2
    assert await source.shared.get("b") == 3
    assert source.reads == ["a", "a", "b"]


async def test_many_who_ask_at_once_share_one_read() -> None:
    source = Source()
    source.free.clear()
    asking = [asyncio.create_task(source.shared.get("a")) for _ in range(5)]
    await asyncio.sleep(0)
    source.free.set()
    assert await asyncio.gather(*asking) == [1] * 5
    assert source.reads == ["a"]


async def test_an_answer_is_as_old_as_the_beginning_of_its_read() -> None:
    source = Source()
    source.free.clear()
    asking = asyncio.create_task(source.shared.get("a"))
    await asyncio.sleep(0)
    source.now += 4.0
    source.free.set()
    await asking
    assert await source.shared.get("a") == 2, "what happened after the first read began may be missing in it"


async def test_a_read_that_fails_is_tried_again_by_the_next() -> None:
    source = Source()
    source.fails = True
    with pytest.raises(OSError, match="a"):
        await source.shared.get("a")
    source.fails = False
    assert await source.shared.get("a") == 2


async def test_keys_that_nobody_asks_for_take_no_memory() -> None:
    source = Source()
    for number in range(10):
        await source.shared.get(str(number))
        source.now += 10.0
    await source.shared.get("last")
    assert len(source.shared._slots) == 1
