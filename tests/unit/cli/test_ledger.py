"""init-db, sync, prune, trends and export, as a user calls them, on SQLite; a server that lists stands for the cluster."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from support.kubeconfigs import closed_port, write_kubeconfig
from support.ledger_documents import document, many
from support.ledger_server import LedgerServer, serving
from typer.testing import CliRunner

from vidbench_cli.app import app
from vidbench_cli.commands import ledger
from vidbench_cli.commands.ledger import parse_when
from vidbench_cli.errors import UsageError
from vidbench_cli.ledger_export import opened


@pytest.fixture
def server() -> Iterator[LedgerServer]:
    with serving(list(many(30))) as running:
        yield running


@pytest.fixture
def vidbench(tmp_path: Path, server: LedgerServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call a command with a store of the test's own and a kubeconfig of the server."""
    monkeypatch.setenv("VIDBENCH_STORE_URL", str(tmp_path / "ledger.sqlite"))
    # Not by KUBECONFIG: the client reads that when it is imported.
    kubeconfig = ["--kubeconfig", write_kubeconfig(tmp_path / "config", server.url)]
    monkeypatch.setattr(ledger, "_CHUNK", 10)

    def call(*words: str) -> Result:
        asks = words[0] == "sync" or "--from-cluster" in words
        return CliRunner().invoke(app, [*words, *(kubeconfig if asks else [])])

    return call


@pytest.fixture
def ready(vidbench: Any) -> Any:
    assert vidbench("init-db").exit_code == 0
    return vidbench


