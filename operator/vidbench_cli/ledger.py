"""Finds results: in a namespace of a cluster, in a results store, or in files. One `find` for all three.

A run's name may have been used before; then the results of its latest UID are meant, and `notes` say what was left
out. Results that a run reused belong to the runs that measured them and are found through the run's status.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import yaml
from pydantic import ValidationError

from vidbench_analysis.observations import has_random_weights
from vidbench_api.identity import request_name
from vidbench_api.names import LABEL_BASELINE, LABEL_RUN, REQUEST_KEY
from vidbench_api.result import BenchmarkResultSpec, CellReference, RunReference

from .errors import ClusterError, CommandError, NotFoundError, UsageError
from .selectors import LedgerEntry, Selector
from .texts import _, ngettext

if TYPE_CHECKING:
    from .cluster import Cluster
    from .runs import RunView

KIND = "BenchmarkResult"
_RUN = "BenchmarkRun"
_CONFIGMAP = "ConfigMap"
_MOST_NAMES = 8


@dataclass(frozen=True)
class Found:
    """What a selector selects; `notes` are for people."""

    selector: Selector
    entries: tuple[LedgerEntry, ...]
    notes: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[BenchmarkResultSpec, ...]:
        """Return the results themselves."""
        return tuple(entry.spec for entry in self.entries)


class Ledger(Protocol):
    """A place that holds results."""

    @property
    def place(self) -> str:
        """Return what people call it."""
        ...

    def find(self, selector: Selector) -> Found:
        """Return what a selector selects; raises a CommandError where that is nothing."""
        ...

    def all(self) -> tuple[LedgerEntry, ...]:
        """Return everything."""
        ...

    def labelled(self, baseline: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return the results of a baseline, or of all baselines."""
        ...

    def requests(self, results: Iterable[BenchmarkResultSpec], /) -> Iterator[str]:
        """Yield what may be the request documents of results; a document may be gone, or not ours to read."""
        ...


