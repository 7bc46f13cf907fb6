"""`vidbench research frontier|fleet`, and what reports say of the same: one set of functions, the same figures."""

from __future__ import annotations

import html
import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.ledgers import manifest_of, shard_of
from typer.testing import CliRunner

from vidbench_cli.app import app

SLOW_NODE = 3
MEANS = {"short": (10.0, 20_000), "fast": (8.0, 30_000), "worst": (12.0, 31_000)}
"""Latency in seconds and memory in MiB of each variant."""


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    """Three cells with two shards on each of six nodes, of which one is 5 % slow."""
    noise = random.Random(3)
    items = [
        manifest_of(
            shard_of(
                seconds * (1 + 0.05 * (number // 2 == SLOW_NODE) + noise.gauss(0, 0.004)), variant=variant,
                shard=number + 1, gpu=f"GPU-{number // 2}", memory_mebibytes=memory,
            )
        )
        for variant, (seconds, memory) in MEANS.items()
        for number in range(12)
    ]  # fmt: skip
    path = tmp_path / "ledger.json"
    spec = {
        "models": [{"name": "wan"}], "hardware": [{"name": "h100"}], "variants": [{"name": name} for name in MEANS],
        "workload": {"prompts": [{"id": "cat", "text": "A cat"}], "seeds": {"base": 0, "count": 3}},
        "measurement": {"shards": 12},
    }  # fmt: skip
    run = {"kind": "BenchmarkRun", "metadata": {"name": "nightly", "uid": "uid-of-nightly"}, "spec": spec}
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [run, *items]}))
    return str(path)


def ask(*words: str) -> Any:
    done = CliRunner().invoke(app, ["research", *words, "-o", "json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_the_frontier_names_what_beats_a_cell(fleet: str) -> None:
    (found,) = ask("frontier", "nightly", "--from", fleet)
    assert [objective["metric"] for objective in found["objectives"]] == ["latency", "memory"]
    places = {place["cell"]: place for place in found["places"]}
    assert places["wan/h100/worst"]["beatenBy"] == ["wan/h100/fast", "wan/h100/short"]
    assert {name: place["onFrontier"] for name, place in places.items()} == {
        "wan/h100/short": True, "wan/h100/fast": True, "wan/h100/worst": False,
    }  # fmt: skip


def test_the_slow_node_stands_out_and_no_other(fleet: str) -> None:
    found = ask("fleet", "--from", fleet)
    assert [node["node"] for node in found["nodes"] if node["stands_out"]] == [f"node-of-GPU-{SLOW_NODE}"]
    assert [entry["cell"] for entry in found["components"]] == [f"wan/h100/{name}" for name in sorted(MEANS)]
    assert all(level["p"] < 0.001 for entry in found["components"] for level in entry["levels"])
    memory = ask("fleet", "--from", fleet, "-m", "memory")
    assert {entry["reason"] for entry in memory["components"]} == {"NoVariance"}
    assert not any(node["stands_out"] for node in memory["nodes"])


def test_a_report_says_the_same(fleet: str) -> None:
    done = CliRunner().invoke(app, ["research", "report", "nightly", "--from", fleet, "-m", "latency"])
    assert done.exit_code == 0, done.stderr
    text = html.unescape(done.stdout.replace("\\", ""))
    (node,) = [node for node in ask("fleet", "--from", fleet)["nodes"] if node["stands_out"]]
    assert f"| node-of-GPU-3 | 6 | +{100 * node['deviation']:.1f} % | <0.001 | yes |" in text
    assert "| wan/h100/worst | 12.07 s | 31000 MiB | no | 0 % | wan/h100/short, wan/h100/fast |" in text
    percentiles = next(line for line in text.splitlines() if line.startswith("| wan/h100/short | 36 |"))
    assert percentiles.endswith("| from 64 samples | from 662 samples |")
    alone = CliRunner().invoke(app, ["research", "report", "nightly", "--from", fleet, "--objectives", "latency"])
    assert "| wan/h100/short | 10.10 s | no | 0 % | wan/h100/fast |" in alone.stdout.replace("\\", "")


def test_wrong_words_say_what_to_do(fleet: str) -> None:
    cases = (
        (["frontier", "--objectives", "latency,memory,energy,load"], "1 to 3 objectives, not 4"),
        (["frontier", "--objectives", "sharpness"], "has no better direction"),
        (["frontier", "--objectives", "speed"], "--objectives: 'speed' is no metric"),
        (["fleet", "-m", "latency,memory"], "names several"),
        (["fleet", "weekly"], "there are results of: nightly"),
        (["report", "nightly", "--objectives", "sharpness"], "has no better direction"),
    )
    for words, said in cases:
        done = CliRunner().invoke(app, ["research", *words, "--from", fleet])
        assert (done.exit_code, said in done.stderr) == (2, True), (words, done.output)
