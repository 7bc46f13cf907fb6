"""`make demo`: from nothing to a table of measurements on a real cluster. Each step is skipped if it is done already."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

from demo import steps
from localcluster.binaries import ensure as ensure_binaries

NAMESPACE = "vidbench-demo"
RUN = "quickstart"


def main() -> int:
    """Run the demo; returns the exit code of the step that failed."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--only-images", action="store_true", help="build and load the images, then stop")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        headline("local cluster")
        steps.bring_up_cluster()
        headline("images")
        steps.load_images()
        if arguments.only_images:
            return 0
        headline("helm install")
        steps.install_chart()
        headline(f"examples/{RUN}.yaml")
        apply_quickstart()
        follow()
        show(started)
    except subprocess.CalledProcessError as error:
        words = " ".join(map(str, error.cmd))
        print(f"\nmake demo: exit code {error.returncode} from: {words}", file=sys.stderr)
        return error.returncode or 1
    return 0


def headline(title: str) -> None:
    """Print the name of the step that follows."""
    print(f"\n== {title}", flush=True)


def apply_quickstart() -> None:
    """Apply the example anew: the results of earlier demos stay, the run and its models are replaced."""
    metadata = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    namespace = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    steps.kubectl("apply", "-f", "-", stdin=namespace, quiet=True, capture=True)
    # Models are immutable, and the example may have changed since the last demo.
    steps.kubectl(
        "delete", "-n", NAMESPACE, "-f", f"examples/{RUN}.yaml", "--ignore-not-found", quiet=True, capture=True
    )
    steps.kubectl("apply", "-n", NAMESPACE, "-f", f"examples/{RUN}.yaml")


def follow() -> None:
    """Show progress on one screen until the run ends, and leave the last screen. A failed run is shown like any other."""
    print(f"$ vidbench get {RUN} -n {NAMESPACE} --watch", flush=True)
    words = [sys.executable, "-m", "vidbench_cli", "get", RUN, "-n", NAMESPACE, "--watch"]
    subprocess.run(words, cwd=steps.ROOT, check=False)


def show(started: float) -> None:
    """Print the report as kubectl shows it, and where to look next."""
    headline("the report")
    steps.kubectl("get", "benchmarkruns", "-n", NAMESPACE)
    run_uid = steps.kubectl("get", "br", RUN, "-n", NAMESPACE, "-o=jsonpath={.metadata.uid}", quiet=True, capture=True)
    steps.kubectl("get", "benchmarkresults", "-n", NAMESPACE, "-l", f"vidbench.io/run-uid={run_uid}")
    print(f"""
Where to look next:
  export KUBECONFIG={os.environ["KUBECONFIG"]} PATH=$PATH:{ensure_binaries("control-plane")}
  kubectl get br -n {NAMESPACE} -o wide                                 what limits the run, GPU seconds, the message
  kubectl describe br {RUN} -n {NAMESPACE}                        conditions, rows, Events
  kubectl get bres -n {NAMESPACE} -l vidbench.io/model=mid-wan -o yaml  every sample of a model
  kubectl get jobs,pods -n {NAMESPACE}                                  what ran
  .venv/bin/vidbench get {RUN} -n {NAMESPACE}                     this table again
  make cluster-down                                                  remove the cluster

{time.monotonic() - started:.0f} s from start to report.""")


if __name__ == "__main__":
    sys.exit(main())
