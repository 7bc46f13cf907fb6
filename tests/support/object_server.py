"""An HTTP server that keeps objects as an API server does, as far as reading, making and deleting them goes: no cluster, no rules."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]


class ObjectServer(ThreadingHTTPServer):
    """Holds objects by plural. What is of a plural in `refused` may not be deleted."""

    daemon_threads = True

    def __init__(self, objects: dict[str, Sequence[Object]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = {plural: list(entries) for plural, entries in objects.items()}
        self.refused: set[str] = set()
        self.deleted: list[str] = []
        self.created: list[Object] = []
        self.becomes: dict[str, Object] = {}
        """The status that an object of a plural has as soon as it is made."""
        self.before_deleting: Callable[[str], None] = lambda plural: None
        """Called with the plural of what is about to go: what others do meanwhile."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def names(self, plural: str) -> list[str]:
        """Return what is left of a kind."""
        return sorted(entry["metadata"]["name"] for entry in self.objects.get(plural, ()))


@contextmanager
def serving(objects: dict[str, Sequence[Object]]) -> Iterator[ObjectServer]:
    """Serve until the end of the block."""
    server = ObjectServer(objects)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ObjectServer

    def do_GET(self) -> None:
        plural, name, query = self._target()
        if name:
            found = self._find(plural, name)
            return self._answer(200, found) if found else self._missing(name)
        items = [entry for entry in self.server.objects.get(plural, ()) if _selected(entry, query)]
        return self._answer(200, {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})

    def do_POST(self) -> None:
        plural, _name, _query = self._target()
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        made = body | {"status": self.server.becomes.get(plural, {})}
        self.server.objects.setdefault(plural, []).append(made)
        self.server.created.append(made)
        return self._answer(201, made)

    def do_DELETE(self) -> None:
        plural, name, _query = self._target()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = self._find(plural, name)
        if found is None:
            return self._missing(name)
        if plural in self.server.refused:
            return self._answer(403, {"message": f"{plural} {name} is forbidden: User me cannot delete"})
        self.server.before_deleting(plural)
        self.server.objects[plural].remove(found)
        self.server.deleted.append(f"{plural}/{name}")
        return self._answer(200, {"kind": "Status", "status": "Success"})

    def _target(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        after = parts.path.split("/namespaces/", 1)[1].split("/")[1:]
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        return after[0], after[1] if len(after) > 1 else "", query

    def _find(self, plural: str, name: str) -> Object | None:
        return next((entry for entry in self.server.objects.get(plural, ()) if entry["metadata"]["name"] == name), None)

    def _missing(self, name: str) -> None:
        self._answer(404, {"message": "not found", "details": {"name": name}})

    def _answer(self, status: int, body: Object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        pass


def _selected(entry: Object, query: dict[str, str]) -> bool:
    labels = entry["metadata"].get("labels") or {}
    wanted = [part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part]
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return all(labels.get(key) == value for key, value in wanted) and name in ("", entry["metadata"]["name"])
