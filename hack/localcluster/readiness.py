"""Asks a program over HTTPS whether it is ready. Knows addresses and certificates, nothing of processes."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

from .certificates import KeyPair


def https_status(port: int, path: str, *, ca_certificate: Path, client: KeyPair, address: str = "127.0.0.1") -> int:
    """Return the HTTP status of a GET; 0 if nobody answers."""
    try:
        context = ssl.create_default_context(cafile=str(ca_certificate))
        context.load_cert_chain(client.certificate, client.key)
        connection = http.client.HTTPSConnection(address, port, timeout=5, context=context)
    except OSError:
        return 0
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def http_status(port: int, path: str) -> int:
    """Return the HTTP status of a GET on loopback without TLS; 0 if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
