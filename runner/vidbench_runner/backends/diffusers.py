"""Loads real pipelines: from a folder or from a hub id at a commit, by the libraries' own `from_pretrained`.

Safetensors only, no remote code. A checkpoint that lacks weights is a failure here, although the libraries only warn and
run on random ones. Measuring is `generation`'s.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from pickle import PickleError
from typing import Any

from vidbench_api.names import Reason
from vidbench_api.verdict import LoadPhase
from vidbench_runner.backends.generation import Fetched, PipelineModel
from vidbench_runner.backends.library_logs import made_up_weights
from vidbench_runner.backends.model_folder import cause_of_failure, pickles_in_an_index, processors_of_text
from vidbench_runner.backends.placement import torch_dtype
from vidbench_runner.ports import ModelFailure, ModelRequest


class DiffusersModel(PipelineModel):
    """The `diffusers` backend. `source` is a folder's path or a hub id, `commit` the hub commit."""

    def fetch(self, request: ModelRequest) -> Fetched | None:
        """Find a hub's weights and download what of them is not in the cache; a folder is read as it is loaded.

        Raises:
            ModelFailure: ModelLoadFailed, for a class that this version does not have.
        """
        if is_folder_path(request.source):
            return None
        pipeline_class, before = _pipeline_class(request.pipeline_class), files_in_cache(request.source)
        folder = pipeline_class.download(request.source, use_safetensors=True, **_location(request))
        return Fetched(replace(request, source=str(folder)), bytes_added(Path(folder), before))

    def build(self, request: ModelRequest) -> Any:
        """Load the pipeline with `from_pretrained`.

        Raises:
            ModelFailure: ModelNotFound, ModelLoadFailed, UnsupportedOption.
        """
        return load_pipeline(request)


def files_in_cache(hub_id: str) -> frozenset[Path]:
    """The files of a model, each once, that the hub's cache of this machine holds."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")
    return frozenset(path.resolve() for path in (folder / "snapshots").rglob("*") if path.is_file())


def bytes_added(folder: Path, before: frozenset[Path]) -> int:
    """Bytes of the files below a folder of the cache that were not there before; one that two names show counts once."""
    return sum(
        path.stat().st_size for path in {path.resolve() for path in folder.rglob("*") if path.is_file()} - before
    )


def load_pipeline(request: ModelRequest) -> Any:
    """Load a pipeline with `from_pretrained`, on the CPU.

    Raises:
        ModelFailure: ModelNotFound, ModelLoadFailed, UnsupportedOption.
    """
    location, pipeline_class = _location(request), _pipeline_class(request.pipeline_class)
    if is_folder_path(request.source):
        _refuse(request.source, pickles_in_an_index(Path(request.source)))
    with made_up_weights() as made_up:
        try:
            tokenizers = _tokenizers_of_processors(request)
            pipeline = pipeline_class.from_pretrained(
                request.source, dtype=_dtypes(request), use_safetensors=True, **dict.fromkeys(tokenizers), **location
            )
            pipeline.register_modules(**tokenizers)
        except (OSError, ValueError, PickleError) as error:
            if is_folder_path(request.source):
                _refuse(request.source, cause_of_failure(Path(request.source)), error)
            raise
    if made_up:
        raise ModelFailure(
            Reason.MODEL_LOAD_FAILED,
            f"{request.source} lacks weights, and random ones would stand in: {' '.join(made_up[0].split())[:500]}",
        )
    unknown = set(request.component_dtypes) - set(pipeline.components)
    if unknown:
        raise ModelFailure(
            Reason.UNSUPPORTED_OPTION,
            f"componentDtypes names {', '.join(sorted(unknown))}; {type(pipeline).__name__} has "
            f"{', '.join(pipeline.components)}",
        )
    return pipeline


def _tokenizers_of_processors(request: ModelRequest) -> dict[str, Any]:
    """The tokenizers of processors that see text alone, by component: they stand in for the processors.

    transformers (5.23) makes a processor whole or not at all, and its part for videos needs torchvision, which the image does not
    have. Text goes through a processor to its tokenizer as it is.
    """
    if not is_folder_path(request.source):
        return {}
    from transformers import AutoTokenizer

    folder = Path(request.source)
    return {
        name: AutoTokenizer.from_pretrained(folder / name, local_files_only=True, trust_remote_code=False)
        for name in processors_of_text(folder, request.pipeline_class)
    }


def _refuse(source: str, cause: str | None, error: Exception | None = None) -> None:
    if cause is not None:
        message = f"{source} does not load: {cause}"
        raise ModelFailure(Reason.MODEL_LOAD_FAILED, message, phase=LoadPhase.READ) from error


def _location(request: ModelRequest) -> dict[str, Any]:
    if is_folder_path(request.source):
        folder = Path(request.source)
        if not folder.is_dir():
            raise ModelFailure(Reason.MODEL_NOT_FOUND, f"there is no folder {request.source} in this container")
        if not (folder / "model_index.json").is_file():
            raise ModelFailure(
                Reason.MODEL_LOAD_FAILED, f"{request.source} has no model_index.json; it is not a diffusers pipeline"
            )
        return {"local_files_only": True}
    return {"revision": request.commit} if request.commit is not None else {}


def is_folder_path(source: str) -> bool:
    """Whether a source is a path and not a hub id (`owner/name`): it starts with `/`, `./` or `../`."""
    return source.startswith(("/", "./", "../"))


def _pipeline_class(name: str | None) -> Any:
    import diffusers

    if name is None:
        return diffusers.DiffusionPipeline
    found = getattr(diffusers, name, None)
    if not isinstance(found, type) or not issubclass(found, diffusers.DiffusionPipeline):
        raise ModelFailure(
            Reason.MODEL_LOAD_FAILED,
            f"diffusers {diffusers.__version__} has no pipeline class {name!r}; check pipelineClass",
        )
    return found


def _dtypes(request: ModelRequest) -> Any:
    default = torch_dtype(request.dtype)
    if not request.component_dtypes:
        return default
    parts = {name: torch_dtype(dtype) for name, dtype in request.component_dtypes.items()}
    return {"default": default, **parts}
