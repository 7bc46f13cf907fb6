"""The part of a kubelet that hands out logs, for a node on which nothing runs: a TLS server that says what a test puts in.

As a kubelet does, it answers 400 for a container that has not started, writes times in front of lines when asked, takes
`sinceTime` by the second, and keeps a stream open for `follow`.
"""

from __future__ import annotations

import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

_BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class PlayedLogs:
    """Serves one log for all pods of a node. Use as a context manager."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.lines: list[str] | None = None
        """What the container has said; None: it has not started."""

        self.breaks_after: list[int] = []
        """Streams that break off, one after another, after so many lines."""

        self.requests: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """The port to name in the node's status."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def answer(self, query: dict[str, str]) -> list[str] | None:
        """Return the lines of one request; None where the container has not started."""
        self.requests.append(query)
        if self.lines is None:
            return None
        # Four lines a second.
        moments = [_BEGIN + timedelta(milliseconds=250 * number) for number in range(len(self.lines))]
        since = datetime.fromisoformat(query["sinceTime"]) if "sinceTime" in query else _BEGIN
        shown = [
            f"{moment.isoformat()} {line}" if query.get("timestamps") == "true" else line
            for moment, line in zip(moments, self.lines, strict=True)
            if moment >= since.replace(microsecond=0)
        ]
        return shown[-int(query["tailLines"]) :] if "tailLines" in query else shown

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        played = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                lines = played.answer(query)
                if lines is None:
                    self._send(400, b'container "runner" in pod is waiting to start: ContainerCreating')
                    return
                breaks = query.get("follow") == "true" and played.breaks_after
                shown = lines[: played.breaks_after.pop(0)] if breaks else lines
                self._send(200, "".join(f"{line}\n" for line in shown).encode())

            def _send(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler
