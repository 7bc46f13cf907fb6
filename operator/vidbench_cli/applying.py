"""Brings the objects of a file to a cluster: one run, and what stands with it, in an order in which each finds the others.

Server-side apply, so that a second time changes nothing; a run with `generateName` is created. A run that has ended is never
taken for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .cluster import RUNS, Cluster
from .cluster_answers import Resource
from .errors import UsageError
from .runs import run_view
from .texts import _

Object = dict[str, Any]
_FIRST = (
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "ConfigMap",
    "PersistentVolumeClaim",
    "RunnerClass",
)


def prepare(bodies: Sequence[Object], name: str | None) -> list[Object]:
    """Return the objects in order, the one BenchmarkRun last and under its other name; raises UsageError."""
    runs = [body for body in bodies if body.get("kind") == RUNS.kind]
    if len(runs) != 1:
        raise UsageError(
            _("the file holds {count} BenchmarkRuns; one is needed").format(count=len(runs)),
            _("vidbench init writes one; several: one command each, or kubectl apply -f FILE"),
        )
    for body in bodies:
        _require_identity(body)
    rest = sorted((body for body in bodies if body is not runs[0]), key=_rank)
    run = runs[0]
    if name:
        metadata = {key: value for key, value in run["metadata"].items() if key != "generateName"}
        run = run | {"metadata": metadata | {"name": name}}
    return [*rest, run]


def _rank(body: Object) -> int:
    return _FIRST.index(body["kind"]) if body["kind"] in _FIRST else len(_FIRST)


def _require_identity(body: Object) -> None:
    metadata = body.get("metadata")
    named = isinstance(metadata, dict) and (metadata.get("name") or metadata.get("generateName"))
    if not (isinstance(body.get("kind"), str) and isinstance(body.get("apiVersion"), str) and named):
        raise UsageError(
            _("an object of the file lacks kind, apiVersion or metadata.name: {body:.80}").format(body=str(body)),
            _("kubectl explain br shows the shape; vidbench init writes one"),
        )


def apply_all(cluster: Cluster, bodies: Sequence[Object], *, dry_run: bool, say: Callable[[str], None]) -> Object:
    """Apply all objects and return the run as it is stored; raises CommandError. `say` hears of each object."""
    known: dict[tuple[str, str], Resource] = {}
    for body in bodies[:-1]:
        key = (body["apiVersion"], body["kind"])
        if key not in known:
            known[key] = cluster.discover(*key)
        cluster.apply(known[key], body, namespace=body["metadata"].get("namespace"), dry_run=dry_run)
        said = _("{kind} {name} would be applied") if dry_run else _("{kind} {name} applied")
        say(said.format(kind=body["kind"], name=body["metadata"].get("name") or body["metadata"]["generateName"]))
    return _apply_run(cluster, bodies[-1], dry_run=dry_run)


def _apply_run(cluster: Cluster, body: Object, *, dry_run: bool) -> Object:
    namespace = body["metadata"].get("namespace") or cluster.namespace
    if not body["metadata"].get("name"):
        return cluster.create(RUNS, body, namespace=namespace, dry_run=dry_run)
    name = body["metadata"]["name"]
    there = _find(cluster, name, namespace)
    if there is not None and run_view(there).ended:
        raise UsageError(
            _("BenchmarkRun {name!r} in namespace {namespace!r} has ended, and an ended run stays ended").format(
                name=name, namespace=namespace
            ),
            _("give the new one another name: --name {name}-2; what is measured need not be measured again: reuse: IfIdentical\n"
              "its result: vidbench get {name} -n {namespace}").format(name=name, namespace=namespace),
        )  # fmt: skip
    try:
        return cluster.apply(RUNS, body, namespace=namespace, force=True, dry_run=dry_run)
    except UsageError as error:
        if there is None:
            raise
        error.remedy += "\n" + _("a run of that name is there already, and its spec cannot be changed: --name OTHER")
        raise


def _find(cluster: Cluster, name: str, namespace: str) -> Object | None:
    found = cluster.find(RUNS, namespace=namespace, fields=f"metadata.name={name}")
    return found[0] if found else None
