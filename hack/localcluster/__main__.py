"""The command line: `PYTHONPATH=hack python -m localcluster COMMAND`. Chooses between kind and a node of our own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import binaries, layout
from .builders import find_builder
from .cluster import SingleNodeCluster, missing_for_own_node
from .errors import LocalClusterError, MissingPrerequisite
from .image_build import ensure_image
from .kind import KindCluster, answering_engine

_CHOICE = "VIDBENCH_CLUSTER"


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is said in one message, without a traceback."""
    arguments = _parser().parse_args(words)
    command: Callable[[argparse.Namespace], None] = arguments.run
    try:
        command(arguments)
    except LocalClusterError as error:
        print(f"localcluster: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], None], text: str | None) -> argparse.ArgumentParser:
        # argparse hides a command whose help is None from the list.
        command = commands.add_parser(name, help=text) if text else commands.add_parser(name)
        command.set_defaults(run=run)
        return command

    build = add("binaries", _binaries, "build the pinned programs (once), print where they are")
    build.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of: {', '.join(binaries.GROUPS)} (default: all but kind)"
    )
    add("up", _up, "make the cluster, or repair it; prints the kubeconfig's path")
    add("status", _status, "say what runs, and what the node has")
    add("kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    down = add("down", _down, "remove the cluster and every trace of it, caches excepted")
    down.add_argument("--images", action="store_true", help="remove the node's cached images too")
    load = add("load-image", _load_image, "put an image into the node, unless it has it")
    load.add_argument("reference", metavar="IMAGE_REF")
    load.add_argument(
        "--archive", type=Path, metavar="FILE", help="take it from an archive instead of the image builder"
    )
    _add_images(add("images", _build_image, "build images from Dockerfiles with whatever builder is there"))
    add("stop-kubelet", _stop_kubelet, None)
    add("start-kubelet", _start_kubelet, None)
    return parser


def _add_images(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    build = actions.add_parser("build", help="build an image, unless the one that is there has the same inputs")
    build.set_defaults(run=_build_image)
    build.add_argument("name", metavar="NAME", help="a short name, for messages and the log file")
    build.add_argument("--dockerfile", type=Path, required=True)
    build.add_argument("--context", type=Path, default=Path())
    build.add_argument("--tag", required=True)
    build.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    build.add_argument(
        "--input",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a file or directory (relative to the context) that the image is made of; default: all that git does not ignore",
    )
    actions.add_parser("prune", help="remove what earlier builds left").set_defaults(run=_prune_images)


def _build_image(arguments: argparse.Namespace) -> None:
    pairs = [pair.partition("=") for pair in arguments.build_arg]
    ensure_image(
        find_builder(),
        arguments.name,
        arguments.tag,
        dockerfile=arguments.dockerfile,
        context=arguments.context.resolve(),
        inputs=arguments.input,
        arguments={key: value for key, _, value in pairs},
    )


def _prune_images(_: argparse.Namespace) -> None:
    find_builder().prune()


def _binaries(arguments: argparse.Namespace) -> None:
    for group in arguments.groups or [name for name in binaries.GROUPS if name != "kind"]:
        print(binaries.ensure(group))


def _up(_: argparse.Namespace) -> None:
    print(_choose().up())


def _down(arguments: argparse.Namespace) -> None:
    cluster = _choose()
    if isinstance(cluster, SingleNodeCluster):
        cluster.down(images=arguments.images)
    else:
        cluster.down()


def _status(_: argparse.Namespace) -> None:
    cluster = _choose()
    if isinstance(cluster, KindCluster):
        print(cluster.describe() if cluster.exists else "no cluster; `up` makes one (kind)")
        return
    if not cluster.exists:
        print("no cluster; `up` makes one")
        return
    print("\n".join(_status_lines(cluster)))


def _status_lines(cluster: SingleNodeCluster) -> list[str]:
    lines = [f"{item.name:<24} {item.state:<12} {item.version}" for item in cluster.components()]
    if cluster.control_plane.is_ready("kube-apiserver"):
        state = "ready" if cluster.node.is_ready() else "not ready"
        lines.append(f"{'node ' + layout.NODE_NAME:<24} {state:<12} {cluster.node.capacity_line()}")
    if cluster.node.containerd.is_running:
        lines += [
            f"{'image':<24} {image_id[7:19]} {name}" for name, image_id in sorted(cluster.node.images.ids().items())
        ]
    lines.append(f"{'kubeconfig':<24} {layout.kubeconfig_path()}")
    return lines


def _kubeconfig(_: argparse.Namespace) -> None:
    path = layout.kubeconfig_path()
    if not path.exists():
        raise LocalClusterError(f"there is no cluster, or `up` has not ended yet: {path} does not exist")
    print(path)


def _load_image(arguments: argparse.Namespace) -> None:
    _choose().load_image(arguments.reference, arguments.archive)


def _stop_kubelet(_: argparse.Namespace) -> None:
    SingleNodeCluster().node.stop_kubelet()


def _start_kubelet(_: argparse.Namespace) -> None:
    SingleNodeCluster().node.start_kubelet()


def _choose() -> SingleNodeCluster | KindCluster:
    """Kind where a container engine answers, otherwise a node of our own; an own cluster that exists comes first."""
    choice = os.environ.get(_CHOICE, "")
    if choice not in {"", "kind", "node"}:
        raise LocalClusterError(f"{_CHOICE}={choice} is neither `kind` nor `node`")
    own = SingleNodeCluster()
    if choice == "node" or (choice == "" and own.exists):
        return own
    engine = answering_engine()
    if engine is not None:
        return KindCluster(engine)
    missing = missing_for_own_node()
    if missing or choice == "kind":
        ways = ["kind: a container engine that answers (docker or podman)"]
        if missing and choice == "":
            ways.append("a node of its own: " + "; ".join(missing))
        raise MissingPrerequisite("no local cluster on this machine. Missing for " + ". Missing for ".join(ways))
    return own


if __name__ == "__main__":
    sys.exit(main())
