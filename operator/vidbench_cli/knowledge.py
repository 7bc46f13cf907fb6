"""Asks a cluster for what a plan needs to know: class, models, ledger, nodes, queue. Decides nothing, writes nothing.

What this user may not read is left out with the reason; only a cluster that does not answer is an error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from vidbench_api.catalogue import CATALOGUE
from vidbench_api.kinds import RunnerClassSpec, VideoModelSpec
from vidbench_api.names import LABEL_BASELINE, LABEL_MODEL
from vidbench_api.result import BenchmarkResultSpec
from vidbench_operator.core.estimates import LedgerHead
from vidbench_operator.core.observed import ObservedNode, ObservedRun, References
from vidbench_operator.core.projections import explain, project_ledger_head, project_node, project_result

from .checking import class_in, models_in
from .cluster import CLASSES, MODELS, NODES, RESULTS, Cluster
from .cluster_answers import Resource
from .errors import ClusterAwayError, ClusterError, NotFoundError, NotServedError
from .planning import Knowledge, permissive_class
from .texts import _

Object = dict[str, Any]
_QUEUES = tuple(Resource("localqueues", "LocalQueue", "kueue.x-k8s.io", version) for version in ("v1beta2", "v1beta1"))


def ask_cluster(cluster: Cluster, run: ObservedRun, bodies: Sequence[Object], namespace: str) -> Knowledge:
    """Return what the cluster knows of a run that is not applied yet; objects of the same file count as applied."""
    why: dict[str, str] = {}
    results, heads = _ledger(cluster, run, namespace, why)
    return Knowledge(
        references=_references(cluster, run, bodies, namespace, why),
        catalogue=CATALOGUE,
        now=time.time(),
        results=results,
        heads=heads,
        baselines=read_baselines(cluster, run, namespace),
        nodes=_nodes(cluster, why),
        queue_exists=_queue_exists(cluster, run.spec.scheduling.queue_name, namespace),
        why=why,
    )


def ask_nobody(run: ObservedRun, bodies: Sequence[Object]) -> Knowledge:
    """Return what is known without a cluster: the file and the catalogue."""
    why = _("no cluster was asked (--offline)")
    runner_class = class_in(bodies, run.spec.runner_class_name)
    references = References(runner_class or permissive_class(), models_in(bodies))
    reasons = {"ledger": why, "nodes": why} | ({} if runner_class else {"class": why})
    return Knowledge(references, CATALOGUE, time.time(), why=reasons)


def read_class(cluster: Cluster, name: str) -> RunnerClassSpec | str | None:
    """Return a class; None where there is none; a text where it is there and cannot be read."""
    try:
        return RunnerClassSpec.model_validate(cluster.get(CLASSES, name).get("spec"))
    except NotFoundError:
        return None
    except ValidationError as error:
        return explain(error, "spec")


def read_models(cluster: Cluster, namespace: str) -> tuple[dict[str, VideoModelSpec], dict[str, str]]:
    """Return the VideoModels of a namespace by name, and what is wrong with those that cannot be read."""
    models: dict[str, VideoModelSpec] = {}
    broken: dict[str, str] = {}
    for body in cluster.find(MODELS, namespace=namespace):
        name = body["metadata"]["name"]
        try:
            models[name] = VideoModelSpec.model_validate(body.get("spec"))
        except ValidationError as error:
            broken[f"VideoModel/{name}"] = explain(error, "spec")
    return models, broken


def read_ledger(
    cluster: Cluster, namespace: str, models: Sequence[str] = ()
) -> tuple[dict[str, BenchmarkResultSpec], tuple[LedgerHead, ...]]:
    """Return the results of a namespace by name, of these models or of all, and what their metadata tells of times."""
    labels = f"{LABEL_MODEL} in ({','.join(sorted(models))})" if models else ""
    bodies = cluster.find(RESULTS, namespace=namespace, labels=labels)
    specs = {body["metadata"]["name"]: spec for body in bodies if (spec := project_result(body)) is not None}
    heads = (project_ledger_head(body) for body in bodies)
    return specs, tuple(head for head in heads if head is not None)


def read_nodes(cluster: Cluster) -> dict[str, ObservedNode]:
    """Return the nodes by name; raises ClusterError where they are not visible."""
    nodes = (project_node(body) for body in cluster.find(NODES))
    return {node.name: node for node in nodes if node is not None}


def read_baselines(cluster: Cluster, run: ObservedRun, namespace: str) -> dict[str, tuple[BenchmarkResultSpec, ...]]:
    """Return the results of each baseline; one that cannot be read is left out, and a chance then says what it assumes."""
    found = {}
    for baseline in run.spec.baselines if run.spec.gates else ():
        labels = baseline.selector.match_labels if baseline.selector else {LABEL_BASELINE: baseline.name}
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        try:
            bodies = cluster.find(RESULTS, namespace=namespace, labels=selector)
        except ClusterAwayError:
            raise
        except ClusterError:
            continue
        found[baseline.name] = tuple(spec for body in bodies if (spec := project_result(body)) is not None)
    return found


def _references(
    cluster: Cluster, run: ObservedRun, bodies: Sequence[Object], namespace: str, why: dict[str, str]
) -> References:
    name = run.spec.runner_class_name
    models, broken = read_models(cluster, namespace)
    try:
        runner_class = class_in(bodies, name) or read_class(cluster, name)
    except ClusterAwayError:
        raise
    except ClusterError as error:
        why["class"] = _("RunnerClass {name!r} was not looked at: {error}").format(name=name, error=error.message)
        runner_class = permissive_class()
    if isinstance(runner_class, str):
        broken[f"RunnerClass/{name}"] = runner_class
        runner_class = None
    return References(runner_class, {**models, **models_in(bodies)}, broken)


def _ledger(
    cluster: Cluster, run: ObservedRun, namespace: str, why: dict[str, str]
) -> tuple[Mapping[str, BenchmarkResultSpec] | None, tuple[LedgerHead, ...]]:
    try:
        return read_ledger(cluster, namespace, [model.name for model in run.spec.models])
    except ClusterAwayError:
        raise
    except ClusterError as error:
        why["ledger"] = _("the ledger cannot be read: {error}").format(error=error.message)
        return None, ()


def _nodes(cluster: Cluster, why: dict[str, str]) -> dict[str, ObservedNode] | None:
    try:
        return read_nodes(cluster)
    except ClusterAwayError:
        raise
    except ClusterError as error:
        why["nodes"] = _("nodes are not visible: {error}").format(error=error.message)
        return None


def _queue_exists(cluster: Cluster, name: str, namespace: str) -> bool | None:
    """Whether there is such a LocalQueue; None where none is asked for, or queues may not be read."""
    if not name:
        return None
    for queues in _QUEUES:
        try:
            cluster.get(queues, name, namespace=namespace)
        except (NotFoundError, NotServedError):
            continue
        except ClusterAwayError:
            raise
        except ClusterError:
            return None
        return True
    return False
