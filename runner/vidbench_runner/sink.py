"""The termination message file: always a whole verdict, also if every process dies between two system calls.

The file is a bind mount, so that nothing can be renamed onto it, and it may never be empty. It is overwritten in place
by one write of at most a page, which the kernel does not interrupt; a shorter text than before is padded with blanks to
the old length first and the file is cut afterwards. Readers ignore the blanks.

Knows nothing of how a verdict comes into being.
"""

from __future__ import annotations

import os

from vidbench_api.message import encode
from vidbench_api.verdict import Verdict


class MessageFile:
    """Writes verdicts into one file. Not for several writers."""

    def __init__(self, path: str, limit: int) -> None:
        """Open the file, which is created if need be; what it holds stays until the first write.

        Raises:
            OSError: it cannot be opened for writing.
        """
        self._limit = limit
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, verdict: Verdict) -> int:
        """Replace the file's content by this verdict; return the length of the message in bytes.

        Raises:
            MessageError: not even the bare verdict fits into the limit; the file keeps what it holds.
            OSError: the file system refused.
        """
        text = encode(verdict, self._limit).encode("ascii")
        before = os.fstat(self._file).st_size
        os.pwrite(self._file, text.ljust(before), 0)
        if before > len(text):
            os.ftruncate(self._file, len(text))
        return len(text)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
