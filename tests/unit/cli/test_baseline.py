"""Which results become a baseline, and what stands in the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.kubeconfigs import closed_port, write_kubeconfig
from support.ledgers import cell_of_run, manifest_of, shard_of
from typer.testing import CliRunner

from vidbench_api.measured import ValidityVerdict
from vidbench_api.names import Comparability, Validity
from vidbench_cli.app import app
from vidbench_cli.baselines import check_name, plan_change
from vidbench_cli.errors import UsageError
from vidbench_cli.ledger import entry_of
from vidbench_cli.selectors import LedgerEntry

OLD = [entry_of(manifest_of(spec, baseline="june")) for spec in cell_of_run((1.0, 1.1), run="old")]
NEW = [entry_of(manifest_of(spec)) for spec in cell_of_run((1.0, 1.1), run="new")]


def _names(entries: list[LedgerEntry]) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in entries))


def test_set_takes_the_place_of_what_there_was() -> None:
    change = plan_change("june", [NEW[0], OLD[0]], OLD, keep_others=False, move=False)
    assert (change.add, change.remove, change.kept) == (_names(NEW[:1]), _names(OLD[1:]), _names(OLD[:1]))


def test_add_keeps_what_there_was() -> None:
    change = plan_change("june", NEW, OLD, keep_others=True, move=False)
    assert (change.add, change.remove, change.kept) == (_names(NEW), (), _names(OLD))


def test_set_again_changes_nothing() -> None:
    change = plan_change("june", OLD, OLD, keep_others=False, move=False)
    assert (change.add, change.remove, change.kept) == ((), (), _names(OLD))


def test_what_does_not_count_is_left_out_and_named() -> None:
    invalid = entry_of(manifest_of(shard_of(1.0, shard=7, validity=ValidityVerdict(state=Validity.INVALID))))
    mock = entry_of(manifest_of(shard_of(1.0, shard=8, comparability=Comparability.MOCK)))
    change = plan_change("june", [*NEW, invalid, mock], [], keep_others=False, move=False)
    assert change.add == _names(NEW)
    assert change.left_out == (f"{invalid.name}: Invalid", f"{mock.name}: Mock")
    with pytest.raises(UsageError, match="none of 2 results counts"):
        plan_change("june", [invalid, mock], [], keep_others=False, move=False)


def test_a_result_is_of_one_baseline() -> None:
    with pytest.raises(UsageError, match="already of baseline june"):
        plan_change("july", OLD, [], keep_others=False, move=False)
    assert plan_change("july", OLD, [], keep_others=False, move=True).add == _names(OLD)


@pytest.mark.parametrize("name", ["", "June", "a_b", "-a", "a" * 41])
def test_names_that_a_run_could_not_write(name: str) -> None:
    with pytest.raises(UsageError, match="can be no baseline's name"):
        check_name(name)


def test_list_counts_results_cells_and_runs(tmp_path: Path) -> None:
    ledger = tmp_path / "l.json"
    items = [manifest_of(spec, baseline="june") for spec in cell_of_run((1.0, 1.1), run="old")]
    items += [manifest_of(shard_of(1.0, run="new", variant="long"), baseline="june"), manifest_of(shard_of(1.0))]
    ledger.write_text(json.dumps({"items": items}))
    done = CliRunner().invoke(app, ["baseline", "list", "--from", str(ledger), "-o", "json"])
    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)
    assert (row["name"], row["results"], row["cells"], row["runs"]) == ("june", 3, 2, "new, old")
    assert (row["from"], row["to"]) == ("2026-01-02T03:01:30Z", "2026-01-02T03:02:30Z")


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", f"https://127.0.0.1:{closed_port()}")
    for words in (["set", "june", "nightly"], ["list"], ["unset", "june"]):
        done = CliRunner().invoke(app, ["baseline", *words, "--kubeconfig", kubeconfig])
        assert done.exit_code == 3, words
        assert "no cluster answers" in done.stderr