def row_of(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.stderr
    (row,) = json.loads(done.stdout)
    return row


def test_init_db_says_what_it_did(vidbench: Any, tmp_path: Path) -> None:
    assert vidbench("init-db").stdout == f"made the tables of version 0001: SQLite {tmp_path}/ledger.sqlite\n"
    assert vidbench("init-db").stdout.startswith("nothing to do, the tables are of version 0001")


def test_without_tables_every_command_says_what_to_do(vidbench: Any) -> None:
    for words in (["sync"], ["trends"], ["export"], ["prune", "--older-than", "1d", "--yes"]):
        done = vidbench(*words)
        assert done.exit_code == 3
        assert "run `vidbench init-db`" in done.stderr


def test_a_store_that_is_none(vidbench: Any) -> None:
    done = vidbench("init-db", "--store", "mysql://me:hunter2@db/x")
    assert done.exit_code == 2
    assert "give a store as postgresql://" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sync", "--all-contexts", "--context", "a"], "leave one of them out"),
        (["export", "--rows", "series"], "--rows is of CSV and Parquet"),
        (["export", "l.json", "--rows", "samples"], "--rows is of CSV and Parquet"),
    ],
)
def test_what_would_be_ignored_is_refused(vidbench: Any, words: list[str], said: str) -> None:
    done = vidbench(*words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_sync_twice(ready: Any) -> None:
    first = row_of(ready("sync", "-A", "-o", "json"))
    assert (first["cluster"], first["listed"], first["added"], first["unchanged"]) == ("only", 30, 30, 0)
    again = row_of(ready("sync", "-A", "-o", "json"))
    assert (again["listed"], again["added"], again["updated"], again["unchanged"]) == (30, 0, 0, 30)


def test_sync_goes_on_where_it_was_cut(ready: Any, server: LedgerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidbench_cli.ledger_source._PATIENCE_SECONDS", 0.0)
    server.cut_after = 2
    done = ready("sync", "-A")
    assert done.exit_code == 3
    assert "etcdserver: request timed out" in done.stderr
    server.cut_after, server.asked = None, []
    row = row_of(ready("sync", "-A", "-o", "json"))
    assert server.asked == ["20"]
    assert (row["added"], row["listed"], row["resumed"]) == (10, 30, True)


def test_sync_begins_anew_when_the_server_forgot(ready: Any, server: LedgerServer) -> None:
    server.expired = True
    row = row_of(ready("sync", "-A", "-o", "json"))
    assert (row["added"], row["unchanged"], row["listed"]) == (30, 10, 30)


def test_sync_of_the_namespace_of_the_context(ready: Any, server: LedgerServer) -> None:
    server.documents.append(document(namespace="other"))
    assert row_of(ready("sync", "-o", "json"))["listed"] == 30
    assert row_of(ready("sync", "-n", "other", "-o", "json"))["listed"] == 1


def test_sync_names_what_cannot_be_read(ready: Any, server: LedgerServer) -> None:
    broken = document()
    del broken["spec"]["run"]
    server.documents = [broken]
    done = ready("sync", "-A")
    assert done.exit_code == 0
    assert "spec.run: Field required" in done.stdout


def test_sync_without_the_right(ready: Any, server: LedgerServer) -> None:
    server.refuse = 403
    done = ready("sync")
    assert done.exit_code == 3
    assert "kubectl auth can-i list benchmarkresults.vidbench.io -n lab" in done.stderr


def test_one_context_that_fails_does_not_keep_the_others(ready: Any, server: LedgerServer, tmp_path: Path) -> None:
    import yaml

    config = tmp_path / "config"
    content = yaml.safe_load(config.read_text())
    content["clusters"].append({"name": "away", "cluster": {"server": f"https://127.0.0.1:{closed_port()}"}})
    content["contexts"].append({"name": "away", "context": {"cluster": "away", "user": "me", "namespace": "lab"}})
    config.write_text(yaml.safe_dump(content))
    done = ready("sync", "--context", "away", "--context", "only", "-o", "json")
    assert done.exit_code == 3
    assert "1 of 2 contexts were not synced" in done.stderr
    away, only = json.loads(done.stdout)
    assert (away["added"], only["added"]) == (None, 30)
    assert "no cluster answers" in away["error"]


def test_prune_asks_and_what_went_stays_away(ready: Any) -> None:
    ready("sync", "-A")
    refused = ready("prune", "--older-than", "2026-06-01")
    assert refused.exit_code == 2
    assert "add --yes" in refused.stderr
    assert "would delete 30 results" in ready("prune", "--older-than", "2026-06-01", "--dry-run").stdout
    assert "deleted 30 results" in ready("prune", "--older-than", "2026-06-01", "--yes").stdout
    row = row_of(ready("sync", "-A", "-o", "json"))
    assert (row["added"], row["refused"]) == (0, 30)


def test_trends(ready: Any) -> None:
    ready("sync", "-A")
    rows = json.loads(ready("trends", "--by", "driver", "--model", "model-1", "-o", "json").stdout)
    assert {row["model"] for row in rows} == {"model-1"}
    assert all(row["unit"] == "microseconds" for row in rows)
    shown = ready("trends", "--by", "driver", "--model", "model-1").stdout
    assert " s " in shown
    assert "LEFT OUT" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trends", "--by", "moon"], "there are: day, week"),
        (["trends", "--metric", "beauty"], "there are of: latency"),
        (["trends", "--since", "yesterday"], "write 2026-11-28"),
        (["prune", "--older-than", "2999-01-01", "--yes"], "2999-01-01 is still to come"),
        (["export", "results.xlsx"], "say --format json, csv or parquet"),
        (["export", "--rows", "pixels"], "there are: series, samples"),
        (["export", "-A"], "add --from-cluster"),
        (["export", "--from-cluster", "--store", "x"], "leave one of them out"),
        (["export", "/no/such/folder/x.csv"], "No such file or directory"),
        (["export", "nosuchscheme://x/y.csv"], "cannot be written"),
        (["sync", "--context", "a", "--context", "b", "--cluster", "c"], "sync them one by one"),
    ],
)
def test_wrong_input_says_what_to_do(ready: Any, words: list[str], said: str) -> None:
    done = ready(*words)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_export_of_csv_is_text_for_spreadsheets(ready: Any, server: LedgerServer) -> None:
    server.documents = [document(node='=cmd|"/c calc"!A0', driver="+1")]
    ready("sync", "-A")
    done = ready("export", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row["node"].startswith("'=cmd")
    assert row["driver"] == "'+1"
    assert (row["cluster"], row["series"], row["count"], row["mean"]) == ("only", "latency", "3", "1133333.333")
    assert "1 results (1 rows, 0 not readable)" in done.stderr


def test_every_format_has_the_same_figures(ready: Any, tmp_path: Path) -> None:
    ready("sync", "-A")
    for name in ("a.json", "a.csv", "a.parquet"):
        assert ready("export", str(tmp_path / name)).exit_code == 0
    whole = json.loads((tmp_path / "a.json").read_text())
    table = pq.read_table(tmp_path / "a.parquet")
    records = table.to_pylist()
    sheet = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(whole) == 30
    assert len(records) == len(sheet)
    assert {entry["metadata"]["uid"] for entry in whole} == {record["uid"] for record in records}
    assert [float(row["mean"]) for row in sheet if row["mean"]] == [
        record["mean"] for record in records if record["mean"] is not None
    ]
    expected = {
        (entry["metadata"]["uid"], series["name"]): series["statistics"]["mean"]
        for entry in whole
        for series in entry["spec"].get("series", [])
    }
    assert {(r["uid"], r["series"]): r["mean"] for r in records if r["series"]} == expected
    assert str(table.schema.field("measured_at").type) == "timestamp[us, tz=UTC]"
    assert not list(tmp_path.glob("*.part"))


def test_samples_and_other_file_systems(ready: Any) -> None:
    import fsspec

    ready("sync", "-A")
    done = ready("export", "memory://bucket/samples.csv", "--rows", "samples", "--model", "model-0")
    assert done.exit_code == 0, done.stderr
    with fsspec.open("memory://bucket/samples.csv", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["series"] == "latency"]
    assert {row["model"] for row in rows} == {"model-0"}
    assert {int(row["sample"]) for row in rows} == set(range(1, 21))


def test_export_from_the_cluster_selects_as_the_store_does(ready: Any) -> None:
    ready("sync", "-A")
    here = ready("export", "--model", "model-2", "--since", "2026-01-01").stdout
    there = ready("export", "--model", "model-2", "--since", "2026-01-01", "--from-cluster").stdout
    uids = [sorted(entry["metadata"]["uid"] for entry in json.loads(text)) for text in (here, there)]
    assert uids[0] == uids[1]
    assert uids[0]


def test_moments() -> None:
    assert parse_when("2026-11-28", "-") == datetime(2026, 11, 28, tzinfo=UTC)
    assert parse_when("2026-11-28T01:00:00+01:00", "-") == datetime(2026, 11, 28, tzinfo=UTC)
    earlier = datetime.now(UTC)
    assert earlier <= parse_when("30d", "-") + timedelta(days=30) <= datetime.now(UTC)
    for wrong in ("30", "d", "-1d", "999999w", "2026-13-01"):
        with pytest.raises(UsageError):
            parse_when(wrong, "-")


def test_an_export_that_fails_shows_no_password() -> None:
    with pytest.raises(UsageError) as caught, opened("nosuchscheme://user:hunter2@host/folder/x.csv?key=secret"):
        pass
    assert "nosuchscheme://host/folder/x.csv" in caught.value.message
    assert not {"hunter2", "secret"} & set(re.split(r"\W+", caught.value.message))
