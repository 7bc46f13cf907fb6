"""A model hub on this machine: one repository, served from a folder as huggingface.co serves it to its client."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + 34 * "0"


@contextmanager
def hub(name: str, folder: Path) -> Iterator[str]:
    """Serve the folder as the repository `name` at `COMMIT`; yield the hub's URL."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/models/{name}"):
                self.send(json.dumps(described(path)).encode(), "application/json", body)
            elif path.startswith(f"/{name}/resolve/") and (file := files.get(path.split("/", 5)[5])) is not None:
                content = file.read_bytes()
                self.send(content, "application/octet-stream", body, hashlib.sha256(content).hexdigest())
            else:
                self.send_error(404)

        def send(self, content: bytes, kind: str, body: bool, etag: str | None = None) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if etag is not None:
                self.send_header("ETag", f'"{etag}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    def described(path: str) -> object:
        if "/tree/" in path:
            return [
                {
                    "type": "file",
                    "path": entry,
                    "size": file.stat().st_size,
                    "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                }
                for entry, file in files.items()
            ]
        return {"id": name, "modelId": name, "sha": COMMIT, "private": False, "downloads": 0, "likes": 0, "tags": [],
                "siblings": [{"rfilename": entry} for entry in files]}  # fmt: skip

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
