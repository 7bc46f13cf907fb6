"""Where Kopf connects to in a pod."""

from __future__ import annotations

import kopf
import pytest

from vidbench_operator.shell.handlers import at_address

BY_NAME = kopf.ConnectionInfo(server="https://kubernetes.default.svc", token="secret", ca_path="/ca.crt")


@pytest.mark.parametrize(
    ("environment", "server"),
    [
        pytest.param({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}, "https://10.96.0.1:443", id="ipv4"),
        pytest.param({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://[fd00::1]:6443", id="ipv6"),
        pytest.param({}, "https://kubernetes.default.svc", id="the-kubelet-named-none"),
    ],
)  # fmt: skip
def test_kopf_connects_to_the_address_that_the_kubelet_named(environment: dict[str, str], server: str) -> None:
    connection = at_address(BY_NAME, environment)
    assert (connection.server, connection.token, connection.ca_path) == (server, "secret", "/ca.crt")
