"""What a model's folder holds that may not be loaded (pickles and code of its own, which could run) or cannot (broken files).

The libraries refuse most of it themselves, in words that name no cause or advise what is never done here. So a folder is
looked at twice: before a load for what they would read all the same, and after one that failed for its cause.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000
"""As the format's own reader allows."""

READ_TEXT_ALONE = ("Kandinsky5T2VPipeline",)
"""Classes that give their processor text and nothing else (diffusers 0.42.1)."""

_SAFE = "pickles can run code, so only safetensors are read: save the model again by save_pretrained"
_NO_CODE = "code that comes with a model is never run: use a class of diffusers or transformers"
_AGAIN = "download or copy it again"


def pickles_in_an_index(folder: Path) -> str | None:
    """Return which index of safetensors names other files, if one does: the libraries would read those as what they are."""
    for index in sorted(folder.rglob("*.safetensors.index*.json")):
        parts = _mapping(_read(index).get("weight_map")).values()
        other = sorted(str(part) for part in parts if not str(part).endswith(".safetensors"))
        if other:
            return f"{index.relative_to(folder)} names {_named(other[0])}, which is no safetensors file; {_SAFE}"
    return None


def processors_of_text(folder: Path, pipeline_class: str | None) -> tuple[str, ...]:
    """Return the components that are processors of pictures and text, where the pipeline's class gives them text alone.

    `pipeline_class` is what the folder is loaded as; None: as the class that its index names.
    """
    index = _read(folder / "model_index.json")
    if (pipeline_class or index.get("_class_name")) not in READ_TEXT_ALONE:
        return ()
    return tuple(
        name for name, (library, kind) in _components(index) if library == "transformers" and kind.endswith("Processor")
    )


def cause_of_failure(folder: Path) -> str | None:
    """Return why a folder does not load, for the one who made it; None if it is no cause that is known here."""
    try:
        return next((cause for find in (_own_code, _pickles, _broken_weights) for cause in find(folder)), None)
    except OSError:
        return None


def _own_code(folder: Path) -> Iterator[str]:
    index = _read(folder / "model_index.json")
    if isinstance(index.get("_class_name"), list):
        yield f"model_index.json names a pipeline of its own, {_named(index['_class_name'])}; {_NO_CODE}"
    for component, (library, name) in _components(index):
        if (folder / component / f"{library}.py").is_file():
            yield f"{component} is of a class of its own, {library}.{name} ({component}/{library}.py); {_NO_CODE}"
        own = _read(folder / component / "config.json").get("auto_map")
        if own and name.startswith("Auto"):
            yield f"{component}/config.json names code of its own, auto_map {_named(own)}; {_NO_CODE}"


def _pickles(folder: Path) -> Iterator[str]:
    for component, _ in _components(_read(folder / "model_index.json")):
        files = sorted(path for path in (folder / component).glob("*") if path.is_file())
        pickles = [path for path in files if path.suffix in PICKLES]
        if pickles and not any(path.suffix == ".safetensors" for path in files):
            yield f"{component} has its weights as a pickle alone ({pickles[0].name}); {_SAFE}"


def _broken_weights(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.safetensors")):
        fault = _fault_of(path) if path.is_file() else None
        if fault is not None:
            yield f"{path.relative_to(folder)} {fault}"


def _fault_of(path: Path) -> str | None:
    """Return what is wrong with a file of safetensors: the length of its header, the header as JSON, then the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < LENGTH_BYTES or length > min(size - LENGTH_BYTES, MOST_HEADER_BYTES):
            return _other_format(start)
        header = _parsed(file.read(length))
    tensors = [_mapping(tensor) for name, tensor in header.items() if name != "__metadata__"]
    ends = [tensor["data_offsets"][-1] for tensor in tensors if _is_pair(tensor.get("data_offsets"))]
    if not header:
        return _other_format(start)
    whole = LENGTH_BYTES + length + max(ends, default=0)
    return f"is cut off, {size:,} of {whole:,} bytes; {_AGAIN}" if size < whole else None


def _other_format(start: bytes) -> str:
    if start.startswith(b"PK"):
        return f"is an archive of torch.save, whatever its name says; {_SAFE}"
    if start.startswith(b"\x80"):
        return f"is a pickle, whatever its name says; {_SAFE}"
    return f"is no safetensors file, or is cut off within its header; {_AGAIN}"


def _components(index: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The components of a pipeline, each with the library and the class that the index names."""
    for name, value in index.items():
        if not name.startswith("_") and _is_pair(value, str):
            yield name, (value[0], value[1])


def _is_pair(value: Any, kind: type = int) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, kind) for part in value)


def _read(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is none, since a folder may hold anything."""
    try:
        return _parsed(path.read_bytes()) if path.is_file() else {}
    except OSError:
        return {}


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _named(value: Any) -> str:
    """What a folder says, short and without what a terminal would obey."""
    return ascii(value)[:120]
