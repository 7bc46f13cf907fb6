"""What erasing runs means: which objects and rows go, in which order, and what cannot be reached from here, and why. Pure.

Prompts' texts are in the run itself and in its request document, nowhere else that vidbench writes: results, samples and the store
hold their ids. What was made from them, videos and samples, is on claims of the cluster.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vidbench_api.identity import request_name

from .output import Column, Line, Page, Table, cell
from .texts import _

_CLAIM = "claim://"
IMAGE = "busybox:stable"
"""Of the pod that erases folders of a claim: it needs `rm` and nothing else."""


class Ending(StrEnum):
    """What became of a thing."""

    ERASED = "Erased"
    PLANNED = "WouldBeErased"
    NOT_THERE = "NotThere"
    KEPT = "Kept"
    FAILED = "Failed"
    NOT_REACHED = "NotReached"

    @property
    def is_open(self) -> bool:
        """Whether somebody has something left to do."""
        return self in (Ending.FAILED, Ending.NOT_REACHED)


@dataclass(frozen=True)
class Finding:
    """One thing that held something of the runs, and what became of it. `remedy`: what is left to do, or how."""

    what: str
    where: str
    ending: Ending
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Subject:
    """A run that is to be erased, as it can still be seen. Without `exists` only its results are there."""

    name: str
    namespace: str
    uid: str
    exists: bool
    request: str
    prompts: int | None = None
    claims: tuple[str, ...] = ()
    """`claim://NAME/PATH` of its artifacts."""

    cells: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Models that a server of somebody's answered for: it was sent the prompts."""

    ended: bool = True


@dataclass
class _Seen:
    name: str
    namespace: str
    run: Mapping[str, Any] | None = None
    results: list[Mapping[str, Any]] = field(default_factory=list)


