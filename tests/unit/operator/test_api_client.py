"""How the client of the API server finds its way out."""

from __future__ import annotations

import pytest

from vidbench_operator.adapters.api import find_proxy


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="no proxy is named"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128", id="a proxy for https"),
        pytest.param({"HTTP_PROXY": "http://proxy:3128"}, None, id="a proxy for another scheme"),
        pytest.param({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.96.0.1"}, None, id="the API server is excepted"),
        pytest.param(
            {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example"}, "http://proxy:3128", id="another host is excepted"
        ),
    ],
)  # fmt: skip
def test_proxy_is_the_one_that_the_environment_names(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_proxy("https://10.96.0.1:443") == expected
