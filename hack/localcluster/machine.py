"""Remembers what this machine was like before the cluster, and puts it back: kernel settings and shared directories."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

_SETTINGS = (
    # The node forwards between pods and the world; kubelet sets the others.
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SHARED_DIRECTORIES = (
    # Places that containerd, CNI plugins and kubelet use whatever one tells them. Parents first.
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/run/containerd",
    "/var/log/containers",
    "/var/log/pods",
    "/opt/cni",
    "/opt/containerd",
    "/etc/cni",
)


@dataclass(frozen=True)
class MachineState:
    """A memory of the time before the cluster."""

    boot_id: str
    settings: dict[str, str]
    absent_directories: list[str]
    """Of the shared directories, those that did not exist: whatever is in them later is ours."""


def remember(path: Path) -> tuple[MachineState, bool]:
    """Return the machine's state from before the cluster, and whether the machine has started anew since the last call."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if not path.exists():
        settings = {name: value for name in _SETTINGS if (value := _read_setting(name)) is not None}
        absent = [directory for directory in _SHARED_DIRECTORIES if not Path(directory).exists()]
        _write(path, MachineState(boot_id, settings, absent))
        return MachineState(boot_id, settings, absent), False
    state = MachineState(**json.loads(path.read_text()))
    restarted = state.boot_id != boot_id
    if restarted:
        state = MachineState(boot_id, state.settings, state.absent_directories)
        _write(path, state)
    return state, restarted


def restore(path: Path) -> None:
    """Put back what `remember` noted. Does nothing if nothing was noted."""
    if not path.exists():
        return
    state = MachineState(**json.loads(path.read_text()))
    for name, value in state.settings.items():
        if _read_setting(name) != value:
            change_setting(name, value)
    for directory in state.absent_directories:
        shutil.rmtree(directory, ignore_errors=True)


def change_setting(name: str, value: str) -> None:
    """Change a kernel setting, named by its path below /proc/sys, if this kernel has it."""
    place = Path("/proc/sys") / name
    if place.exists():
        place.write_text(value)


def _read_setting(name: str) -> str | None:
    try:
        return (Path("/proc/sys") / name).read_text().strip()
    except OSError:
        return None


def _write(path: Path, state: MachineState) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(state), indent=2))
