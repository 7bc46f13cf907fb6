"""`vidbench erase`: prompts and artifacts of runs out of the cluster and the store, and what that does not reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidbench_cli.completion import complete_runs
from vidbench_cli.errors import ClusterError, CommandError, NotFoundError, UsageError
from vidbench_cli.options import Context, Kubeconfig, Namespace, Output
from vidbench_cli.output import Format, write
from vidbench_cli.texts import _, ngettext

from .ledger import DryRun, StoreOption, Yes, confirm, open_store

if TYPE_CHECKING:
    from vidbench_cli.cluster import Cluster
    from vidbench_cli.cluster_answers import Resource
    from vidbench_cli.erasure import Finding, Subject

_PODS_SECONDS = 60.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        help=_("Erase the prompts of runs (and with --results all of them) and say what cannot be reached, and why.")
    )(erase)


def erase(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help=_("Names of BenchmarkRuns."), autocompletion=complete_runs)] = None,
    selector: Annotated[str, typer.Option("--selector", "-l", help=_("Runs with these labels, e.g. subject=alice."))] = "",
    containing: Annotated[str, typer.Option(help=_("Runs with a prompt that holds this text."))] = "",
    results: Annotated[bool, typer.Option("--results", help=_("Erase their results too, here and in the store."))] = False,
    storage: Annotated[bool, typer.Option("--storage", help=_("Erase what they stored on claims too, by a pod that mounts the claim."))] = False,
    image: Annotated[str | None, typer.Option(help=_("With --storage: the pod's image; it needs `rm`. Default: busybox:stable."))] = None,
    store: StoreOption = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:  # fmt: skip
    """Find the runs, show what goes, ask, erase, and show what went."""
    if not runs and not selector and not containing:
        raise UsageError(_("nothing says which runs"), _("name them, or use --selector or --containing"))
    from vidbench_cli.cluster import Cluster, Where
    from vidbench_cli.erasure import IMAGE, Ending, erasure_page, out_of_reach
    from vidbench_cli.storage_eraser import erase_storage

    if image and not storage:
        raise UsageError(_("--image is of the pod of --storage"), _("add --storage"))

    cluster = Cluster(Where(kubeconfig, context, namespace))
    subjects = _find(cluster, runs or [], selector, containing)
    if not dry_run:
        names = ", ".join(f"{subject.namespace}/{subject.name}" for subject in subjects)
        running = [subject.name for subject in subjects if not subject.ended]
        warning = _(" Still running, and stopped by this: {names}.").format(names=", ".join(running)) if running else ""
        confirm(
            ngettext(
                "Erase {count} run for good: {names}?{warning}",
                "Erase {count} runs for good: {names}?{warning}",
                len(subjects),
            ).format(count=len(subjects), names=names, warning=warning),
            yes,
        )
    findings: list[Finding] = []
    for subject in subjects:
        findings += _erase_objects(cluster, subject, results, dry_run)
        if storage:
            findings += erase_storage(cluster, subject, image or IMAGE, dry_run)
    findings += _erase_rows(store, subjects, results, dry_run)
    for subject in subjects:
        findings += out_of_reach(subject, context, storage)
    write(erasure_page(findings), output)
    failed = [entry for entry in findings if entry.ending is Ending.FAILED]
    if failed:
        raise ClusterError(
            ngettext("{count} thing could not be erased", "{count} things could not be erased", len(failed)).format(
                count=len(failed)
            ),
            "\n".join(f"{entry.what}, {entry.where}: {entry.why}" for entry in failed),
        )


def _find(cluster: Cluster, names: list[str], selector: str, containing: str) -> list[Subject]:
    """Return the runs that are meant; raises NotFoundError if a name leads to no run and no result."""
    from vidbench_api.names import LABEL_RUN
    from vidbench_cli.cluster import RESULTS, RUNS
    from vidbench_cli.erasure import mentions, subjects_of

    found = [
        run
        for run in cluster.find(RUNS, labels=selector)
        if (not names or run["metadata"]["name"] in names) and (not containing or mentions(run, containing))
    ]
    known = {run["metadata"]["name"] for run in found}
    # A run that is gone is known by its results alone; what its prompts said is gone with it.
    wanted = known | (set(names) if not selector and not containing else set())
    results = [result for name in sorted(wanted) for result in cluster.find(RESULTS, labels=f"{LABEL_RUN}={name}")]
    if selector or containing:
        uids = {run["metadata"]["uid"] for run in found}
        results = [result for result in results if result["spec"]["run"]["uid"] in uids]
    subjects = subjects_of(found, results)
    missing = sorted(set(names) - {subject.name for subject in subjects})
    if missing or not subjects:
        raise NotFoundError(
            _("there is no such run in namespace {namespace!r}, nor a result of one: {names}").format(
                namespace=cluster.namespace, names=", ".join(missing) or selector or _("(none has such a prompt)")
            ),
            _("see what there is: vidbench get; another namespace: -n NAME. Nothing was erased."),
        )
    return subjects


def _erase_objects(cluster: Cluster, subject: Subject, results: bool, dry_run: bool) -> list[Finding]:
    """Delete the run first: while it is there, the operator writes its request document anew."""
    from vidbench_cli.cluster import CONFIGMAPS, RESULTS, RUNS
    from vidbench_cli.erasure import Ending, Finding

    where = subject.namespace
    count = subject.prompts
    prompts = (
        _("prompts") if count is None else ngettext("{count} prompt", "{count} prompts", count).format(count=count)
    )
    run = f"BenchmarkRun {where}/{subject.name}"
    gone = Finding(_("the run with its prompts"), run, Ending.NOT_THERE, _("it was deleted before"))
    findings = [
        _delete(
            cluster,
            RUNS,
            subject.name,
            _("the run with its {prompts}").format(prompts=prompts),
            where,
            dry_run,
            subject.uid,
        )
        if subject.exists
        else gone,
        _delete(cluster, CONFIGMAPS, subject.request, _("the request document with its prompts"), where, dry_run),
    ]
    if findings[0].ending is Ending.FAILED:
        findings[1] = Finding(
            findings[1].what,
            findings[1].where,
            Ending.FAILED,
            _("the operator writes it anew as long as the run is there"),
        )
    findings.append(_wait_for_pods(cluster, subject, dry_run))
    what = ngettext(
        "{count} result (prompts by id alone)", "{count} results (prompts by id alone)", len(subject.results)
    ).format(count=len(subject.results))
    if not results:
        findings.append(Finding(what, f"{where}: BenchmarkResults", Ending.KEPT, _("erase them too with --results")))
        return findings
    names = set(subject.results)
    if not dry_run:
        try:
            names |= _results_by_now(cluster, subject)
        except CommandError as error:
            findings.append(
                Finding(_("later results"), f"{where}: BenchmarkResults", Ending.FAILED, error.message, error.remedy)
            )
    return findings + [_delete(cluster, RESULTS, name, _("a result"), where, dry_run) for name in sorted(names)]


def _results_by_now(cluster: Cluster, subject: Subject) -> set[str]:
    """Return the names of a run's results: more may have come while somebody was asked, and until the run was gone."""
    from vidbench_api.names import LABEL_RUN_UID
    from vidbench_cli.cluster import RESULTS

    found = cluster.find(RESULTS, namespace=subject.namespace, labels=f"{LABEL_RUN_UID}={subject.uid}")
    return {str(result["metadata"]["name"]) for result in found}


