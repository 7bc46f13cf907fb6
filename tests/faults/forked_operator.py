"""An operator that is started, killed and looked at, many times in a test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from localcluster import ports
from localcluster.process import start_time_of

NURSERY = Path(__file__).resolve().parent / "nursery.py"
_READY_SECONDS = 60.0
_GONE_SECONDS = 10.0


class Nursery:
    """The process that operators are forked from. Use as a context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        # The Kubernetes client reads the variable when it is imported, which is before the fork.
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(NURSERY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def fork(self, settings: dict[str, str], log: Path) -> int:
        """Start an operator; returns its process id."""
        environment = {**self._environment, **settings}
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"environment": environment, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class ForkedOperator:
    """One operator after the other, each with the same settings. Use as a context manager."""

    def __init__(self, nursery: Nursery, directory: Path, namespace: str, **settings: str) -> None:
        self._nursery = nursery
        self.log_path = directory / f"operator-{namespace}.log"
        self._health, self._metrics = ports.pick_free(2)
        self._settings = {
            "VIDBENCH_OPERATOR_WATCH_NAMESPACES": namespace,
            "VIDBENCH_OPERATOR_HEALTH_PORT": str(self._health),
            "VIDBENCH_OPERATOR_METRICS_PORT": str(self._metrics),
            **{f"VIDBENCH_OPERATOR_{name.upper()}": value for name, value in settings.items()},
        }
        self._pid: int | None = None
        self._birth: str | None = None
        self.starts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.log_path.exists():
            print(self.log_path.read_text()[-8000:])
        self.kill()

    @property
    def is_alive(self) -> bool:
        """Whether the process that was started last still runs."""
        return self._pid is not None and self._birth is not None and start_time_of(self._pid) == self._birth

    @property
    def log(self) -> str:
        """All that every one of them has said."""
        return self.log_path.read_text()

    def start(self, *, wait: bool = False) -> None:
        """Start one, unless one runs."""
        if self.is_alive:
            return
        self._wait_gone()
        self._pid = self._nursery.fork(self._settings, self.log_path)
        self._birth = start_time_of(self._pid)
        self.starts += 1
        deadline = time.monotonic() + _READY_SECONDS
        while wait and self.probe("/readyz") != 200:
            assert self.is_alive, f"it ended:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"not ready:\n{self.log[-4000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it without a chance to do anything. May be called from any thread."""
        if self._pid is not None and self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._wait_gone()

    def _wait_gone(self) -> None:
        """Wait until nothing of the last one is left: its main thread may be dead while others still hold its ports."""
        deadline = time.monotonic() + _GONE_SECONDS
        while self._pid is not None and Path(f"/proc/{self._pid}").exists():
            assert time.monotonic() < deadline, f"process {self._pid} does not go"
            time.sleep(0.002)

    def probe(self, path: str) -> int | None:
        """Return what a probe is told; None: nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}{path}", timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except (urllib.error.URLError, OSError):
            return None
