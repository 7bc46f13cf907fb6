"""What waits between the watching thread and the loop: bounded, in order, and nothing final is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from vidbench_operator.shell.mailbox import BATCH, Mailbox


class HeldUpLoop:
    """A loop that runs what was posted only when it is let go."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []
        self.turns = 0

    def post(self, function: Callable[[], None]) -> None:
        self.posted.append(function)

    def go(self) -> None:
        while self.posted:
            self.turns += 1
            self.posted.pop(0)()


@pytest.fixture
def loop() -> Iterator[HeldUpLoop]:
    return HeldUpLoop()


def test_loop_that_is_held_up_finds_one_message_an_object(loop: HeldUpLoop) -> None:
    mailbox, told = Mailbox(loop.post), list[int]()
    for number in range(100_000):
        mailbox.put(number % 10, lambda number=number: told.append(number))  # type: ignore[misc]
    assert mailbox.depth == 10
    assert len(loop.posted) == 1
    loop.go()
    assert told == list(range(99_990, 100_000))


def test_news_after_the_end_of_an_object_do_not_replace_it(loop: HeldUpLoop) -> None:
    mailbox, told = Mailbox(loop.post), list[str]()
    mailbox.put("pod-1", lambda: told.append("running"))
    mailbox.put("pod-1", lambda: told.append("its last words"), final=True)
    mailbox.put("pod-1", lambda: told.append("an old replay"))
    loop.go()
    assert told == ["its last words"]
    mailbox.put("pod-1", lambda: told.append("later"))
    loop.go()
    assert told == ["its last words", "later"], "what is old is for the store to know"


def test_loop_gets_its_turn_between_many_messages(loop: HeldUpLoop) -> None:
    mailbox, told = Mailbox(loop.post), list[int]()
    for number in range(3 * BATCH):
        mailbox.put(number, lambda number=number: told.append(number))  # type: ignore[misc]
    loop.go()
    assert told == list(range(3 * BATCH))
    assert loop.turns == 3


def test_message_that_is_put_by_another_is_delivered_too(loop: HeldUpLoop) -> None:
    mailbox, told = Mailbox(loop.post), list[str]()
    mailbox.put("a", lambda: mailbox.put("b", lambda: told.append("b")))
    loop.go()
    assert told == ["b"]


def test_message_that_breaks_stops_no_later_one(loop: HeldUpLoop) -> None:
    mailbox, told = Mailbox(loop.post), list[str]()

    def broken() -> None:
        raise ValueError("nonsense")

    mailbox.put("a", broken)
    mailbox.put("b", lambda: told.append("b"))
    with capture_logs() as entries:
        loop.go()
    mailbox.put("c", lambda: told.append("c"))
    loop.go()
    assert told == ["b", "c"]
    assert [entry["log_level"] for entry in entries] == ["error"]


def test_threads_lose_nothing(loop: HeldUpLoop) -> None:
    mailbox, told = Mailbox(loop.post), list[tuple[int, int]]()

    def tell(thread: int) -> None:
        for number in range(1000):
            mailbox.put((thread, number), lambda number=number: told.append((thread, number)))  # type: ignore[misc]

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            loop.go()
    loop.go()
    assert len(told) == 4000


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans())))
def test_each_object_ends_as_it_was_told_last(events: list[tuple[str, bool, bool]]) -> None:
    """Events of some objects, each live or final, with the loop let go at any point."""
    loop, told, wanted = HeldUpLoop(), dict[str, int](), dict[str, int]()
    mailbox, closed = Mailbox(loop.post), set[str]()
    for number, (subject, final, lets_go) in enumerate(events):
        mailbox.put(subject, lambda s=subject, n=number: told.update({s: n}), final=final)  # type: ignore[misc]
        if subject not in closed:
            wanted[subject] = number
        closed |= {subject} if final else set()
        if lets_go:
            loop.go()
            closed.clear()
    loop.go()
    assert told == wanted
