"""The `tiny` backend: real pipeline classes with random weights, for CPUs, tests and the demo.

`TinyModel` builds a preset in memory. `save` writes one as a folder that the `diffusers` backend loads, and the preset name
`broken` writes one that does not load, as after a copy that was cut short:

    python -m vidbench_runner.backends.tiny save --preset wan --out /models/wan

Knows nothing of how a trial runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidbench_api.names import Reason
from vidbench_runner.backends.diffusers import load_pipeline
from vidbench_runner.backends.generation import PipelineModel
from vidbench_runner.backends.library_logs import logged_warnings, route_logs, set_environment
from vidbench_runner.backends.tiny_presets import PRESETS, Preset, build_pipeline
from vidbench_runner.ports import ModelFailure, ModelRequest

BROKEN = "broken"
BROKEN_BASE = "wan"
BROKEN_WEIGHTS = Path("transformer") / "diffusion_pytorch_model.safetensors"


class TinyModel(PipelineModel):
    """The `tiny` backend. `source` is the name of a preset; `pipeline_class`, if given, must be that preset's."""

    weights = "Random"
    synthetic_tokenizer = True

    def build(self, request: ModelRequest) -> Any:
        """Build the preset's pipeline.

        Other dtypes than float32 go through a folder and `from_pretrained`, because only the libraries know which of a
        class's parameters stay in float32.

        Raises:
            ModelFailure: ModelNotFound for an unknown preset, UnsupportedOption, ModelLoadFailed for another class.
        """
        preset = find_preset(request.source)
        if request.pipeline_class not in (None, preset.pipeline_class):
            raise ModelFailure(
                Reason.MODEL_LOAD_FAILED,
                f"preset {request.source} is a {preset.pipeline_class}, and pipelineClass asks for {request.pipeline_class}",
            )
        pipeline = build_pipeline(preset)
        if {request.dtype, *request.component_dtypes.values()} == {"float32"}:
            return pipeline
        with tempfile.TemporaryDirectory(prefix="vidbench-tiny-") as folder:
            pipeline.save_pretrained(folder)
            del pipeline
            return load_pipeline(replace(request, source=folder, commit=None))


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ModelFailure: ModelNotFound.
    """
    if name not in PRESETS:
        raise ModelFailure(Reason.MODEL_NOT_FOUND, f"there is no tiny preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def save(name: str, folder: Path) -> int:
    """Write a preset as a diffusers folder of safetensors, in its storage dtype; return its size in bytes.

    `broken` writes the `wan` preset and then cuts its transformer's weights file in half.

    Raises:
        ModelFailure: ModelNotFound, for an unknown preset.
    """
    import torch

    preset = find_preset(BROKEN_BASE if name == BROKEN else name)
    pipeline = build_pipeline(preset)
    storage = getattr(torch, preset.storage_dtype)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for parameter in part.parameters():
                parameter.data = parameter.data.to(storage)
    pipeline.save_pretrained(folder)
    if name == BROKEN:
        weights = folder / BROKEN_WEIGHTS
        with weights.open("r+b") as file:
            file.truncate(weights.stat().st_size // 2)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        # safetensors writes 0600; a pod runs as some other user than the one that built the image.
        path.chmod(0o644)
    return sum(path.stat().st_size for path in files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vidbench_runner.backends.tiny", description="Random-weight models."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    saving = commands.add_parser("save", help="write a preset as a folder that the diffusers backend loads")
    saving.add_argument("--preset", required=True, choices=[*PRESETS, BROKEN])
    saving.add_argument("--out", required=True, type=Path, help="the folder; made if it is not there")
    parsed = parser.parse_args(arguments)
    set_environment()
    route_logs()
    with logged_warnings("save"):
        size = save(parsed.preset, parsed.out)
    sys.stdout.write(f"{parsed.preset}: {size / 1e6:.1f} MB in {parsed.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
