"""The frame: exit codes, error messages, the two names of the command, and that `--help` stays fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vidbench_cli import __main__ as start
from vidbench_cli.app import Commands, app
from vidbench_cli.errors import ClusterError, Exit, RunFailedError, UsageError

HEAVY = (
    "pydantic",
    "kubernetes",
    "rich",
    "numpy",
    "scipy",
    "sqlalchemy",
    "pyarrow",
    "vidbench_analysis",
    "vidbench_operator",
)


def _app_that(raises: BaseException) -> typer.Typer:
    made = typer.Typer(cls=Commands)

    @made.callback()
    def root() -> None: ...

    @made.command()
    def act() -> None:
        raise raises

    return made


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong", "see it"), 2),
        (ClusterError("away", "see it"), 3),
        (RunFailedError("failed", "see it"), 4),
        (ZeroDivisionError("what"), 70),
    ],
)
def test_errors_become_messages_and_exit_codes(error: Exception, code: int) -> None:
    done = CliRunner().invoke(_app_that(error), ["act"])
    assert done.exit_code == code
    assert not done.stdout
    assert str(error) in done.stderr
    assert "Traceback" not in done.stderr
    assert "\n  " in done.stderr


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), typer.Abort()])
def test_interrupt_is_no_error_of_ours(interrupt: BaseException) -> None:
    """The second is what a question raises that Ctrl-C or the end of input answers: no failed gate, which 1 would be."""
    done = CliRunner().invoke(_app_that(interrupt), ["act"])
    assert done.exit_code == 130


def test_message_drives_no_terminal() -> None:
    done = CliRunner().invoke(_app_that(UsageError("bad \x1b[31m[red]name[/red]\nsecond line")), ["act"])
    assert "\x1b" not in done.stderr
    assert "[red]name[/red] second line" in done.stderr


def test_defects_show_where_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDBENCH_DEBUG", "1")
    done = CliRunner().invoke(_app_that(ZeroDivisionError("what")), ["act"])
    assert isinstance(done.exception, ZeroDivisionError)


@pytest.mark.parametrize("words", [["frobnicate"], ["get", "--frobnicate"], ["get", "-o", "xml"], ["get", "a", "b"]])
def test_wrong_command_lines_are_usage(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == Exit.USAGE
    assert done.stderr


@pytest.mark.parametrize("words", [["-h"], ["get", "-h"], ["baseline", "-h"]])
def test_h_is_help(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, vidbench_cli.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("called", "name"), [("/usr/bin/vidbench", "vidbench"), ("/opt/kubectl-vidbench", "kubectl vidbench")]
)
def test_usage_speaks_of_the_name_that_was_called(
    called: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [called, "--help"])
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 0
    assert f"Usage: {name} " in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["list-models", "--offline"]])
def test_full_disk_is_told(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vidbench_cli", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith("vidbench: what is written to: No space left on device\n  make room")
    assert "Exception" not in done.stderr


def test_interrupt_while_the_command_is_read_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupts:
        def find_spec(self, name: str, *_rest: Any) -> None:
            if name == "vidbench_cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "vidbench_cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 130


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parallel", "4"], "add --local"),
        (["--directory", "here"], "add --local"),
        (["--mount", "/weights=/data"], "add --local"),
        (["--runner-class", "class.yaml"], "add --local"),
        (["--local", "--follow"], "leave out --dry-run, --follow"),
    ],
)
def test_options_of_the_other_kind_of_run_are_refused_before_anything(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["benchmark", "-f", "none.yaml", *words])
    assert done.exit_code == Exit.USAGE
    assert said in done.stderr


def test_pipe_that_closes_is_no_error() -> None:
    code = (
        "import typer; from vidbench_cli.app import app\n@app.command()\ndef many() -> None:\n"
        "    for _ in range(100000): typer.echo('x' * 100)\napp(['many'])"
    )
    process: Any = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 0
