"""An HTTP server that lists BenchmarkResults as an API server does: chunks, tokens that expire, refusals. No cluster."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PREFIX = "/apis/vidbench.io/v1alpha1"


class LedgerServer(ThreadingHTTPServer):
    """Serves `documents`; `refuse` is a status for every call, `cut_after` one for all calls after so many, once."""

    daemon_threads = True

    def __init__(self, documents: Sequence[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents = list(documents)
        self.refuse: int | None = None
        self.cut_after: int | None = None
        self.expired = False
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(documents: Sequence[dict[str, Any]]) -> Iterator[LedgerServer]:
    """Serve until the end of the block."""
    server = LedgerServer(documents)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: LedgerServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.server.asked.append(query.get("continue", ""))
        if self.server.refuse is not None:
            self._answer(self.server.refuse, {"kind": "Status", "message": "benchmarkresults is forbidden: User me"})
        elif self.server.cut_after is not None and len(self.server.asked) > self.server.cut_after:
            self._answer(500, {"kind": "Status", "message": "etcdserver: request timed out"})
        elif query.get("continue") and self.server.expired:
            self.server.expired = False
            self._answer(410, {"kind": "Status", "message": "The provided continue parameter is too old"})
        else:
            self._list(parts.path, query)

    def _list(self, path: str, query: dict[str, str]) -> None:
        namespace = path.removeprefix(f"{_PREFIX}/namespaces/").split("/")[0] if "/namespaces/" in path else None
        found = [entry for entry in self.server.documents if namespace in (None, entry["metadata"]["namespace"])]
        start = int(query.get("continue") or 0)
        end = start + int(query.get("limit") or len(found))
        following = {"continue": str(end)} if end < len(found) else {}
        metadata = {"resourceVersion": "42", **following}
        self._answer(200, {"kind": "BenchmarkResultList", "metadata": metadata, "items": found[start:end]})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        pass
