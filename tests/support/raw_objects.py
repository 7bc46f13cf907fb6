"""Jobs, pods and nodes as the API server gives them, with the fields that controllers and kubelets write."""

from __future__ import annotations

from typing import Any

from vidbench_api.names import API_VERSION, LABEL_RUN, RUNNER_CONTAINER

Raw = dict[str, Any]
CREATED = "2026-11-23T04:00:00Z"
LATER = "2026-11-23T04:01:00Z"


def raw_job(name: str = "nightly-0123abcd-1-1", uid: str = "job-1", run_uid: str = "run-1", **status: Any) -> Raw:
    """Return a Job of a run."""
    owner = {"apiVersion": API_VERSION, "kind": "BenchmarkRun", "name": "nightly", "uid": run_uid, "controller": True}
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": uid,
            "creationTimestamp": CREATED,
            "labels": {LABEL_RUN: "nightly"},
            "ownerReferences": [owner],
        },
        "spec": {},
        "status": status,
    }


def ended_job(kind: str = "Complete", reason: str = "", message: str = "", **identity: str) -> Raw:
    """Return a Job that has ended."""
    condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": LATER}
    return raw_job(conditions=[condition], **identity)


def raw_pod(uid: str = "pod-1", job_uid: str = "job-1", phase: str = "Pending", **status: Any) -> Raw:
    """Return a pod of a Job."""
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "nightly-0123abcd-1-1",
        "uid": job_uid,
        "controller": True,
    }
    return {
        "metadata": {
            "name": f"nightly-0123abcd-1-1-{uid}",
            "namespace": "team",
            "uid": uid,
            "creationTimestamp": CREATED,
            "labels": {LABEL_RUN: "nightly"},
            "ownerReferences": [owner],
        },
        "spec": {},
        "status": {"phase": phase, **status},
    }


def ended_pod(uid: str = "pod-1", job_uid: str = "job-1", exit_code: int = 0, message: str = "verdict") -> Raw:
    """Return a pod whose runner has ended, beside a sidecar that has not."""
    terminated = {
        "exitCode": exit_code,
        "reason": "Completed" if exit_code == 0 else "Error",
        "message": message,
        "startedAt": CREATED,
        "finishedAt": LATER,
    }
    pod = raw_pod(uid, job_uid, "Succeeded" if exit_code == 0 else "Failed")
    pod["spec"]["nodeName"] = "node-1"
    pod["status"]["containerStatuses"] = [
        {"name": "sidecar", "state": {"running": {"startedAt": CREATED}}},
        {"name": RUNNER_CONTAINER, "imageID": "sha256:1", "state": {"terminated": terminated}},
    ]
    return pod


def raw_node(name: str = "node-1", ready: str = "True") -> Raw:
    """Return a node."""
    return {
        "metadata": {"name": name, "labels": {"gpu": "h100"}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": LATER}],
            "allocatable": {"nvidia.com/gpu": "8"},
        },
    }


def raw_run(name: str = "nightly", uid: str = "run-1", **status: Any) -> Raw:
    """Return a stored run of one model."""
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkRun",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": uid,
            "generation": 2,
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
        },
        "spec": {"models": [{"name": "wan"}], "workload": {"prompts": [{"id": "cat", "text": "a cat"}]}},
        "status": status,
    }
