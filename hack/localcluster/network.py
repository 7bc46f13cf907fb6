"""The pods' bridge and the one rule that lets pods out of the machine. Knows nothing of containers."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from . import layout
from .console import run, succeeds
from .errors import LocalClusterError
from .machine import change_setting

_OWN_TABLE = ("inet", "vidbench-cluster")
_TABLES = (_OWN_TABLE, ("ip", "kube-proxy"), ("ip6", "kube-proxy"))
_RULES = f"""\
table inet vidbench-cluster {{}}
flush table inet vidbench-cluster
table inet vidbench-cluster {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {layout.POD_CIDR} ip daddr != {layout.POD_CIDR} masquerade
  }}
}}
"""


def set_up() -> None:
    """Make the bridge, the address and the rule; what exists is kept."""
    if not _bridge_exists():
        _refuse_overlaps()
        run(["ip", "link", "add", layout.BRIDGE, "type", "bridge"], doing="making the pods' bridge")
    length = layout.POD_CIDR.partition("/")[2]
    run(
        ["ip", "address", "replace", f"{layout.NODE_ADDRESS}/{length}", "dev", layout.BRIDGE],
        doing="giving the bridge its address",
    )
    run(["ip", "link", "set", layout.BRIDGE, "up"], doing="switching the bridge on")
    run(["nft", "-f", "-"], doing="making the rule that lets pods out", stdin=_RULES)
    change_setting("net/ipv4/ip_forward", "1")
    # Replies between two pods that talk through a service address must pass the packet filter, bridge or not.
    change_setting("net/bridge/bridge-nf-call-iptables", "1")


def is_set_up() -> bool:
    """Whether the bridge and our rule are there."""
    return _bridge_exists() and succeeds(["nft", "list", "table", *_OWN_TABLE])


def tear_down() -> None:
    """Remove the bridge, our table and kube-proxy's tables, as far as they exist."""
    for family, name in _TABLES:
        if succeeds(["nft", "list", "table", family, name]):
            run(["nft", "delete", "table", family, name], doing=f"removing the nftables table {name}")
    if _bridge_exists():
        run(["ip", "link", "delete", layout.BRIDGE], doing="removing the pods' bridge")


def leftovers() -> list[str]:
    """Name what of the network is still there."""
    found = [
        f"nftables table {family} {name}"
        for family, name in _TABLES
        if succeeds(["nft", "list", "table", family, name])
    ]
    return found + ([f"network device {layout.BRIDGE}"] if _bridge_exists() else [])


def _bridge_exists() -> bool:
    return Path("/sys/class/net", layout.BRIDGE).exists()


def _refuse_overlaps() -> None:
    ours = [ipaddress.ip_network(cidr) for cidr in (layout.POD_CIDR, layout.SERVICE_CIDR)]
    for route in json.loads(run(["ip", "-json", "-4", "route", "show"], doing="reading the machine's routes") or "[]"):
        if route["dst"] == "default":
            continue
        theirs = ipaddress.ip_network(route["dst"], strict=False)
        if any(theirs.overlaps(network) for network in ours):
            raise LocalClusterError(
                f"this machine already has a route to {route['dst']} (device {route.get('dev')}), which the cluster needs "
                f"for its pods and services ({layout.POD_CIDR}, {layout.SERVICE_CIDR}); remove that route, or the other "
                "cluster or VPN that made it"
            )
