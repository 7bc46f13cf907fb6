"""The `vidbench` command: which commands there are, and the one place that turns an exception into a message and an exit code.

To add a command `plan`:
1. `commands/plan.py` with `def register(app: typer.Typer) -> None: app.command(help=_("..."))(plan)` (or `app.add_typer(group,
   name="baseline")` for a group). The module imports typer, `options`, `output`, `errors` and `texts` at the top, all else (pydantic models,
   kubernetes, numpy, rich) inside functions, so that `vidbench --help` is fast: `tests/unit/cli/test_app.py` looks.
2. One line in `COMMANDS` below, in the order of a user's work.
3. What it decides in a module of its own that is pure and has tests; the command reads, calls it, and ends with `write(page, output)`.
   Errors: raise `UsageError`, `ClusterError` or `RunFailedError` with a remedy; print none. A cluster is `Cluster(Where(kubeconfig, context,
   namespace))`, whose methods raise them. A command that has written its page and still ends with a code raises `typer.Exit`: what a run ended as,
   a failed gate included, is `run_page.exit_of`.
4. A section in docs/cli.md and a line in CHANGELOG.md.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from .commands import (
    baseline,
    benchmark,
    compare,
    describe,
    erase,
    get,
    health_check,
    init,
    ledger,
    list_models,
    logs,
    plan,
    research,
    self_test,
    steer,
    try_model,
    validate,
    version,
)
from .errors import INTERRUPTED, CommandError, Exit
from .escaping import printable
from .texts import _

COMMANDS = (
    init.register,
    validate.register,
    plan.register,
    list_models.register,
    try_model.register,
    health_check.register,
    benchmark.register,
    get.register,
    describe.register,
    logs.register,
    steer.register,
    compare.register,
    baseline.register,
    self_test.register,
    research.register,
    ledger.register,
    erase.register,
    version.register,
)


class Commands(TyperGroup):
    """Runs a command and says what went wrong, for people and by exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; raises typer.Exit with a code of `errors.Exit`."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            say_error(error.message, error.remedy)
            raise typer.Exit(error.code) from error
        except (KeyboardInterrupt, typer.Abort) as error:
            # Typer says Abort for Ctrl-C or the end of input at a question, and would end with what means a failed gate.
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # `vidbench get | head`: the reader has seen enough. The interpreter's own flush would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.DONE) from error
        except typer.Exit:
            raise
        except Exception as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise  # `__main__` says so: help is written outside of any command.
            if type(error).__module__.startswith("typer.") or os.environ.get("VIDBENCH_DEBUG"):
                raise
            say_error(
                _("a defect of vidbench: {kind}: {error}").format(kind=type(error).__name__, error=error),
                _("please report it; VIDBENCH_DEBUG=1 shows where it happened"),
            )
            raise typer.Exit(Exit.DEFECT) from error


def say_error(message: str, remedy: str = "") -> None:
    """Print an error and what to do about it to standard error."""
    from .output import make_console

    console = make_console(stderr=True)
    console.print(f"vidbench: {printable(message)}", style="red", soft_wrap=True)
    for line in remedy.splitlines():
        console.print(f"  {printable(line)}", soft_wrap=True)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=_("Benchmarks video diffusion models on Kubernetes."),
)


@app.callback()
def root() -> None:
    """Keep commands apart from options of the whole."""


for register in COMMANDS:
    register(app)