def _delete(
    cluster: Cluster, resource: Resource, name: str, what: str, namespace: str, dry_run: bool, uid: str = ""
) -> Finding:
    from vidbench_cli.erasure import Ending, Finding

    where = f"{resource.kind} {namespace}/{name}"
    try:
        if dry_run:
            cluster.get(resource, name, namespace=namespace)
            return Finding(what, where, Ending.PLANNED)
        cluster.delete(resource, name, namespace=namespace, uid=uid)
        ending = Ending.ERASED if _wait(lambda: _is_gone(cluster, resource, name, namespace)) else Ending.FAILED
    except NotFoundError:
        return Finding(what, where, Ending.NOT_THERE)
    except CommandError as error:
        return Finding(what, where, Ending.FAILED, error.message, error.remedy)
    why = "" if ending is Ending.ERASED else _("it is being deleted and is still there; a finalizer holds it")
    return Finding(what, where, ending, why)


def _is_gone(cluster: Cluster, resource: Resource, name: str, namespace: str) -> bool:
    return not cluster.find(resource, namespace=namespace, fields=f"metadata.name={name}")


def _wait_for_pods(cluster: Cluster, subject: Subject, dry_run: bool) -> Finding:
    """Pods mount the request document, so nodes hold it as long as they are there."""
    from vidbench_api.names import LABEL_RUN_UID
    from vidbench_cli.cluster import PODS
    from vidbench_cli.erasure import Ending, Finding

    what, where = _("pods that mount the request document"), f"{subject.namespace}: {LABEL_RUN_UID}={subject.uid}"

    def pods() -> list[Any]:
        return cluster.find(PODS, namespace=subject.namespace, labels=f"{LABEL_RUN_UID}={subject.uid}")

    try:
        if not pods():
            return Finding(what, where, Ending.NOT_THERE)
        if dry_run:
            return Finding(what, where, Ending.PLANNED, _("they go with the run"))
        if _wait(lambda: not pods()):
            return Finding(what, where, Ending.ERASED)
    except CommandError as error:
        return Finding(what, where, Ending.FAILED, error.message, error.remedy)
    remedy = f"kubectl delete pods -n {subject.namespace} -l {LABEL_RUN_UID}={subject.uid}"
    return Finding(what, where, Ending.FAILED, _("they were still there after a minute"), remedy)


def _wait(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PODS_SECONDS
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _erase_rows(store: str | None, subjects: list[Subject], results: bool, dry_run: bool) -> list[Finding]:
    """Erase the rows of the store, if that is asked for; it holds no prompt in any case."""
    from vidbench_cli.erasure import Ending, Finding

    uids = [subject.uid for subject in subjects]
    what = _("rows of the store (prompts by id alone)")
    try:
        with open_store(store) as opened:
            place = opened.location.text
            number = opened.erase_runs(uids, rehearse=dry_run or not results)
    except CommandError as error:
        if not results:
            return [
                Finding(
                    what,
                    _("the store"),
                    Ending.NOT_REACHED,
                    error.message,
                    _("it holds no prompts; name another one with --store"),
                )
            ]
        return [
            Finding(
                what, _("the store"), Ending.FAILED, error.message, _("run it again with --store, or vidbench init-db")
            )
        ]
    if not results:
        return [Finding(what, f"{place}: {number}", Ending.KEPT, _("erase them too with --results"))]
    if dry_run:
        return [Finding(what, f"{place}: {number}", Ending.PLANNED)]
    return [
        Finding(
            what,
            f"{place}: {number}",
            Ending.ERASED,
            _(
                "and `vidbench sync` does not bring them back; PostgreSQL overwrites them at its next VACUUM, backups keep them"
            ),
        )
    ]
