"""A real `/v1/videos` server on this machine that does what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from vidbench_runner.artifacts import write_video

HEIGHT, WIDTH, FRAMES = 16, 32, 5


@dataclass(frozen=True)
class Reply:
    """One answer. `cut` promises more bytes than come; `seconds` passes before it comes."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang_up: bool = False
    seconds: float = 0.0
    drip_seconds: float = 0.0
    """Between two bytes of the body."""

    @classmethod
    def json(cls, code: int = 200, /, **fields: Any) -> Reply:
        return cls(code, json.dumps(fields).encode())


@dataclass
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def frames_of(seed: int) -> Any:
    """The frames that the server makes of a seed."""
    shape = (FRAMES, HEIGHT, WIDTH, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def video_of(frames: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "video.mkv"
        write_video(file, frames, 16)
        return file.read_bytes()


class VideoServer:
    """Replies in turn, by step; what a step was not told is what a good server does."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {"submit": [], "poll": [], "download": [], "delete": []}
        self.statuses = ["completed"]
        """What polls say, in turn; the last one for ever."""

        self.facts: dict[str, Any] = {}
        """What polls say besides."""

        self.ignores_seed = False
        self.asked: list[Asked] = []
        self.address = ""
        self._seeds: dict[str, int] = {}
        self._polls: dict[str, int] = {}

    def of(self, method: str, part: str = "") -> list[Asked]:
        return [asked for asked in self.asked if asked.method == method and part in asked.path]

    def reply(self, asked: Asked) -> Reply:
        step = {"POST": "submit", "DELETE": "delete"}.get(asked.method, "poll")
        step = "download" if asked.path.endswith("/content") else step
        if self.replies[step]:
            return self.replies[step].pop(0)
        if step == "submit":
            return self._submitted(asked)
        identity = asked.path.removesuffix("/content").rsplit("/", 1)[-1]
        if step == "download":
            seed = len(self._seeds) if self.ignores_seed else self._seeds[identity]
            return Reply(body=video_of(frames_of(seed)))
        if step == "delete":
            return Reply.json(id=identity, deleted=True)
        position = self._polls[identity] = self._polls.get(identity, -1) + 1
        status = self.statuses[min(position, len(self.statuses) - 1)]
        return Reply.json(id=identity, status=status, **(self.facts if status == "completed" else {}))

    def _submitted(self, asked: Asked) -> Reply:
        identity = f"video_{len(self._seeds) + 1}"
        self._seeds[identity] = json.loads(asked.body)["seed"] if asked.body.startswith(b"{") else 0
        return Reply.json(id=identity, status="queued")


@contextmanager
def video_server(address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[VideoServer]:
    """Serve at this address and port, 0 for a free one, for as long as the context lasts."""
    server = VideoServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(self.command, self.path, dict(self.headers), body)
            server.asked.append(asked)
            reply = server.reply(asked)
            time.sleep(reply.seconds)
            if reply.hang_up:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + (100 if reply.cut else 0)))
            self.end_headers()
            if reply.drip_seconds:
                for position in range(len(reply.body)):
                    self.wfile.write(reply.body[position : position + 1])
                    self.wfile.flush()
                    time.sleep(reply.drip_seconds)
            else:
                self.wfile.write(reply.body)
            self.close_connection = self.close_connection or reply.cut

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - names of the standard library

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that leaves in the middle is what some tests are about."""

    http = Quiet(address, Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    server.address = f"http://{address[0]}:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
