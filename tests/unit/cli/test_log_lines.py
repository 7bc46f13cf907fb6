"""Lines of a log: each once, however the stream breaks off, and harmless on a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidbench_cli.escaping import is_unprintable
from vidbench_cli.log_lines import LogLines

TIMES = ("2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.2Z", "2026-01-02T03:04:06.0Z")


def test_lines_come_without_the_kubelets_times() -> None:
    lines = LogLines(for_terminal=False)
    assert lines.take(f"{TIMES[0]} one\n{TIMES[1]} tw".encode()) == ["one\n"]
    assert lines.take(b"o\n") == ["two\n"]
    assert lines.take(f"{TIMES[2]} half".encode()) == []
    assert lines.rest() == "half\n"
    assert lines.rest() == ""


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(sorted), st.data())
def test_every_line_is_shown_once_however_often_the_stream_breaks(moments: list[int], data: st.DataObject) -> None:
    log = [f"{TIMES[moment]} line {number}\n".encode() for number, moment in enumerate(moments)]
    lines = LogLines(for_terminal=False)
    shown: list[str] = []
    for _ in range(data.draw(st.integers(0, 3))):
        upto = data.draw(st.integers(0, sum(map(len, log))))
        # The kubelet's sinceTime counts in whole seconds: all lines of that second come again.
        again = [line for line in log if not lines.last_time or line[:19] >= lines.last_time[:19].encode()]
        shown += lines.take(b"".join(again)[:upto])
        lines.begin_again()
    again = [line for line in log if not lines.last_time or line[:19] >= lines.last_time[:19].encode()]
    shown += lines.take(b"".join(again))
    assert shown == [f"line {number}\n" for number in range(len(moments))]


@given(st.binary(max_size=60))
def test_nothing_drives_a_terminal(content: bytes) -> None:
    shown = "".join(LogLines(for_terminal=True).take(TIMES[0].encode() + b" " + content + b"\n"))
    assert not [letter for letter in shown if is_unprintable(letter) and letter not in "\n\t"]


def test_progress_bars_show_their_last_drawing_and_files_get_all() -> None:
    content = f"{TIMES[0]} 10 %\r20 %\r\x1b[31m30 %\r\n".encode()
    assert LogLines(for_terminal=True).take(content) == ["\N{REPLACEMENT CHARACTER}[31m30 %\n"]
    assert LogLines(for_terminal=False).take(content) == ["10 %\r20 %\r\x1b[31m30 %\r\n"]
