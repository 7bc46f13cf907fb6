"""A running cluster as a test sees it: kubectl for what a user types, plain JSON for what is polled, and the evidence when
something did not come about. Knows nothing of how the cluster runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from support.kube_api import Answer, KubeApi, collection
from vidbench_api.kinds import BENCHMARK_RESULT, BENCHMARK_RUN
from vidbench_api.names import LABEL_RUN_UID
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import BenchmarkRunStatus, CellRow

Manifest = dict[str, Any]
T = TypeVar("T")

POLL_SECONDS = 0.2
TOO_MANY_SECONDS = 15.0
OPERATOR_NAMESPACE = "vidbench-system"
OPERATOR_SELECTOR = "app.kubernetes.io/name=vidbench"


@dataclass(frozen=True)
class RunView:
    """A run at one moment, with its results by cell name (model/hardware/variant)."""

    uid: str
    status: BenchmarkRunStatus
    results: dict[str, BenchmarkResultSpec]

    def row(self, cell: str) -> CellRow:
        """Return the row of a cell named `model/hardware/variant`."""
        return next(row for row in self.status.rows if cell_name(row) == cell)

    def condition(self, kind: str) -> str | None:
        """Return the status of a condition; None if it is not there."""
        return next((entry.status for entry in self.status.conditions if entry.type == kind), None)

    @property
    def ended(self) -> bool:
        """Whether the run is Complete or Failed."""
        return "True" in (self.condition("Complete"), self.condition("Failed"))


class E2ECluster:
    """One cluster with the operator in it, used as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.api = KubeApi(kubeconfig)

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    def kubectl(self, *words: str | Path, stdin: str | None = None) -> str:
        """Run kubectl and return its stdout; a refusal fails the test with kubectl's words."""
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *map(str, words)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout

    def apply(self, *manifests: Manifest) -> None:
        """Apply objects as a user would, in one go."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """Return an object, or None if it is not there."""
        answer = self._get(f"{collection(kind, namespace)}/{name}")
        assert answer.accepted or answer.status == 404, answer.message
        return answer.body if answer.accepted else None

    def objects(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        """Return the objects of a kind that a label selector matches."""
        answer = self._get(collection(kind, namespace), {"labelSelector": selector})
        assert answer.accepted, answer.message
        return list(answer.body["items"])

    def _get(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """GET, again for a while after a 429: for seconds after a kind was installed, its storage is "(re)initializing"."""
        deadline = time.monotonic() + TOO_MANY_SECONDS
        while True:
            answer = self.api.request("GET", path, query=query)
            if answer.status != 429 or time.monotonic() > deadline:
                return answer
            time.sleep(POLL_SECONDS)

    def run(self, namespace: str, name: str) -> RunView:
        """Return a run as it is now, with the results that stand."""
        body = self.find(BENCHMARK_RUN.kind, name, namespace)
        assert body is not None, f"there is no BenchmarkRun {name} in namespace {namespace}"
        uid = body["metadata"]["uid"]
        found = self.objects(BENCHMARK_RESULT.kind, namespace, f"{LABEL_RUN_UID}={uid}")
        measured = [BenchmarkResultSpec.model_validate(item["spec"]) for item in found]
        results = [result for result in measured if not result.superseded]
        by_cell = {f"{cell_name(result.cell)}{f'+{result.rung}' if result.rung else ''}": result for result in results}
        assert len(by_cell) == len(results), f"two results of one cell (runs here have one shard a cell): {results}"
        return RunView(uid, BenchmarkRunStatus.model_validate(body.get("status") or {}), by_cell)

    def wait_for(self, what: str, probe: Callable[[], T | None], seconds: float, namespace: str) -> T:
        """Poll until the probe returns something true, and return that. Fails with what the cluster looks like then."""
        deadline = time.monotonic() + seconds
        while True:
            value = probe()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:g} s for: {what}\n{self.diagnose(namespace)}")
            time.sleep(POLL_SECONDS)

    def wait_until_ended(self, namespace: str, name: str, seconds: float) -> RunView:
        """Wait until a run is Complete or Failed."""

        def probe() -> RunView | None:
            view = self.run(namespace, name)
            return view if view.ended else None

        return self.wait_for(f"the end of BenchmarkRun {name}", probe, seconds, namespace)

    def live_pods(self, namespace: str) -> list[Manifest]:
        """Return the pods whose container runs now."""
        pods = self.objects("Pod", namespace)
        return [
            pod
            for pod in pods
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def operator_pod(self) -> Manifest | None:
        """Return the operator's pod if it is ready."""
        for pod in self.objects("Pod", OPERATOR_NAMESPACE, OPERATOR_SELECTOR):
            ready = {entry["type"]: entry["status"] for entry in pod["status"].get("conditions", ())}.get("Ready")
            if ready == "True" and "deletionTimestamp" not in pod["metadata"]:
                return pod
        return None

    def diagnose(self, namespace: str) -> str:
        """Return what a person would look at first."""
        questions = (
            ("get", "nodes,jobs,pods", "-n", namespace, "-o", "wide"),
            ("describe", "br", "-n", namespace),
            ("get", "bres", "-n", namespace, "-o", "wide"),
            ("get", "events", "-n", namespace, "--sort-by=.lastTimestamp"),
            ("get", "pods", "-n", OPERATOR_NAMESPACE, "-o", "wide"),
            ("logs", "-n", OPERATOR_NAMESPACE, "-l", OPERATOR_SELECTOR, "--tail=60", "--prefix"),
        )
        answers = []
        for words in questions:
            try:
                answers.append(f"$ kubectl {' '.join(words)}\n{self.kubectl(*words)[-8000:]}")
            except (AssertionError, subprocess.TimeoutExpired) as error:
                answers.append(f"$ kubectl {' '.join(words)}\n{error}")
        return "\n".join(answers)


def cell_name(cell: Any) -> str:
    """Return `model/hardware/variant` of a row or of a result's cell."""
    return f"{cell.model}/{cell.hardware}/{cell.variant}"