def subjects_of(runs: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> list[Subject]:
    """Return the subjects of run objects, and of results whose run is gone; by namespace, name and UID."""
    seen: dict[str, _Seen] = {}
    for run in runs:
        metadata = run["metadata"]
        seen[metadata["uid"]] = _Seen(metadata["name"], metadata["namespace"], run)
    for result in results:
        reference = (result.get("spec") or {}).get("run") or {}
        if not reference.get("uid"):
            continue
        entry = seen.setdefault(
            reference["uid"], _Seen(str(reference.get("name", "")), str(result["metadata"]["namespace"]))
        )
        entry.results.append(result)
    subjects = [_subject(uid, entry) for uid, entry in seen.items()]
    return sorted(subjects, key=lambda subject: (subject.namespace, subject.name, subject.uid))


def _subject(uid: str, seen: _Seen) -> Subject:
    run = seen.run or {}
    spec, status = run.get("spec") or {}, run.get("status") or {}
    specs = [result["spec"] for result in seen.results]
    rows = {str(row["id"]) for row in status.get("rows") or () if row.get("id")}
    cells = rows | {str(entry["cell"]["id"]) for entry in specs if entry.get("cell", {}).get("id")}
    stated = (spec.get("artifacts") or {}).get("storageUri") or ""
    uris = {stated} | {_above(str((entry.get("artifacts") or {}).get("uri", "")), seen.name) for entry in specs}
    services = {str(entry["cell"]["model"]) for entry in specs if entry.get("comparability") == "Service"}
    conditions = {entry.get("type"): entry.get("status") for entry in status.get("conditions") or ()}
    return Subject(
        name=seen.name,
        namespace=seen.namespace,
        uid=uid,
        exists=seen.run is not None,
        request=status.get("requestName") or request_name(seen.name, uid),
        prompts=len((spec.get("workload") or {}).get("prompts") or ()) if seen.run is not None else None,
        claims=tuple(sorted(uri for uri in uris if uri.startswith(_CLAIM))),
        cells=tuple(sorted(cells)),
        results=tuple(sorted(str(result["metadata"]["name"]) for result in seen.results)),
        services=tuple(sorted(services)),
        ended=seen.run is None or "True" in (conditions.get("Complete"), conditions.get("Failed")),
    )


def _above(uri: str, run: str) -> str:
    """Return the part of an attempt's URI above RUN/CELL/SHARD/ATTEMPT."""
    parts = uri.split("/")
    return "/".join(parts[:-4]) if len(parts) > 4 and parts[-4] == run else ""


def mentions(run: Mapping[str, Any], text: str) -> bool:
    """Whether a prompt of a run holds the text, capitals or not."""
    wanted = text.casefold()
    prompts = ((run.get("spec") or {}).get("workload") or {}).get("prompts") or ()
    fields = [str(prompt.get(key) or "") for prompt in prompts for key in ("id", "text", "negativeText")]
    return any(wanted in entry.casefold() for entry in fields)


def out_of_reach(subject: Subject, context: str | None = None, storage: bool = False) -> list[Finding]:
    """Return what was not erased from here, with what to do about each; with `storage` claims were seen to."""
    place = f"{subject.namespace}/{subject.name}"
    left = [entry for entry in stored_of(subject) if not (storage and entry.folders)]
    found = [_claim_finding(subject, entry, context) for entry in left]
    found += [
        Finding(
            _("prompts that a service was sent"),
            _("the server behind model {model}").format(model=model),
            Ending.NOT_REACHED,
            _("it is not ours, and may have kept them"),
            _("ask whoever runs it"),
        )
        for model in subject.services
    ]
    if subject.exists:
        found.append(
            Finding(
                _("old revisions of these objects"),
                _("etcd and its backups, the API server's audit log, backups of the cluster"),
                Ending.NOT_REACHED,
                _("what was deleted stays there until etcd compacts (minutes) and backups and logs expire"),
                _("ask the cluster's admins when theirs do"),
            )
        )
    found.append(
        Finding(
            _("copies that people made"),
            _("manifests of {place} in files and repositories, exports, other stores, logs of proxies").format(
                place=place
            ),
            Ending.NOT_REACHED,
            _("vidbench does not know of them; a GitOps controller would apply the run again"),
            _("delete them where they are"),
        )
    )
    return found


def _claim_finding(subject: Subject, stored: Stored, context: str | None) -> Finding:
    what, where = _("videos, samples and verdicts"), f"{stored.uri}/{subject.name}"
    why = _("only a pod of the namespace can mount the claim")
    if not stored.folders:
        return Finding(what, where, Ending.NOT_REACHED, why, _("look below that folder for folders of this run"))
    command = _erasing_command(subject.namespace, stored.claim, stored.folders, context)
    remedy = _("vidbench erase {name} --storage runs such a pod; by hand: {command}")
    return Finding(what, where, Ending.NOT_REACHED, why, remedy.format(name=subject.name, command=command))


@dataclass(frozen=True)
class Stored:
    """Folders of a run on a claim, as a pod that mounts it at /claim sees them."""

    uri: str
    claim: str
    folders: tuple[str, ...]


def stored_of(subject: Subject) -> tuple[Stored, ...]:
    """Return where a run's artifacts are, by cell: another run of the same name has its folders beside them."""
    found = []
    for uri in subject.claims:
        claim, _slash, path = uri.removeprefix(_CLAIM).partition("/")
        above = f"/claim/{path}/" if path else "/claim/"
        found.append(Stored(uri, claim, tuple(f"{above}{subject.name}/{identity}" for identity in subject.cells)))
    return tuple(found)


def erasing_pod(claim: str, folders: Sequence[str], image: str) -> dict[str, Any]:
    """Return the spec of a pod that deletes the folders; it holds to the restricted profile."""
    container = {
        "name": "vidbench-erase",
        "image": image,
        "command": ["rm", "-rf", "--", *folders],
        "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "containers": [container],
        "restartPolicy": "Never",
        # A command that was killed leaves its pod: it must not hold the claim for ever.
        "activeDeadlineSeconds": 3600,
        "automountServiceAccountToken": False,
        "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _erasing_command(namespace: str, claim: str, folders: Sequence[str], context: str | None) -> str:
    overrides = json.dumps({"spec": erasing_pod(claim, folders, IMAGE)})
    words = [
        "kubectl", *(["--context", context] if context else []), "run", "vidbench-erase", "-n", namespace,
        f"--image={IMAGE}", "--restart=Never", "--rm", "--attach", f"--overrides={overrides}",
    ]  # fmt: skip
    return shlex.join(words)


def erasure_page(findings: Sequence[Finding]) -> Page:
    """Return the page: what was erased, what was not, and why; then what is left to do."""
    columns = (
        Column("what", _("WHAT")), Column("where", _("WHERE"), folds=True), Column("ending", _("ENDING")),
        Column("why", _("WHY"), folds=True), Column("remedy", _("WHAT IS LEFT TO DO"), wide=True, folds=True),
    )  # fmt: skip
    styles = {Ending.ERASED: "green", Ending.FAILED: "red", Ending.NOT_REACHED: "yellow"}
    rows = tuple(
        (
            cell(entry.what), cell(entry.where), cell(entry.ending.value, style=styles.get(entry.ending, "")),
            cell(entry.why or None), cell(entry.remedy or None),
        )
        for entry in findings
    )  # fmt: skip
    left = [entry for entry in findings if entry.remedy and entry.ending is not Ending.ERASED]
    notes = [Line(_("What is left to do:"), "bold")] if left else []
    for entry in left:
        notes += [Line(f"{entry.what}, {entry.where}:"), Line(f"  {entry.remedy}")]
    return Page(tables=(Table(columns, rows),), notes=tuple(notes))
