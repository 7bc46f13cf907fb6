"""The operator as a process of its own on the shared control plane, limited to one namespace."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localcluster import ports
from localcluster.process import Daemon

READY_SECONDS = 60.0
ANSWER_SECONDS = 15.0
GRACE_SECONDS = 15.0


class OperatorProcess:
    """Starts, kills and looks at one operator. Use as a context manager."""

    def __init__(self, directory: Path, kubeconfig: Path, namespace: str, **settings: str) -> None:
        self._daemon = Daemon(f"operator-{namespace}", directory, die_with_parent=True)
        self._health, self._metrics = ports.pick_free(2)
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "VIDBENCH_OPERATOR_WATCH_NAMESPACES": namespace,
            "VIDBENCH_OPERATOR_HEALTH_PORT": str(self._health),
            "VIDBENCH_OPERATOR_METRICS_PORT": str(self._metrics),
            **{f"VIDBENCH_OPERATOR_{name.upper()}": value for name, value in settings.items()},
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self._daemon.log_path.read_text()[-6000:])
        self._daemon.stop(grace_seconds=10)

    @property
    def log(self) -> str:
        """All that it has said, in whole lines: the last one may be in the middle of being written."""
        text = self._daemon.log_path.read_text()
        return text[: text.rfind("\n") + 1]

    @property
    def mutations(self) -> list[dict[str, Any]]:
        """The audit lines of what it asked the API server to change; a line follows the answer."""
        return [json.loads(line) for line in self.log.splitlines() if '"mutation"' in line]

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it says that it is ready."""
        self._daemon.start([sys.executable, "-m", "vidbench_operator"], environment=self._environment)
        deadline = time.monotonic() + READY_SECONDS
        while wait and not self._is_ready():
            assert self._daemon.is_running, self._daemon.last_words()
            assert time.monotonic() < deadline, f"not ready:\n{self._daemon.last_words()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it without a chance to do anything."""
        self._daemon.send(signal.SIGKILL)
        self._daemon.stop()

    def terminate(self) -> int | None:
        """Ask it to end, as a kubelet does, within the time that the chart gives it; returns its exit status."""
        child = self._daemon._child
        assert child is not None
        started = time.monotonic()
        self._daemon.send(signal.SIGTERM)
        while child.poll() is None:
            assert time.monotonic() - started < GRACE_SECONDS, "still there when a kubelet would kill it"
            time.sleep(0.02)
        return child.returncode

    def get(self, path: str) -> tuple[int, str]:
        """GET a path of its probes or, for /metrics, its figures."""
        port = self._metrics if path == "/metrics" else self._health
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False
