"""What the command says of a cluster that cannot be asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from vidbench_cli.__main__ import EXIT_CLUSTER, app
from vidbench_cli.cluster import ClusterAwayError, Reader


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """A kubeconfig of a server that nobody listens for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "gone",
                "clusters": [{"name": "gone", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
                "users": [{"name": "me", "user": {}}],
                "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "me", "namespace": "lab"}}],
            }
        )
    )
    return str(path)


def test_reader_of_a_cluster_that_is_away_says_so(kubeconfig: str) -> None:
    reader = Reader(kubeconfig, None, None)
    assert reader.namespace == "lab"
    with pytest.raises(ClusterAwayError, match="Connection refused"):
        reader.read_run("nightly")


def test_get_without_a_kubeconfig_names_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["get", "nightly", "--kubeconfig", str(tmp_path / "none")])
    assert result.exit_code == EXIT_CLUSTER
