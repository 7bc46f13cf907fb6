"""The termination message file: readable after every system call and after every kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vidbench_api.measured import Series, SeriesName, Statistics
from vidbench_api.message import MessageError, decode, encode
from vidbench_api.verdict import Verdict
from vidbench_runner import sink
from vidbench_runner.sink import MessageFile


def verdict(samples: int, **changes: Any) -> Verdict:
    values = tuple(random.Random(samples).randrange(10**6, 2 * 10**6) for _ in range(samples))
    series = (
        (Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values),)
        if samples
        else ()
    )
    return Verdict(
        request_digest="0123456789abcdef", cell="0123abcd", shard=1, attempt=1, samples_done=samples, series=series,
        **changes,
    )  # fmt: skip


LENGTHS = (0, 1, 64, 3, 0, 30, 2, 64, 0)
"""Sample counts whose messages grow and shrink."""


@pytest.fixture
def message(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "message"


def test_sink_replaces_the_message_by_longer_and_shorter_ones(message: Path) -> None:
    file = MessageFile(str(message), 2800)
    for samples in LENGTHS:
        length = file.write(verdict(samples))
        assert message.stat().st_size == length <= 2800
        assert decode(message.read_text()).samples_done == samples
    file.close()


def test_sink_is_readable_after_every_single_system_call(message: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Any:
            result = call(*arguments)
            seen.append(decode(message.read_text()).samples_done)
            return result

        return wrapper

    file = MessageFile(str(message), 2800)
    file.write(verdict(0))
    for name in ("pwrite", "ftruncate"):
        monkeypatch.setattr(sink.os, name, watched(getattr(os, name)))
    for samples in LENGTHS[1:]:
        file.write(verdict(samples))
    assert set(seen) == set(LENGTHS)
    assert len(seen) > len(LENGTHS[1:]), "a shorter message takes two calls"
    file.close()


def test_sink_writes_in_place_as_the_file_is_a_bind_mount(message: Path) -> None:
    message.write_text("what was there")
    before = message.stat().st_ino
    file = MessageFile(str(message), 2800)
    assert message.read_text() == "what was there"
    file.write(verdict(3))
    assert message.stat().st_ino == before
    file.close()


def test_sink_keeps_the_limit_it_is_given(message: Path) -> None:
    file = MessageFile(str(message), 700)
    assert file.write(verdict(64)) <= 700
    file.close()


def test_sink_keeps_what_it_holds_if_nothing_fits(message: Path) -> None:
    file = MessageFile(str(message), 2800)
    file.write(verdict(3))
    small = MessageFile(str(message), 100)
    with pytest.raises(MessageError):
        small.write(verdict(4))
    assert decode(message.read_text()).samples_done == 3
    file.close()
    small.close()


def test_sink_reader_never_sees_anything_but_a_verdict(message: Path) -> None:
    """A read may overlap a write on another core; what stays is always a verdict."""
    file = MessageFile(str(message), 2800)
    file.write(verdict(0))
    verdicts = [verdict(samples) for samples in LENGTHS]
    done = threading.Event()
    failures: list[str] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        while not done.is_set():
            text = message.read_text()
            try:
                decode(text)
            except MessageError as error:
                if message.read_text() == text:
                    failures.append(f"{error}: {text[:40]!r} of {len(text)}")
            reads += 1

    reader = threading.Thread(target=read)
    reader.start()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        for entry in verdicts:
            file.write(entry)
    done.set()
    reader.join()
    assert not failures
    assert reads > 5
    file.close()


WRITER = """
import sys
from vidbench_api.message import decode
from vidbench_runner.sink import MessageFile
texts = sys.stdin.read().split()
file = MessageFile(sys.argv[1], 2800)
verdicts = [decode(text) for text in texts]
file.write(verdicts[0])
print("go", flush=True)
while True:
    for verdict in verdicts:
        file.write(verdict)
"""


def test_sink_file_holds_a_verdict_after_a_kill_at_any_moment(message: Path) -> None:
    texts = " ".join(encode(verdict(samples)) for samples in LENGTHS)
    chance = random.Random(5)
    for _ in range(6):
        message.unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(message)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write(texts)
            writer.stdin.close()
            writer.stdout.readline()
            time.sleep(chance.random() * 0.1)
            writer.send_signal(signal.SIGKILL)
        assert decode(message.read_text()).samples_done in LENGTHS
