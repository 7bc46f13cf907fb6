"""The directory of a run: whole files, results that stay, one holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vidbench_cli.local.files import BusyError, DamagedError, RunDirectory, create_file, replace_file

HOLD = "import sys; from pathlib import Path; from vidbench_cli.local.files import RunDirectory\n"


def test_results_are_written_once(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.create_result("a-1", {"spec": 1})
    with pytest.raises(FileExistsError):
        directory.create_result("a-1", {"spec": 2})
    assert directory.read_results() == {"a-1": {"spec": 1}}
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["a-1.json"], "no half files are left"


def test_run_and_attempts_are_read_as_they_were_written(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert directory.read_run() is None
    directory.write_run({"a": 1})
    directory.write_run({"a": 2})
    directory.write_attempt("job-1", {"b": 1})
    assert (directory.read_run(), directory.read_attempts()) == ({"a": 2}, {"job-1": {"b": 1}})


def test_half_a_file_of_a_killed_writer_is_none(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.create_result("a-1", {"spec": 1})
    (tmp_path / "results" / ".a-2.json.k3j4").write_text('{"sp')
    assert list(directory.read_results()) == ["a-1"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"a":')
    with pytest.raises(DamagedError, match=r"run\.json"):
        RunDirectory(tmp_path).read_run()


def test_replacing_keeps_the_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    replace_file(path, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_file(path, "new \ud800")
    assert path.read_text() == "old"
    with pytest.raises(FileExistsError):
        create_file(path, "other")


def test_another_process_is_kept_away_and_named(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    with directory.held():
        directory.sign()
        script = HOLD + "with RunDirectory(Path(sys.argv[1])).held(): pass"
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert f"{BusyError.__name__}: " in done.stderr
    with directory.held():
        pass
