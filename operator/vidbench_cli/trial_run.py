"""The smallest run that tells whether a model works at a place: one sample of one cell, nothing warmed up, nothing tried twice. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidbench_api.names import API_VERSION, Outcome
from vidbench_api.run_status import CellRow
from vidbench_operator.core.failures import FAILURES

from .texts import _

HARDWARE = "test-model"
"""Such results are of names of their own, so that no estimate of a real run is made from them."""

PROMPT = "A cat walks over wet grass, handheld camera"

_OF_CONDITIONS: Mapping[str, str] = {
    "ModelNotFound": _("vidbench list-models shows what there is; or make a VideoModel of that name"),
    "RunnerClassNotFound": _("kubectl get runnerclasses lists those that there are: --runner-class"),
    "RunDeadlineExceeded": _("--timeout gives it more time; what it waited for: vidbench health-check"),
    "NotEnoughGpusOnANode": _("--gpus 0 measures on the CPU; --node-selector chooses other nodes"),
}


def trial_run(
    name: str,
    model: str,
    *,
    gpus: int,
    node_selector: Mapping[str, str],
    runner_class: str,
    random_weights: bool,
    clip: Mapping[str, int],
    steps: int | None,
    prompt: str,
    seconds: int,
) -> dict[str, Any]:
    """Return the manifest; it may take at most so many seconds, waiting for a node included."""
    variant: dict[str, Any] = {"name": "default"}
    if clip:
        variant["clip"] = dict(clip)
    if steps is not None:
        variant["steps"] = steps
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkRun",
        "metadata": {"name": name},
        "spec": {
            "runnerClassName": runner_class,
            "models": [{"name": model} | ({"weights": "Random"} if random_weights else {})],
            "hardware": [
                {"name": HARDWARE, "gpus": gpus} | ({"nodeSelector": dict(node_selector)} if node_selector else {})
            ],
            "variants": [variant],
            "workload": {"prompts": [{"id": "test", "text": prompt}]},
            "measurement": {"warmup": {"min": 0}},
            "failurePolicy": {"infrastructureRetries": 1, "unknownRetries": 0},
            "validity": {"onInvalid": "Flag"},
            "timeouts": {"runSeconds": seconds, "schedulingSeconds": seconds},
        },
    }


def trial_name(model: str, letters: str) -> str:
    """Return a name for the run: at most 40 characters."""
    plain = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in model.lower())
    return f"test-{plain[:26].strip('-') or 'model'}-{letters}"


def remedy_of(reason: str | None) -> str:
    """Return what to do about a reason: of the run's end, or of its one attempt, as the operator's table has it."""
    of_attempt = next((entry.next_step for entry in FAILURES if entry.reason.value == reason), "")
    more = _(
        "docs/failures.md has the reasons; its own words: the same with --keep, then vidbench logs RUN (with --local: log.txt below vidbench-runs)"
    )
    return "\n".join(text for text in (_OF_CONDITIONS.get(reason or "", of_attempt), more) if text)


def is_good(row: CellRow | None) -> bool:
    """Whether the model made its clip."""
    return row is not None and row.outcome is Outcome.SUCCEEDED
