"""Settings from the environment."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from vidbench_operator.__main__ import main
from vidbench_operator.core.policy import Policy
from vidbench_operator.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"VIDBENCH_OPERATOR_{name.upper()}", raising=False)


def test_settings_need_nothing() -> None:
    settings = Settings()
    assert (settings.health_port, settings.metrics_port, settings.watch_namespaces) == (8080, 8081, ())
    assert settings.to_policy() == Policy()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("", (), id="all"),
        pytest.param("team", ("team",), id="one"),
        pytest.param("team-a, team-b,", ("team-a", "team-b"), id="two with stray spaces and commas"),
    ],
)
def test_settings_split_namespaces_at_commas(monkeypatch: pytest.MonkeyPatch, text: str, want: tuple[str, ...]) -> None:
    monkeypatch.setenv("VIDBENCH_OPERATOR_WATCH_NAMESPACES", text)
    assert Settings().watch_namespaces == want


def test_settings_reach_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDBENCH_OPERATOR_NODE_LOST_SECONDS", "90")
    assert Settings().to_policy().node_lost_seconds == 90


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_LEVEL", "LOUD"), ("HEALTH_PORT", "99999"), ("RESYNC_SECONDS", "0"), ("WORKERS", "none")],
)
def test_settings_that_make_no_sense_end_the_process_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(f"VIDBENCH_OPERATOR_{name}", value)
    with pytest.raises(ValidationError):
        Settings()
    assert main() == 2
    assert f"VIDBENCH_OPERATOR_{name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"LEADER_ELECTION": "true"}, "needs VIDBENCH_OPERATOR_LEASE_NAMESPACE", id="an election nowhere"),
        pytest.param({"RENEW_DEADLINE_SECONDS": "12"}, "renew deadline < duration", id="two that may act at once"),
        pytest.param({"RENEW_PERIOD_SECONDS": "9"}, "renew period < renew deadline", id="no time to renew"),
    ],
)
def test_elections_that_cannot_work_end_the_process_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], values: dict[str, str], message: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"VIDBENCH_OPERATOR_{name}", value)
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("VIDBENCH_OPERATOR: ")
    assert message in said


def test_every_setting_is_described() -> None:
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undescribed == []


def test_operator_process_needs_nothing_of_the_runner() -> None:
    """Its image has no torch; a stray import would be found only there."""
    program = "import sys, vidbench_operator.shell.application; print('\\n'.join(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    loaded = {name.partition(".")[0] for name in listed.stdout.split()}
    assert "kopf" in loaded
    assert not loaded & {"torch", "diffusers", "transformers", "numpy", "vidbench_runner"}


def test_settings_of_breakers_reach_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("node_breaker_failures", "node_breaker_seconds", "model_breaker_failures", "model_breaker_seconds")
    for number, name in enumerate(names, start=5):
        monkeypatch.setenv(f"VIDBENCH_OPERATOR_{name.upper()}", str(number))
    policy = Settings().to_policy()
    assert [getattr(policy, name) for name in names] == [5, 6, 7, 8]


def test_a_store_that_is_none_ends_the_process_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDBENCH_OPERATOR_STORE_URL", "mysql://me:hunter2@db/ledger")
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("VIDBENCH_OPERATOR_STORE_URL: ")
    assert "give a store as postgresql://" in said
    assert "hunter2" not in said


def test_a_store_is_not_shown() -> None:
    settings = Settings(store_url="postgresql://me:hunter2@db/ledger")  # type: ignore[arg-type]  # as the environment gives it
    assert "hunter2" not in repr(settings)
