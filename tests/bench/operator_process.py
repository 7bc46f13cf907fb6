"""The operator as a process of its own, as its container would run it, under the account of the chart."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from pathlib import Path

import aiohttp

from bench.process_figures import Handles, ProcessFigures, read_handles, read_process
from localcluster import ports
from localcluster.errors import LocalClusterError
from localcluster.process import Daemon

READY_SECONDS = 60.0
_PASSES = re.compile(r"^vidbench_reconcile_seconds_count\{.*\} ([0-9.]+)$", re.MULTILINE)

_TASKS = re.compile(r'^vidbench_asyncio_tasks\{loop="([a-z]+)"\} ([0-9.]+)$', re.MULTILINE)


class OperatorProcess:
    """Starts, stops and looks at one operator."""

    def __init__(self, directory: Path, kubeconfig: Path) -> None:
        self._daemon = Daemon("operator", directory, die_with_parent=True)
        self._kubeconfig = kubeconfig
        self._probes, self._metrics = ports.pick_free(2)

    async def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self._kubeconfig),
            "VIDBENCH_OPERATOR_HEALTH_PORT": str(self._probes),
            "VIDBENCH_OPERATOR_METRICS_PORT": str(self._metrics),
        }
        self._daemon.start([sys.executable, "-m", "vidbench_operator"], environment=environment)
        deadline = time.monotonic() + READY_SECONDS
        while not await self._answers():
            if not self._daemon.is_running or time.monotonic() > deadline:
                raise LocalClusterError(
                    f"the operator is not ready; see {self._daemon.log_path}:\n{self._daemon.last_words()}"
                )
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Ask it to end as the kubelet would, and kill it if it does not."""
        await asyncio.to_thread(self._daemon.stop, grace_seconds=20)

    def figures(self) -> ProcessFigures:
        """Read memory and processor time now."""
        return read_process(self._pid)

    def handles(self) -> Handles:
        """Read what it holds of the kernel's now."""
        return read_handles(self._pid)

    @property
    def _pid(self) -> int:
        pid = self._daemon.pid
        if pid is None:
            raise LocalClusterError(
                f"the operator has ended; see {self._daemon.log_path}:\n{self._daemon.last_words()}"
            )
        return pid

    async def passes(self) -> int:
        """Return how many reconcile passes it has made since its start, by its own metric."""
        return sum(int(float(number)) for number in _PASSES.findall(await self._exposition()))

    async def tasks(self) -> dict[str, int]:
        """Return how many tasks each of its event loops has, by its own metric."""
        return {loop: int(float(number)) for loop, number in _TASKS.findall(await self._exposition())}

    async def _exposition(self) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self._metrics}/metrics") as response,
        ):
            return await response.text()

    async def _answers(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self._probes}/readyz") as response,
            ):
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False
