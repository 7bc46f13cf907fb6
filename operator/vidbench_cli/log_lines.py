"""Turns pieces of a pod's log into lines, without repeating any after a stream broke off. Pure.

Lines come with the kubelet's times in front; `sinceTime` counts in whole seconds, so what was shown comes again and is left out.
"""

from __future__ import annotations

from .escaping import is_unprintable


class LogLines:
    """Takes bytes, gives lines; on a terminal without anything that could drive it."""

    def __init__(self, *, for_terminal: bool) -> None:
        self._for_terminal = for_terminal
        self._begun = b""
        self.last_time = ""
        """Time of the last line that was given, as the kubelet wrote it."""

        self._at_last_time = 0
        self._to_leave_out = 0

    def take(self, piece: bytes) -> list[str]:
        """Return the lines that a piece completes."""
        *whole, self._begun = (self._begun + piece).split(b"\n")
        return [line for raw in whole if (line := self._line(raw)) is not None]

    def rest(self) -> str:
        """Return a last line that has no end, and forget it."""
        raw, self._begun = self._begun, b""
        return (self._line(raw) or "") if raw else ""

    def begin_again(self) -> None:
        """Say that the stream begins anew at `last_time`: what was given is left out, half a line is forgotten."""
        self._begun = b""
        self._to_leave_out = self._at_last_time

    def _line(self, raw: bytes) -> str | None:
        moment, _, text = raw.decode(errors="replace").partition(" ")
        if self._to_leave_out and moment <= self.last_time:
            # Times of the same second may repeat: of those at the last time, as many are left out as were given.
            self._to_leave_out -= moment == self.last_time
            return None
        self._to_leave_out = 0
        self._at_last_time = self._at_last_time + 1 if moment == self.last_time else 1
        self.last_time = moment
        if not self._for_terminal:
            return f"{text}\n"
        # A progress bar draws itself anew after each carriage return: the last drawing is what would be seen.
        seen = text.rstrip("\r").rpartition("\r")[2]
        letters = (
            letter if letter == "\t" or not is_unprintable(letter) else "\N{REPLACEMENT CHARACTER}" for letter in seen
        )
        return "".join(letters) + "\n"
