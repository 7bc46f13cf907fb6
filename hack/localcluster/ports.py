"""Picks TCP ports for programs that start a little later. Knows nothing of what listens on them."""

from __future__ import annotations

import errno
import random
import socket

FIRST, LAST = 20000, 29999
"""Below the range that Linux takes outgoing ports from (32768 up) and below NodePorts (30000 up), so that nothing but
another listener can take a port between picking and listening."""


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Say whether nobody listens on the port (of an address that the machine may not have yet)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True


def pick_free(count: int) -> list[int]:
    """Return distinct free ports on loopback, by chance, so that two processes that pick at once do not agree."""
    candidates = random.SystemRandom().sample(range(FIRST, LAST + 1), LAST + 1 - FIRST)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            return found
        if is_free(port):
            found.append(port)
    raise OSError(f"fewer than {count} free TCP ports on loopback between {FIRST} and {LAST}")
