"""The steps of the demo, each one a command that a person would type. The e2e tests go through the same ones.

Knows the command lines of kubectl, helm and the local cluster, and nothing of how any of them works.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from demo.images import build_and_load, image_values
from localcluster.binaries import ensure as ensure_binaries

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "vidbench"
SYSTEM_NAMESPACE = "vidbench-system"


def command(*words: str | Path, capture: bool = False, quiet: bool = False, stdin: str | None = None) -> str:
    """Run a command in the repository root and echo it; return its stdout if captured. Raises CalledProcessError."""
    if not quiet:
        print("$ " + " ".join(str(word).replace(f"{ROOT}/", "") for word in words), flush=True)
    output = subprocess.PIPE if capture else None
    done = subprocess.run(list(map(str, words)), cwd=ROOT, check=True, text=True, stdout=output, input=stdin)
    return done.stdout.strip() if capture else ""


def localcluster(*words: str | Path, capture: bool = False) -> str:
    """Run a command of the local cluster, which lies beside this package."""
    os.environ["PYTHONPATH"] = str(ROOT / "hack")
    return command(sys.executable, "-m", "localcluster", *words, capture=capture, quiet=True)


def bring_up_cluster() -> Path:
    """Start the cluster unless it runs, and make this process and its children use it. Return its kubeconfig."""
    kubeconfig = Path(localcluster("up", capture=True).splitlines()[-1])
    programs = ensure_binaries("control-plane")
    os.environ["KUBECONFIG"] = str(kubeconfig)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return kubeconfig


def load_images() -> None:
    """Build what changed of the images, and load them into the cluster's node."""
    build_and_load(ROOT, localcluster)


def install_chart() -> None:
    """Install or upgrade the chart with the images that were loaded, and wait until the operator is ready."""
    helm = ensure_binaries("helm") / "helm"
    releases = command(helm, "list", "--namespace", SYSTEM_NAMESPACE, "--short", capture=True, quiet=True)
    if RELEASE in releases.split():
        # Helm installs what is in crds/ once and never again, so an upgrade of them is a step of its own.
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "charts/vidbench/crds", capture=True)
    command(
        helm, "upgrade", "--install", RELEASE, "charts/vidbench",
        "--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", "180s", "--hide-notes",
        # On one machine a second replica would survive nothing that the first does not.
        *image_values(), "--set", "replicas=1",
    )  # fmt: skip


def kubectl(*words: str | Path, capture: bool = False, quiet: bool = False, stdin: str | None = None) -> str:
    """Run kubectl against the cluster of `bring_up_cluster`."""
    return command("kubectl", *words, capture=capture, quiet=quiet, stdin=stdin)
