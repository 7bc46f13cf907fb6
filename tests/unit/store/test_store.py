"""Writing and finding results: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, select
from support.ledger_documents import EPOCH, document, many, series

from vidbench_api.measured import SeriesName
from vidbench_store.documents import read_documents
from vidbench_store.engine import connect
from vidbench_store.location import parse_location
from vidbench_store.schema import migrate
from vidbench_store.store import Filter, Place, Store, Written, _without_refused
from vidbench_store.tables import METADATA


def test_writing_twice_changes_nothing(store: Store) -> None:
    documents = list(many(40))
    assert store.write("east", documents) == Written(added=40)
    before = list(store.find_documents())
    assert store.write("east", documents) == Written(unchanged=40)
    assert list(store.find_documents()) == before
    assert store.count() == 40


def test_a_document_comes_back_as_it_was_given_without_what_is_no_result(store: Store) -> None:
    given = document()
    given["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "a prompt perhaps"}
    given["metadata"]["managedFields"] = [{"manager": "somebody"}]
    store.write("east", [given])
    (found,) = store.find_documents()
    assert found["spec"] == given["spec"]
    assert set(found["metadata"]) == {"name", "namespace", "uid", "labels", "creationTimestamp"}


def test_rows_are_written_in_one_order_whatever_the_order_of_the_documents() -> None:
    """Two writers that update the same rows in two orders would wait for each other."""
    documents = list(many(5))
    orders = [[entry.uid for entry in read_documents(given)[0]] for given in (documents, documents[::-1])]
    assert orders[0] == orders[1]


def test_numbers_of_a_post_and_of_a_list_are_the_same(store: Store) -> None:
    """The API server answers a POST with 3.0, as it was sent, and a list with 3."""
    listed = document()
    listed["spec"]["series"][0]["statistics"]["mean"] = 3
    posted = copy.deepcopy(listed)
    posted["spec"]["series"][0]["statistics"]["mean"] = 3.0
    assert store.write("east", [posted]) == Written(added=1)
    assert store.write("east", [listed]) == Written(unchanged=1)


def test_a_label_that_changes_is_an_update_and_series_are_not_doubled(store: Store) -> None:
    more = (series(SeriesName.DENOISE, 1, 2, 3),)
    store.write("east", [document(more=more)])
    written = store.write("west", [document(more=more, labels={"vidbench.io/keep": "true"})])
    assert written == Written(updated=1)
    (row,) = store.rows(_all_of("results"))
    assert (row.kept, row.cluster) == (True, "east")
    names = [row.name for row in store.rows(_all_of("series"))]
    assert sorted(names) == ["denoise", "latency"]


def test_statistics_are_exact(store: Store) -> None:
    extreme = series(SeriesName.MEMORY_ALLOCATED, 9_007_199_254_740_991, 0)
    store.write("east", [document(latencies=(1, 2, 4), more=(extreme,))])
    rows = {row.name: row for row in store.rows(_all_of("series"))}
    latency = rows["latency"]
    assert (latency.count, latency.mean, latency.standard_deviation) == (3, 2.333, 1.528)
    assert (latency.min, latency.median, latency.max, latency.unit) == (1, 2, 4, "microseconds")
    assert rows["memoryAllocated"].max == 9_007_199_254_740_991


def test_one_sample_has_no_deviation(store: Store) -> None:
    store.write("east", [document(latencies=(5,))])
    (row,) = store.rows(_all_of("series"))
    assert row.standard_deviation is None


def test_results_of_the_same_uid_in_one_batch_are_one(store: Store) -> None:
    assert store.write("east", [document(), document()]) == Written(added=1)


def test_what_is_no_result_is_named_and_the_rest_is_stored(store: Store) -> None:
    broken = document(run_uid="run-2")
    del broken["spec"]["cell"]
    broken["spec"]["shard"] = "one"
    written = store.write("east", [document(), broken])
    assert written.added == 1
    (problem,) = written.unreadable
    assert problem.name.startswith("lab/nightly-")
    assert problem.problem.startswith("spec.cell: Field required (and 1 more)")


@pytest.mark.parametrize("hostile", ["nul \0 in it", "half a pair \ud800", "'; DROP TABLE results; --", "%s {x} :y"])
def test_hostile_text_is_kept_or_replaced_never_run(store: Store, hostile: str) -> None:
    given = document()
    given["spec"]["message"] = hostile
    given["spec"]["environment"]["driver"] = hostile
    store.write("east", [given])
    (row,) = store.rows(_all_of("results"))
    expected = hostile.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert row.driver == expected
    assert row.document["spec"]["message"] == expected
    assert store.write("east", [given]) == Written(unchanged=1)


def test_a_number_that_is_none_is_refused(store: Store) -> None:
    given = document()
    given["spec"]["figures"] = {"videosPerHour": float("nan")}
    assert "not finite" in store.write("east", [given]).unreadable[0].problem


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_that_there_is_not_is_named_and_the_rest_is_stored(store: Store, time: str) -> None:
    broken = document(run_uid="run-2")
    broken["spec"]["origin"]["finishedAt"] = time
    written = store.write("east", [broken, document()])
    assert written.added == 1
    assert "spec.origin.finishedAt" in written.unreadable[0].problem
    assert "beyond the calendar" in written.unreadable[0].problem


def test_filters(store: Store) -> None:
    store.write(
        "east",
        [
            document(run_uid="a", model="wan", measured_at=EPOCH),
            document(run_uid="b", model="ltx", measured_at=EPOCH + timedelta(days=1)),
            document(run_uid="c", model="wan", measured_at=EPOCH + timedelta(days=2), superseded=True),
        ],
    )
    store.write("west", [document(run_uid="d", namespace="other", run="weekly")])

    def found(**which: object) -> list[str]:
        return sorted(entry["spec"]["run"]["uid"] for entry in store.find_documents(Filter(**which)))  # type: ignore[arg-type]

    assert found() == ["a", "b", "c", "d"]
    assert found(models=("wan",)) == ["a", "c", "d"]
    assert found(models=("wan", "ltx"), clusters=("east",)) == ["a", "b", "c"]
    assert found(namespaces=("other",)) == ["d"]
    assert found(runs=("weekly",)) == ["d"]
    assert found(superseded=False, models=("wan",)) == ["a", "d"]
    assert found(since=EPOCH + timedelta(days=1)) == ["b", "c"]
    assert found(until=EPOCH + timedelta(days=1)) == ["a", "d"]
    assert store.count(Filter(outcomes=("Failed",))) == 0


def test_a_failed_write_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr("vidbench_store.store._set_state", refuse)
    with pytest.raises(RuntimeError):
        store.write("east", [document()], state=(Place("https://east"), None))  # type: ignore[arg-type]
    assert store.count() == 0


def test_pruned_results_do_not_come_back_and_kept_ones_stay(store: Store) -> None:
    old = document(run_uid="old")
    kept = document(run_uid="kept", labels={"vidbench.io/keep": "true"})
    new = document(run_uid="new", measured_at=EPOCH + timedelta(days=10))
    store.write("east", [old, kept, new])
    horizon = EPOCH + timedelta(days=1)
    assert store.prune(horizon, rehearse=True) == 1
    assert store.count() == 3
    assert store.prune(horizon) == 1
    assert store.write("east", [old, kept, new]) == Written(unchanged=2, refused=1)
    # An earlier horizon later does not bring the later one back down.
    assert store.prune(EPOCH - timedelta(days=9)) == 0
    assert store.write("east", [old]) == Written(refused=1)
    owners = {row.result_id for row in store.rows(_all_of("series"))}
    assert owners == {row.id for row in store.rows(_all_of("results"))}


def test_a_kept_result_whose_label_was_taken_off_goes_with_the_next_prune(store: Store) -> None:
    horizon = EPOCH + timedelta(days=1)
    store.write("east", [document(labels={"vidbench.io/keep": "true"})])
    assert store.prune(horizon) == 0
    assert store.write("east", [document()]) == Written(updated=1)
    assert store.prune(horizon) == 1
    assert store.write("east", [document()]) == Written(refused=1)


def test_nothing_is_stored_past_an_erasure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, go = threading.Event(), threading.Event()

    def look(*given: Any) -> Any:
        wanted = _without_refused(*given)
        looked.set()
        # An erasure that does not wait for the writer is done by then.
        go.wait(1)
        return wanted

    monkeypatch.setattr("vidbench_store.store._without_refused", look)
    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(store.write, "east", [document(run_uid="a")])
        assert looked.wait(20)
        erasing = threads.submit(store.erase_runs, ["a"])
        erasing.add_done_callback(lambda _done: go.set())
        assert writing.result() == Written(added=1)
        assert erasing.result() == 1
    assert store.count() == 0


def test_what_was_erased_is_not_in_the_files_of_sqlite(tmp_path: Path) -> None:
    location = parse_location(str(tmp_path / "ledger.sqlite"))
    engine = connect(location)
    migrate(engine, location)

    def holders() -> list[str]:
        return [path.name for path in tmp_path.iterdir() if b"named-after-alice" in path.read_bytes()]

    with Store.open(location) as store:
        store.write("east", [document(run="named-after-alice", run_uid="a")])
        assert holders()
        store.erase_runs(["a"])
        assert holders() == []
    engine.dispose()


def test_pruning_one_cluster_leaves_the_others(store: Store) -> None:
    store.write("east", [document(run_uid="a")])
    store.write("west", [document(run_uid="b")])
    assert store.prune(EPOCH + timedelta(days=1), "east") == 1
    assert store.write("west", [document(run_uid="c")]) == Written(added=1)


def test_erased_runs_do_not_come_back(store: Store) -> None:
    kept = document(run_uid="a", labels={"vidbench.io/keep": "true"})
    store.write("east", [kept, document(run_uid="b")])
    assert store.erase_runs(["a"], rehearse=True) == 1
    assert store.erase_runs(["a"]) == 1
    assert store.erase_runs(["a"]) == 0
    assert store.write("east", [kept]) == Written(refused=1)
    assert [entry["spec"]["run"]["uid"] for entry in store.find_documents()] == ["b"]


def _all_of(name: str) -> Select[Any]:
    return select(METADATA.tables[name])
