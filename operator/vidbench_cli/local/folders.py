"""Where the folders of models are on this machine: mounted as `--mount` says, or made from a preset.

A folder that a manifest names lies in an image or on a claim. What is made here has random weights and says so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vidbench_api.kinds import ModelSource, VideoModelSpec
from vidbench_cli.errors import UsageError
from vidbench_cli.texts import _

from .documents import PRESET_ANNOTATION

_PRESET_SECONDS = 900


@dataclass(frozen=True)
class Mount:
    """A folder of this machine that stands for one of a runner's pod."""

    inside: str
    here: Path


def parse_mount(text: str) -> Mount:
    """Read `/weights=/my/folder`. Raises UsageError."""
    inside, separator, here = text.partition("=")
    if not separator or not inside.startswith("/") or not here:
        raise UsageError(
            _("--mount {text!r} is not INSIDE=HERE").format(text=text),
            _("Say which folder stands for which, e.g. --mount /weights=/data/models"),
        )
    return Mount("/" + inside.strip("/"), Path(here).absolute())


def found_models(
    models: Mapping[str, VideoModelSpec],
    presets: Mapping[str, str],
    mounts: Sequence[Mount],
    folder: Path,
    tell: Callable[[str], None],
) -> dict[str, VideoModelSpec]:
    """Return the models with the folders that they have here; makes those of presets below `folder`, and tells so before.

    Raises:
        UsageError: a preset cannot be made, or a folder's name is one that no model may have.
    """
    found = {}
    for name, spec in models.items():
        path = spec.source.path
        if path is None:
            found[name] = spec
            continue
        here = mounted(path, mounts)
        if name in presets and not here.exists():
            preset, stands_in = presets[name], folder / presets[name]
            text = _("model {name!r}: {path} is not here; preset {preset} with random weights stands in ({here})")
            tell(text.format(name=name, path=path, preset=preset, here=stands_in))
            here = _made(preset, stands_in)
        found[name] = spec.model_copy(update={"source": _source(here)})
    return found


def mounted(path: str, mounts: Sequence[Mount]) -> Path:
    """Return where a folder of a pod is on this machine: by the longest mount that holds it, else under its own name."""
    holding = [mount for mount in mounts if f"{path}/".startswith(f"{mount.inside}/")]
    if not holding:
        return Path(path)
    mount = max(holding, key=lambda entry: len(entry.inside))
    return mount.here / path.removeprefix(mount.inside).lstrip("/")


def _source(here: Path) -> ModelSource:
    try:
        return ModelSource(path=str(here))
    except ValidationError as error:
        raise UsageError(
            _("the folder {here} cannot be a model's: {why}").format(here=here, why=error.errors()[0]["msg"]),
            _("Use a folder whose path has only letters, digits, `.`, `_`, `-`, and no part that begins with a dot."),
        ) from error


def _made(preset: str, target: Path) -> Path:
    """Return the folder of a preset, made if it is not there yet: whole or not at all."""
    _source(target)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{preset}-", dir=target.parent) as place:
        made = Path(place) / "made"
        words = (sys.executable, "-m", "vidbench_runner.backends.tiny", "save", "--preset", preset, "--out", str(made))
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PRESET_SECONDS, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            raise UsageError(
                _("preset {preset!r} cannot be made: {why}").format(preset=preset, why=last),
                _("Correct the annotation {name} of the VideoModel.").format(name=PRESET_ANNOTATION),
            )
        made.rename(target)
    return target
