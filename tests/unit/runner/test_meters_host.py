from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vidbench_runner.meters.host import CgroupMeter, busy_percent

V1_STAT = "nr_periods 120\nnr_throttled 17\nthrottled_time 2500000\n"
V2_STAT = "usage_usec 900\nnr_periods 120\nnr_throttled 17\nthrottled_usec 2500\n"
V1_CGROUPS = "4:memory:/kubepods/pod1/ctr\n2:cpu,cpuacct:/kubepods/pod1/ctr\n0::/\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("own", "files"),
    [
        pytest.param(
            V1_CGROUPS,
            {"cg/memory/memory.max_usage_in_bytes": "4096\n", "cg/cpu,cpuacct/cpu.stat": V1_STAT},
            id="v1 seen from a container: the root of the mount is ours",
        ),
        pytest.param(
            V1_CGROUPS,
            {
                "cg/memory/kubepods/pod1/ctr/memory.max_usage_in_bytes": "4096\n",
                "cg/memory/memory.max_usage_in_bytes": "99999\n",
                "cg/cpu,cpuacct/kubepods/pod1/ctr/cpu.stat": V1_STAT,
                "cg/cpu,cpuacct/cpu.stat": "nr_throttled 0\nthrottled_time 0\n",
            },
            id="v1 seen from the host: the stated path is ours, the root is not",
        ),
        pytest.param("0::/\n", {"cg/memory.peak": "4096\n", "cg/cpu.stat": V2_STAT}, id="v2 with a cgroup namespace"),
        pytest.param(
            "0::/kubepods/ctr\n",
            {
                "cg/kubepods/ctr/memory.peak": "4096\n",
                "cg/kubepods/ctr/cpu.stat": V2_STAT,
                "cg/cpu.stat": "usage_usec 1",
            },
            id="v2 without one",
        ),
    ],
)
def test_host_reading_finds_the_containers_own_cgroup(tmp_path, own, files):
    write(tmp_path, {"own": own, **files})
    reading = CgroupMeter(tmp_path / "cg", tmp_path / "own").read()
    assert reading.cgroup_peak_bytes == 4096
    assert reading.cpu_throttled_periods == 17
    assert reading.cpu_throttled_microseconds == 2500


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({}, id="no cgroups at all"),
        pytest.param({"own": "nonsense\n", "cg/memory.peak": "max\n", "cg/cpu.stat": "nr_throttled\n"}, id="nonsense"),
        pytest.param({"own": "0::/\n", "cg/cpu.stat": "usage_usec 5\n"}, id="v2 root, which counts neither"),
    ],
)
def test_host_reading_is_none_where_the_kernel_shows_nothing(tmp_path, files):
    write(tmp_path, files)
    reading = CgroupMeter(tmp_path / "cg", tmp_path / "own").read()
    assert reading.cgroup_peak_bytes is None
    assert reading.cpu_throttled_periods is None
    assert reading.cpu_throttled_microseconds is None


def test_host_reading_has_this_processs_peak_and_not_that_of_its_parent():
    program = "from vidbench_runner.meters.host import CgroupMeter as M; print(M().read().peak_resident_bytes)"
    held = bytearray(256 * 1024 * 1024)
    peak = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    assert 5 * 1024 * 1024 < peak < len(held)


def test_host_look_has_every_figure_of_this_machine():
    look = CgroupMeter().look()
    assert look.cpu_percent is not None
    assert 0 <= look.cpu_percent <= 100
    assert look.memory_available_bytes > 2**20
    assert look.scratch_free_bytes > 2**20
    assert look.cgroup_memory_bytes is None or look.cgroup_memory_bytes > 0


def test_host_look_reads_what_the_kernel_says(tmp_path):
    write(
        tmp_path,
        {
            "own": "0::/\n",
            "cg/memory.current": "4096\n",
            "proc/stat": "cpu  10 0 5 100 5 0 0 0 0 0\ncpu0 1 2 3\n",
            "proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   2048 kB\n",
        },
    )
    look = CgroupMeter(tmp_path / "cg", tmp_path / "own", tmp_path / "proc").look()
    assert (look.cgroup_memory_bytes, look.memory_available_bytes) == (4096, 2048 * 1024)
    assert look.cpu_percent is None, "no tick went by"


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({}, id="no files"),
        pytest.param({"proc/stat": "nonsense\n", "proc/meminfo": "MemAvailable: lots\n"}, id="nonsense"),
        pytest.param({"proc/stat": "cpu a b c d e\n", "proc/meminfo": ""}, id="no numbers"),
    ],
)
def test_host_look_is_none_where_the_kernel_shows_nothing(tmp_path, files):
    write(tmp_path, files)
    look = CgroupMeter(tmp_path / "cg", tmp_path / "own", tmp_path / "proc").look()
    assert (look.cpu_percent, look.memory_available_bytes, look.cgroup_memory_bytes) == (None, None, None)


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        pytest.param((10, 100), (35, 200), 25, id="a quarter of the ticks"),
        pytest.param((10, 100), (10, 200), 0, id="idle"),
        pytest.param((10, 100), (110, 200), 100, id="all of them"),
        pytest.param((10, 100), (5, 200), 0, id="idle time that ran backwards, as iowait may"),
        pytest.param((10, 100), (10, 100), None, id="no time went by"),
        pytest.param(None, (10, 100), None, id="not readable"),
    ],
)
def test_busy_share_is_of_the_ticks_between_two_looks(before, after, percent):
    assert busy_percent(before, after) == percent