def entry_of(raw: Any) -> LedgerEntry:
    """Return a BenchmarkResult object as an entry; raises UsageError for one that another version wrote."""
    metadata = raw.get("metadata") or {}
    name = str(metadata.get("name") or "?")
    try:
        spec = BenchmarkResultSpec.model_validate(raw.get("spec"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UsageError(
            _("BenchmarkResult {name!r} does not fit: {field}: {problem}").format(
                name=name, field=".".join(map(str, ("spec", *first["loc"]))), problem=first["msg"]
            ),
            _("use the vidbench of the version that wrote it"),
        ) from error
    labels = {str(key): str(value) for key, value in (metadata.get("labels") or {}).items()}
    return LedgerEntry(
        name, str(metadata.get("namespace") or ""), labels, spec, str(metadata.get("creationTimestamp") or "")
    )


def weights_notes(results: Iterable[BenchmarkResultSpec]) -> list[str]:
    """Return a note that names models which were measured with random weights; none where there are none."""
    names = sorted({result.cell.model for result in results if has_random_weights(result)})
    text = _("random weights: {names}; time, memory and energy are those of the configuration, the pictures are noise")
    return [text.format(names=_some(names))] if names else []


def _moment_of(entry: LedgerEntry) -> str:
    return entry.created_at or entry.spec.origin.finished_at or ""


def _without_reused(found: Found, note: str) -> Found:
    """Say that a run's results may be more than these; nothing where there are none."""
    return replace(found, notes=(*found.notes, note)) if found.entries else found


def of_latest_run(found: Found) -> Found:
    """Keep the results of the run that came last, where several had this name."""
    if found.selector.kind != "run":
        return found
    last: dict[str, str] = {}
    for entry in found.entries:
        uid, moment = entry.spec.run.uid, _moment_of(entry)
        last[uid] = max(last.get(uid, ""), moment)
    if len(last) < 2:
        return found
    latest = max(last, key=lambda uid: (last[uid], uid))
    kept = tuple(entry for entry in found.entries if entry.spec.run.uid == latest)
    count = len(found.entries) - len(kept)
    note = ngettext(
        "{count} result of an earlier run called {name} was left out",
        "{count} results of {runs} earlier runs called {name} were left out",
        count,
    ).format(count=count, runs=len(last) - 1, name=found.selector.name)
    return Found(found.selector, kept, (*found.notes, note))


def nothing_found(
    selector: Selector, entries: Iterable[LedgerEntry], place: str, kind: type[CommandError]
) -> CommandError:
    """Return the error for a selector that selects nothing, with the names that there are."""
    entries = tuple(entries)
    named = replace(selector, cell=()).select(entries)
    if named:
        cells = sorted({f"{e.spec.cell.model}/{e.spec.cell.hardware}/{e.spec.cell.variant}" for e in named})
        remedy = _("it has: {cells}").format(cells=_some(cells))
    elif selector.kind == "baseline":
        names = sorted({entry.baseline for entry in entries if entry.baseline})
        remedy = (
            _("there are: {names}").format(names=_some(names))
            if names
            else _("there is no baseline yet: vidbench baseline set {name} RUN").format(name=selector.name)
        )
    else:
        names = sorted({entry.spec.run.name for entry in entries})
        remedy = (
            _("there are results of: {names}").format(names=_some(names))
            if names
            else _("it holds no result of any run")
        )
    return kind(_("{text!r} selects no result in {place}").format(text=selector.text, place=place), remedy)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return (
        shown
        if len(names) <= _MOST_NAMES
        else _("{shown} and {count} more").format(shown=shown, count=len(names) - _MOST_NAMES)
    )


class ClusterLedger:
    """The results of a namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def place(self) -> str:
        """Return the namespace, for people."""
        return _("namespace {name!r}").format(name=self._cluster.namespace)

    def find(self, selector: Selector) -> Found:
        """Return what a selector selects, results that a run reused included; raises ClusterError."""
        label = LABEL_BASELINE if selector.kind == "baseline" else LABEL_RUN
        entries = self._read(f"{label}={selector.name}")
        found = Found(selector, selector.select(entries))
        if selector.kind == "run":
            found = self._as_the_run_says(found)
        if not found.entries:
            raise nothing_found(selector, self.all(), self.place, NotFoundError)
        return found

    def all(self) -> tuple[LedgerEntry, ...]:
        """Return every result of the namespace."""
        return self._read("")

    def labelled(self, baseline: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return the results of a baseline, or of all baselines."""
        return self._read(LABEL_BASELINE if baseline is None else f"{LABEL_BASELINE}={baseline}")

    def requests(self, results: Iterable[BenchmarkResultSpec], /) -> Iterator[str]:
        """Yield the request documents of the runs of these results, as far as they are there and may be read."""
        from .cluster import CONFIGMAPS

        for name, uid in sorted({(result.run.name, result.run.uid) for result in results}):
            try:
                body = self._cluster.get(CONFIGMAPS, request_name(name, uid))
            except ClusterError:
                continue
            yield str((body.get("data") or {}).get(REQUEST_KEY) or "")

    def _read(self, labels: str) -> tuple[LedgerEntry, ...]:
        from .cluster import RESULTS

        return tuple(entry_of(item) for item in self._cluster.find(RESULTS, labels=labels))

    def _as_the_run_says(self, found: Found) -> Found:
        """Take the results of the run that exists; of one that is gone, those of the latest of its name."""
        from .runs import RunReader

        try:
            view = RunReader(self._cluster, found.selector.name).read()
        except NotFoundError:
            return of_latest_run(found)
        return _as_it_says(found, view)


def _as_it_says(found: Found, view: RunView) -> Found:
    """Take a run's own results, and those that it reused, which belong to the runs that measured them."""
    own = tuple(entry for entry in found.entries if entry.spec.run.uid == view.uid)
    notes = found.notes
    if len(own) < len(found.entries):
        count = len(found.entries) - len(own)
        note = ngettext(
            "{count} result of an earlier run called {name} was left out",
            "{count} results of earlier runs called {name} were left out",
            count,
        )
        notes = (*notes, note.format(count=count, name=view.name))
    names = {entry.name for entry in own}
    reused = tuple(
        LedgerEntry(shard.result, view.namespace, {}, _as_of(view.results[shard.result], view.name, view.uid, row))
        for row in view.status.rows
        for shard in row.shards
        if shard.result in view.results and shard.result not in names and view.results[shard.result].run.uid != view.uid
    )
    reused = tuple(entry for entry in reused if found.selector.selects_cell(entry.spec))
    if reused:
        note = ngettext(
            "{count} result was reused from an earlier run",
            "{count} results were reused from earlier runs",
            len(reused),
        )
        notes = (*notes, note.format(count=len(reused)))
    return Found(found.selector, own + reused, notes)


def _as_of(spec: BenchmarkResultSpec, name: str, uid: str, row: Any) -> BenchmarkResultSpec:
    """Return a reused result under the names of the run that reused it; what was measured stays."""
    cell = CellReference(id=row.id, model=row.model, hardware=row.hardware, variant=row.variant)
    return spec.model_copy(update={"run": RunReference(name=name, uid=uid), "cell": cell})


def _view_of(body: dict[str, Any], entries: Iterable[LedgerEntry]) -> RunView:
    """Return a run of a file with the results that it names; raises UsageError where another version wrote it."""
    from .runs import run_view

    metadata = {"namespace": ""} | body["metadata"]
    try:
        view = run_view(body | {"metadata": metadata})
    except ClusterError as error:
        raise UsageError(error.message, _("use the vidbench of the version that wrote it")) from error
    named = {shard.result for row in view.status.rows for shard in row.shards}
    held = {entry.name: entry.spec for entry in entries if entry.name in named and entry.namespace == view.namespace}
    return replace(view, results=held)


@dataclass(frozen=True)
class FileLedger:
    """Results that were read from files. `runs` are the BenchmarkRuns beside them, `documents` are of the ConfigMaps."""

    paths: tuple[str, ...]
    entries: tuple[LedgerEntry, ...] = field(repr=False)
    runs: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    documents: tuple[str, ...] = field(default=(), repr=False)

    @property
    def place(self) -> str:
        """Return the files and folders."""
        return ", ".join(self.paths)

    def find(self, selector: Selector) -> Found:
        """Return what a selector selects, with what a run reused if the run itself is in the files; raises UsageError."""
        found = Found(selector, selector.select(self.entries))
        if selector.kind == "run":
            found = self._as_the_run_says(found)
        if not found.entries:
            raise nothing_found(selector, self.entries, self.place, UsageError)
        return found

    def all(self) -> tuple[LedgerEntry, ...]:
        """Return every result."""
        return self.entries

    def labelled(self, baseline: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return the results of a baseline, or of all baselines."""
        return tuple(entry for entry in self.entries if entry.baseline and baseline in (None, entry.baseline))

    def requests(self, _results: Iterable[BenchmarkResultSpec], /) -> Iterator[str]:
        """Yield every request document that is in the files and folders, whatever the results."""
        yield from self.documents
        for path in self.paths:
            if Path(path).is_dir():
                # The folders of local runs have them as they are.
                for file in sorted(Path(path).rglob(REQUEST_KEY)):
                    yield file.read_text(encoding="utf-8")

    def _as_the_run_says(self, found: Found) -> Found:
        """Take the results of the run that came last; of one that is not in the files, only what it measured itself."""
        body = self._latest_run(found)
        if body is None:
            text = _("the run {name} is not in {place}: results that it reused are not among these")
            return _without_reused(of_latest_run(found), text.format(name=found.selector.name, place=self.place))
        view = _view_of(body, self.entries)
        named = {shard.result for row in view.status.rows for shard in row.shards if shard.result}
        found = _as_it_says(found, view)
        missing = len(named - view.results.keys())
        if not missing:
            return found
        note = ngettext(
            "{count} result that the run {name} names is not in {place}",
            "{count} results that the run {name} names are not in {place}",
            missing,
        )
        return replace(found, notes=(*found.notes, note.format(count=missing, name=view.name, place=self.place)))

    def _latest_run(self, found: Found) -> dict[str, Any] | None:
        """Return the run of that name that was created last; None where results are of one that came after it."""
        runs = {
            str(body["metadata"]["uid"]): str(body["metadata"].get("creationTimestamp") or "")
            for body in self.runs
            if body["metadata"].get("name") == found.selector.name
        }
        if not runs:
            return None
        latest = max(runs, key=lambda uid: (runs[uid], uid))
        if any(entry.spec.run.uid not in runs and _moment_of(entry) > runs[latest] for entry in found.entries):
            return None
        return next(body for body in self.runs if body["metadata"]["uid"] == latest)


def read_files(paths: Iterable[str]) -> FileLedger:
    """Read the results of files and folders: JSON or YAML, single objects or lists; `-` is standard input.

    Raises:
        UsageError: a file cannot be read, or there is no result in any.
    """
    paths = tuple(paths)
    entries: dict[tuple[str, str], LedgerEntry] = {}
    runs: list[dict[str, Any]] = []
    documents: list[str] = []
    for raw in read_objects(paths, KIND, _RUN, _CONFIGMAP):
        if raw["kind"] == KIND:
            entry = entry_of(raw)
            entries[(entry.spec.run.uid, entry.name)] = entry
        elif raw["kind"] == _CONFIGMAP:
            documents += _document_of(raw)
        elif (raw.get("metadata") or {}).get("uid"):
            # A manifest that was never applied says nothing of results.
            runs.append(raw)
    if not entries:
        raise UsageError(
            _("there is no BenchmarkResult in {place}").format(place=", ".join(paths)),
            _("give what `kubectl get benchmarkresults -o yaml` or `vidbench export` wrote"),
        )
    return FileLedger(paths, tuple(entries[key] for key in sorted(entries)), tuple(runs), tuple(documents))


def read_objects(paths: Iterable[str], kind: str, *also: str) -> Iterator[Any]:
    """Yield the objects of a kind that files and folders hold, in lists or alone; raises UsageError.

    Those of the kinds `also` are yielded too; where a folder's file has only such and cannot be read, it is left out.
    """
    for path in paths:
        for text, name in _texts(path):
            # A folder holds logs and records as well, perhaps half written: only what speaks of the kind is parsed.
            if name == path or kind in text:
                yield from (_shaped(body, name) for body in _objects_in(_parse(text, name), (kind, *also)))
            elif any(other in text for other in also):
                with suppress(UsageError):
                    yield from [_shaped(body, name) for body in _objects_in(_parse(text, name), also)]


def _document_of(body: dict[str, Any]) -> Iterator[str]:
    """Yield the request document of a ConfigMap that is of a run."""
    text = (body.get("data") or {}).get(REQUEST_KEY)
    if isinstance(text, str):
        yield text


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield _read_once(sys.stdin), path
        return
    place = Path(path)
    files = (
        sorted(file for file in place.rglob("*") if file.suffix in (".json", ".jsonl", ".yaml", ".yml"))
        if place.is_dir()
        else [place]
    )
    for file in files:
        try:
            yield file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(_("{file} cannot be read: {error}").format(file=file, error=error)) from error


@lru_cache(maxsize=1)
def _read_once(stream: TextIO) -> str:
    """Return all of standard input, also to who asks again: a report looks for its run, then for the results."""
    return stream.read()


def _parse(text: str, name: str) -> list[Any]:
    if name.endswith(".jsonl"):
        lines = [line for line in text.splitlines() if line.strip()]
    elif text.lstrip().startswith(("{", "[")):
        lines = [text]
    else:
        lines = []
    try:
        if lines:
            return [json.loads(line) for line in lines]
        return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(_("{file} is neither JSON nor YAML: {error}").format(file=name, error=first)) from error


def _shaped(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object whose metadata, labels and data can be looked at; raises UsageError."""
    metadata = body.get("metadata")
    parts = {"metadata": metadata, "data": body.get("data")}
    if isinstance(metadata, dict):
        parts["metadata.labels"] = metadata.get("labels")
    for where, value in parts.items():
        if value is not None and not isinstance(value, dict):
            raise UsageError(
                _("a {kind} in {file} does not fit: {field}: must be an object").format(
                    kind=body["kind"], file=name, field=where
                ),
                _("take what `kubectl get -o json` or vidbench export wrote"),
            )
    return body


def _objects_in(value: Any, kinds: Sequence[str]) -> Iterator[Any]:
    """Yield every object of these kinds within lists and objects that hold such."""
    if isinstance(value, list):
        for part in value:
            yield from _objects_in(part, kinds)
    elif isinstance(value, dict):
        if value.get("kind") in kinds:
            yield value
            return
        for key in ("items", "results"):
            if isinstance(value.get(key), list):
                yield from _objects_in(value[key], kinds)


def open_ledger(cluster: Callable[[], Cluster], files: Iterable[str], store: str | None = None) -> Ledger:
    """Return the ledger that options name: files, a store, or else the cluster that `cluster()` connects to."""
    files = tuple(files)
    if files and store is not None:
        raise UsageError(_("--from and --store are two places"), _("name one of them"))
    if store is not None:
        return StoreLedger(store)
    return read_files(files) if files else ClusterLedger(cluster())


class StoreLedger:
    """The results of a store; of one that holds many, only those are read that a run's name asks for."""

    def __init__(self, url: str) -> None:
        from vidbench_store.location import StoreError, find_location

        try:
            self._location = find_location(None if url == "default" else url)
        except StoreError as error:
            raise _store_failed(error) from error

    @property
    def place(self) -> str:
        """Return the store, for people, without credentials."""
        return self._location.text

    def find(self, selector: Selector) -> Found:
        """Return what a selector selects; raises ClusterError."""
        entries = self._read(selector.name if selector.kind == "run" else None)
        found = of_latest_run(Found(selector, selector.select(entries)))
        if selector.kind == "run":
            text = _("results that the run {name} reused are not among these: a store holds no runs")
            found = _without_reused(found, text.format(name=selector.name))
        if not found.entries:
            raise nothing_found(selector, self.all(), self.place, NotFoundError)
        return found

    def all(self) -> tuple[LedgerEntry, ...]:
        """Return every result."""
        return self._read(None)

    def labelled(self, baseline: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return the results of a baseline, or of all baselines."""
        return tuple(entry for entry in self.all() if entry.baseline and baseline in (None, entry.baseline))

    def requests(self, _results: Iterable[BenchmarkResultSpec], /) -> Iterator[str]:
        """Yield nothing: a store holds no prompts."""
        return iter(())

    def _read(self, run: str | None) -> tuple[LedgerEntry, ...]:
        from vidbench_store.location import StoreError
        from vidbench_store.store import Filter, Store

        which = Filter(runs=(run,)) if run is not None else None
        try:
            with Store.open(self._location) as store:
                return tuple(entry_of(document) for document in store.find_documents(which))
        except StoreError as error:
            raise _store_failed(error) from error


def _store_failed(error: Exception) -> ClusterError:
    return ClusterError(str(error), _("vidbench init-db makes a store; vidbench sync fills it"))
