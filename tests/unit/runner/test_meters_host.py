from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vidbench_runner.meters.host import CgroupMeter

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
