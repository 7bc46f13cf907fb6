"""Writes the first manifest of a run for chosen models and hardware, with a comment at each field. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from .texts import _


@dataclass(frozen=True)
class Choices:
    """What the run is about. `gpus` are values of the node label nvidia.com/gpu.product; none: one entry for any GPU."""

    name: str
    models: tuple[str, ...]
    gpus: tuple[str, ...] = ()
    cpu: bool = False
    random_weights: bool = False
    runner_class: str = "default"
    shards: int = 3
    seeds: int = 5


def first_run(choices: Choices) -> str:
    """Return the text of a manifest that holds to the schema."""
    return "\n".join([*_head(choices), *_models(choices), *_hardware(choices), *_rest(choices)]) + "\n"


def hardware_name(product: str) -> str:
    """Return a name for a GPU product: `NVIDIA-H100-80GB-HBM3` is `h100-80gb-hbm3`."""
    letters = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in product.lower())
    words = [word for word in letters.split("-") if word and word != "nvidia"]
    return "-".join(words)[:40].strip("-") or "gpu"


def _head(choices: Choices) -> list[str]:
    return [
        f"# {_('A run of vidbench. Before it is applied:  vidbench validate -f FILE;  vidbench plan -f FILE')}",
        f"# {_('Apply and follow it:  vidbench benchmark -f FILE --follow   (or kubectl apply -f FILE)')}",
        f"# {_('Every field:  kubectl explain br.spec --recursive')}",
        "apiVersion: vidbench.io/v1alpha1",
        "kind: BenchmarkRun",
        "metadata:",
        f"  name: {_scalar(choices.name)}",
        "spec:",
        f"  runnerClassName: {_scalar(choices.runner_class)}    # {_('image and resources of the pods: kubectl get runnerclasses')}",
    ]


def _models(choices: Choices) -> list[str]:
    lines = [f"  models:    # {_('VideoModels of the namespace, or of the catalogue: vidbench list-models')}"]
    for model in choices.models:
        weights = ", weights: Random" if choices.random_weights else ""
        lines.append(f"    - {{name: {_scalar(model)}{weights}}}")
    if not choices.random_weights:
        lines.append(
            f"    # {_('weights: Random measures a model without its weights: no download, its videos are noise')}"
        )
    return lines


def _hardware(choices: Choices) -> list[str]:
    lines = [f"  hardware:    # {_('kinds of nodes; a shard runs on one node of each')}"]
    if choices.cpu:
        lines.append("    - {name: cpu, gpus: 0}")
    for product in choices.gpus:
        selector = f"{{nvidia.com/gpu.product: {_scalar(product)}}}"
        lines.append(f"    - {{name: {_scalar(hardware_name(product))}, gpus: 1, nodeSelector: {selector}}}")
    if not choices.cpu and not choices.gpus:
        lines.append(
            f"    - {{name: gpu, gpus: 1}}    # {_('any GPU; by kind: nodeSelector: {nvidia.com/gpu.product: ...}')}"
        )
    return lines


def _rest(choices: Choices) -> list[str]:
    steps = _(
        "what a variant leaves out is the model's default: clip, steps, dtype, offload, vaeTiling, attention, compile"
    )
    return [
        f"  variants:    # {steps}",
        "    - {name: default}",
        "    # - {name: short, steps: 20, clip: {frames: 33}}",
        "  workload:",
        f"    prompts:    # {_('each prompt with each seed is a sample')}",
        '      - {id: cat, text: "A cat walks over wet grass, handheld camera"}',
        f"    seeds: {{base: 0, count: {choices.seeds}}}",
        "  measurement:",
        f"    shards: {choices.shards}    # {_('processes a cell; from 3 on an interval speaks of more than one process')}",
        f"    warmup: {{min: 2}}    # {_('samples before the measured ones')}",
        f"  parallelism: {1 if choices.cpu else 4}    # {_('at most so many pods at once; on one CPU two would disturb each other')}",
        "  reuse:",
        f"    policy: Never    # {_('IfIdentical: do not measure again what the ledger holds')}",
        f"  # {_('artifacts: {storageUri: claim://NAME/PATH, keepVideos: First}   raw samples and videos go to a claim')}",
        f"  # {_('timeouts: {runSeconds: 86400, shardSeconds: 7200}   every state has a limit')}",
    ]


def _scalar(text: str) -> str:
    """Return a text as YAML within a flow mapping."""
    plain = yaml.safe_dump(text, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
    return f'"{text}"' if any(sign in text for sign in ",{}[]") and plain == text else plain


def default_name(models: Sequence[str]) -> str:
    """Return a name for a run of these models: at most 40 characters, lower case letters, digits and -."""
    letters = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in models[0].lower())
    return (letters.strip("-") or "run")[:40].strip("-")
