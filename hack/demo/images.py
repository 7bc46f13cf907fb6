"""Which images the demo and the e2e tests need, from which inputs, and what the chart must be told about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localcluster.builders import find_builder

OPERATOR_IMAGE = "localhost/vidbench-operator:dev"
RUNNER_IMAGE = "localhost/vidbench-runner:dev"
DEMO_RUNNER_IMAGE = "localhost/vidbench-runner-demo:dev"

# The README, which is copied into the wheel's description, changes nothing that runs: it is left out.
OPERATOR_INPUTS = ("pyproject.toml", "uv.lock", "LICENSE", "crds/vidbench_api", "operator")
RUNNER_INPUTS = ("pyproject.toml", "uv.lock", "LICENSE", "crds/vidbench_api", "runner")


def build_and_load(root: Path, localcluster: Callable[..., str]) -> None:
    """Build the operator's, the runner's and the demo runner's image, and load what pods use into the node."""
    build(localcluster, "operator", root / "operator/Dockerfile", OPERATOR_IMAGE, OPERATOR_INPUTS)
    build(localcluster, "runner", root / "runner/Dockerfile", RUNNER_IMAGE, RUNNER_INPUTS)
    demo_inputs = ("runner/demo.Dockerfile",)
    build(
        localcluster, "runner-demo", root / "runner/demo.Dockerfile", DEMO_RUNNER_IMAGE, demo_inputs, base=RUNNER_IMAGE
    )
    localcluster("load-image", OPERATOR_IMAGE)
    localcluster("load-image", DEMO_RUNNER_IMAGE)


def build(
    localcluster: Callable[..., str],
    name: str,
    dockerfile: Path,
    tag: str,
    inputs: tuple[str, ...],
    base: str | None = None,
) -> None:
    """Build one image; the builder skips it while its inputs, its base among them, have not changed."""
    words: list[str | Path] = ["images", "build", name, "--dockerfile", dockerfile, "--context", ".", "--tag", tag]
    for path in inputs:
        words += ["--input", path]
    if base:
        words += ["--build-arg", f"BASE={base}"]
    localcluster(*words)


def image_values() -> list[str]:
    """Return the helm arguments that point the chart at the images of this checkout.

    Their tags stay the same from build to build, so the operator's image id goes into its pod template: a changed image
    makes a new pod.
    """
    values = {
        "image.repository": OPERATOR_IMAGE.rpartition(":")[0],
        "image.tag": OPERATOR_IMAGE.rpartition(":")[2],
        "podAnnotations.vidbench-image-id": (find_builder().image_id(OPERATOR_IMAGE) or "unknown").removeprefix(
            "sha256:"
        ),
        "runnerImage.repository": DEMO_RUNNER_IMAGE.rpartition(":")[0],
        "runnerImage.tag": DEMO_RUNNER_IMAGE.rpartition(":")[2],
    }
    return [word for key, value in values.items() for word in ("--set-string", f"{key}={value}")]
