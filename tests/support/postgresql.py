"""A PostgreSQL server of the tests' own: another user than root, a socket in a temporary directory, no TCP port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

from localcluster.console import run, say, succeeds
from localcluster.errors import LocalClusterError, MissingPrerequisite
from localcluster.process import Daemon

_PACKAGE = "postgresql"
_USER = "vidbench"
PASSWORD = "p@ss/word:of?tests"
_NOBODY = 65534


class PostgresServer:
    """Starts with `start`, ends for good with `stop`. Databases are made by `make_database`."""

    def __init__(self) -> None:
        # Not below pytest's directories: these are their user's alone, and too deep for a socket's path.
        self._directory = Path(tempfile.mkdtemp(prefix="vidbench-pg-"))
        self._data = self._directory / "data"
        self._daemon = Daemon("postgres", self._directory)

    def start(self) -> None:
        """Make an empty cluster and serve it. Installs the packages where that is possible."""
        programs = find_programs()
        password = self._directory / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            os.chown(self._directory, _NOBODY, _NOBODY)
            os.chown(password, _NOBODY, _NOBODY)
        subprocess.run(
            [*_as_nobody(), programs / "initdb", "-D", self._data, "-U", _USER, "--auth=scram-sha-256",
             f"--pwfile={password}", "--no-sync", "--encoding=UTF8", "--locale=C"],
            check=True, capture_output=True, timeout=200, cwd=self._directory,
        )  # fmt: skip
        self.serve()

    def serve(self) -> None:
        """Serve what `start` made; again after `stop`, if need be."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._directory),
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "50",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._daemon.start(
            [*_as_nobody(), str(find_programs() / "postgres"), "-D", self._data, *options], directory=self._directory
        )
        deadline = time.monotonic() + 200
        while not self._answers():
            if time.monotonic() > deadline:
                raise LocalClusterError(f"PostgreSQL does not answer:\n{self._daemon.last_words()}")
            time.sleep(0.05)

    def halt(self) -> None:
        """Kill the server; `serve` brings it back with all that was committed."""
        self._daemon.send(signal.SIGQUIT)
        self._daemon.stop(grace_seconds=20)

    def stop(self) -> None:
        """End the server and remove all of it."""
        self.halt()
        shutil.rmtree(self._directory)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return (
            f"postgresql://{_USER}:{quote(PASSWORD, safe='')}@/{database}?host={quote(str(self._directory), safe='')}"
        )

    def make_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]  # a name of the tests' own
        return self.url(name)

    def _answers(self) -> bool:
        if not self._daemon.is_running:
            raise LocalClusterError(f"PostgreSQL ended:\n{self._daemon.last_words()}")
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def find_programs() -> Path:
    """Return the directory of the server's programs, installing Debian's packages if there are none."""
    found = _find()
    if found is not None:
        return found
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise MissingPrerequisite(
            "PostgreSQL is not installed (postgres, initdb): install it by this system's own means, e.g. as root: "
            f"apt-get install {_PACKAGE}"
        )
    say(f"installing packages: {_PACKAGE}")
    configuration = Path("/etc/postgresql-common/createcluster.conf")
    if not configuration.exists():
        # Else Debian makes a server of its own and starts it.
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text("create_main_cluster = false\n")
    succeeds(["apt-get", "update", "-q"], timeout_seconds=300)
    run(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", _PACKAGE],
        doing="installing PostgreSQL",
        environment={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    found = _find()
    if found is None:
        raise MissingPrerequisite(f"the package {_PACKAGE} was installed and there is still no server")
    return found


def _find() -> Path | None:
    on_path = shutil.which("postgres")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


def _as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    # A server whose tests were killed ends too.
    return ["setpriv", "--pdeathsig", "INT", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]
